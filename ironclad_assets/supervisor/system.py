"""The running system: which processes `up` starts, in which order, and how they are watched and stopped.

One short process prepares (tables, migrations, reconciling); then the services that `services` plans run and
are started again when they die. Every child has a death signal, so nothing outlives the supervisor. All it
knows of Dagster are these command lines.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from ironclad_assets.errors import ErrorCode, TransientFailure
from ironclad_assets.ledger.worker import current_worker
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.supervisor.database import require_database
from ironclad_assets.supervisor.leftovers import SUPERVISOR_VARIABLE, end_leftovers
from ironclad_assets.supervisor.ports import LOOPBACK, require_free_port
from ironclad_assets.supervisor.services import Service, plan_services
from ironclad_assets.upkeep.backup.journal import require_no_restore

START_TIMEOUT_S = 120.0
STOP_GRACE_S = 5.0
POLL_S = 0.25
LONGEST_BACKOFF_S = 30.0
LARGEST_LOG_BYTES = 16 * 1024**2
"""A service's log above this size is put aside when the service starts; one old log is kept."""

STEADY_S = 60.0
"""A process that ran this long counts as healthy: its next restart is immediate again."""

_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class System:
    """All processes of one installation. Use as a context manager: leaving it stops everything."""

    settings: Settings
    services: list[Service] = field(default_factory=list)
    _lock: FileLock | None = None

    def __enter__(self) -> "System":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def dagster_url(self) -> str:
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self.settings.web_port}"

    @property
    def log_dir(self) -> Path:
        return self.settings.home_dir / "logs"

    def start(self, report: Callable[[str], None]) -> None:
        """Prepare, start all services, and return when they answer.

        Raises:
            TransientFailure: `PORT_TAKEN`, `ALREADY_RUNNING`, `STORAGE_AWAY` where the database's server does not
                answer, or `SERVICE_DOWN` where a process does not come up.
            PermanentFailure: `HOME_IN_USE`, while a restore into the home is not done.
            Refusal: `BAD_OPTION`, where host or port can never be listened on, or Postgres' packages are missing.
        """
        self._claim_home()
        require_no_restore(self.settings)
        left = end_leftovers(self.settings)
        if left:
            report(f"ended {len(left)} processes that an earlier system left")
        self._require_free_ports()
        require_database(self.settings)
        self._write_configuration()
        report("preparing tables, ledger and store")
        self._prepare()
        self.services = plan_services(self.settings)
        code_server, *others = self.services
        self._launch_and_wait([code_server], report)  # daemon and webserver read the graph from it at once
        self._launch_and_wait(others, report)

    def check(self) -> list[str]:
        """Start dead services again, with a growing pause; return the names of those found dead."""
        dead = []
        now = time.monotonic()
        for service in self.services:
            process = service.process
            if process is not None and process.poll() is None:
                continue
            if process is not None:
                dead.append(service.name)
                service.process = None
                service.failures = 0 if now - service.started_at > STEADY_S else service.failures + 1
                service.next_start = now + min(LONGEST_BACKOFF_S, 0.5 * 2**service.failures - 0.5)
            if now >= service.next_start:
                self._launch(service)
        return dead

    def stop(self) -> None:
        """End every service, the last started first; what ignores the request is killed."""
        for service in reversed(self.services):
            if service.process is not None and service.process.poll() is None:
                service.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_GRACE_S
        for service in self.services:
            if service.process is None:
                continue
            try:
                service.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait(timeout=STOP_GRACE_S)
        self.services = []
        if self._lock is not None:  # else the file is another supervisor's, which runs this home
            (self.settings.home_dir / "run" / "processes.json").unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def _claim_home(self) -> None:
        atomic.make_folder(self.settings.home_dir / "run")
        atomic.make_folder(self.log_dir)
        atomic.make_folder(self.settings.dagster_home)
        lock = FileLock(self.settings.home_dir / "run" / "supervisor.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise TransientFailure(
                f"{self.settings.home_dir} is already run by another `pipelinectl up`",
                code=ErrorCode.ALREADY_RUNNING,
            ) from None
        self._lock = lock

    def _require_free_ports(self) -> None:
        code = (LOOPBACK, self.settings.code_port, "CODE_PORT")
        web = (self.settings.host, self.settings.web_port, "WEB_PORT")
        for host, port, name in (code, web):
            require_free_port(port, host=host, variable=f"IRONCLAD_{name}")

    def _write_configuration(self) -> None:
        content = self.settings.instance_yaml.read_bytes()
        atomic.write_bytes(self.settings.dagster_home / "dagster.yaml", content)

    def _environment(self) -> dict[str, str]:
        settings = self.settings
        return {
            **os.environ,
            **settings.as_environment(),
            "DAGSTER_HOME": str(settings.dagster_home),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "60",
            SUPERVISOR_VARIABLE: str(current_worker()),
            "PYTHONUNBUFFERED": "1",
        }

    def _prepare(self) -> None:
        log = self.log_dir / "prepare.log"
        with log.open("ab") as stream:
            done = subprocess.run(
                [sys.executable, "-m", "ironclad_assets.sensors.prepare"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=START_TIMEOUT_S,
                check=False,
            )
        if done.returncode:
            raise TransientFailure(f"preparing failed: {_last_line(log)}; see {log}", code=ErrorCode.SERVICE_DOWN)

    def _launch(self, service: Service) -> None:
        log = self.log_dir / f"{service.name}.log"
        if log.exists() and log.stat().st_size > LARGEST_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as stream:
            service.process = subprocess.Popen(
                service.command,
                env=self._environment(),
                cwd=self.settings.home_dir,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=_death_signal(),
            )
        service.started_at = time.monotonic()
        self._publish()

    def _publish(self) -> None:
        running: Mapping[str, object] = {
            service.name: {"pid": service.process.pid, "port": service.port, "socket": _text(service.socket)}
            for service in self.services
            if service.process is not None
        }
        document = {"supervisor": {"pid": os.getpid(), "port": None, "socket": None}, **running}
        atomic.write_bytes(self.settings.home_dir / "run" / "processes.json", json.dumps(document).encode())

    def _launch_and_wait(self, services: Sequence[Service], report: Callable[[str], None]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        for service in services:
            report(f"starting {service.name}")
            self._launch(service)
        for service in services:
            while not service.answers():
                if service.process is None or service.process.poll() is not None or time.monotonic() > deadline:
                    log = self.log_dir / f"{service.name}.log"
                    raise TransientFailure(
                        f"{service.name} did not come up: {_last_line(log)}; see {log}", code=ErrorCode.SERVICE_DOWN
                    )
                time.sleep(POLL_S)


def run_system(settings: Settings, *, report: Callable[[str], None]) -> int:
    """Start the system and keep it running until SIGINT or SIGTERM; return the exit code."""
    stopping = False

    def request_stop(signum: int, frame: object) -> None:
        nonlocal stopping
        stopping = True

    with System(settings) as system:
        system.start(report)
        report(f"running: Dagster UI at {system.dagster_url}, upload folder {settings.store_root / 'input'}")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, request_stop)
        while not stopping:
            for name in system.check():
                report(f"{name} died; starting it again")
            time.sleep(POLL_S)
        report("stopping")
    return 0


def _death_signal() -> Callable[[], None]:
    """Return what a new child calls to die with this process; the library is loaded before the fork."""
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"
