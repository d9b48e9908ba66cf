"""Which processes `up` runs: their commands, and where they answer. Starting and watching them is `system`'s."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ironclad_assets.engine_host.warm_protocol import connect, warm_socket
from ironclad_assets.settings import Settings
from ironclad_assets.supervisor.ports import LOOPBACK, answers

WARM_SERVICE = "warm-workers"


@dataclass(slots=True)
class Service:
    """One supervised process. `port` or `socket` is where it answers, None if nowhere."""

    name: str
    command: Sequence[str]
    port: int | None = None
    host: str = LOOPBACK
    socket: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    next_start: float = 0.0

    def answers(self) -> bool:
        """Return whether the service accepts connections, if it is one that does."""
        if self.socket is not None:
            return socket_answers(self.socket)
        return self.port is None or answers(self.port, host=self.host)


def plan_services(settings: Settings) -> list[Service]:
    """Return the services of an installation in the order of their start; the first before all others."""
    workspace = ("-w", str(settings.workspace_yaml))
    code_port, web_port = str(settings.code_port), str(settings.web_port)
    run_module = (sys.executable, "-m", "ironclad_assets.sensors.code_server")
    code = ("-m", "ironclad_assets.definitions", "-h", LOOPBACK, "-p", code_port)
    web = (*workspace, "-h", settings.host, "-p", web_port)
    services = [
        Service("code-server", (*run_module, *code, "--location-name", "ironclad"), port=settings.code_port),
        Service("daemon", (sys.executable, "-m", "ironclad_assets.sensors.daemon", *workspace)),
        Service("webserver", (*_tool("dagster-webserver"), *web), port=settings.web_port, host=settings.host),
    ]
    if settings.executor == "warm":
        warm = (sys.executable, "-m", "ironclad_assets.supervisor.warm_service")
        services.append(Service(WARM_SERVICE, warm, socket=warm_socket(settings.home_dir)))
    return services


def socket_answers(path: Path) -> bool:
    """Return whether something accepts connections on the unix socket `path`."""
    try:
        connect(path).close()
    except OSError:
        return False
    return True


def _tool(name: str) -> tuple[str, ...]:
    """Return the command of a console script of this very environment."""
    beside = Path(sys.executable).with_name(name)
    return (str(beside),) if beside.exists() else (shutil.which(name) or name,)
