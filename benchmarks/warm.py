"""The service of warm workers by itself, without the rest of the system. For the benchmarks."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from benchmarks.installation import BenchmarkError
from benchmarks.workers import ROOMY
from ironclad_assets.contracts.v1.engine import EngineRequest, EngineResult
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.engine_host.warm import WarmExecutor
from ironclad_assets.engine_host.warm_protocol import warm_socket
from ironclad_assets.settings import Settings

START_TIMEOUT_S = 60.0


class WarmService:
    """The service in a home of its own below `folder`. Use as a context manager: leaving it ends its workers."""

    def __init__(self, settings: Settings, *, folder: Path, threads: int) -> None:
        self._folder = folder
        self._settings = Settings(
            home=folder / "home",
            environments_path=settings.environments_dir,
            engines_path=settings.engines_path,
            engine_threads=threads,
            executor="warm",
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "WarmService":
        self._settings.home_dir.mkdir(parents=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ironclad_assets.supervisor.warm_service"],
            env={**os.environ, **self._settings.as_environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not warm_socket(self._settings.home_dir).exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError("the service of warm workers does not start")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_TIMEOUT_S)

    def run(self, request: EngineRequest, *, engine: InstalledEngine) -> EngineResult:
        """Work off `request` on a warm worker."""
        executor = WarmExecutor(warm_socket(self._settings.home_dir))
        return executor.run(
            request,
            engine=engine,
            hand_off=self._folder / f"hand-off-{request.key}",
            limits=ROOMY,
            log_path=self._folder / f"{request.key}.log",
        )
