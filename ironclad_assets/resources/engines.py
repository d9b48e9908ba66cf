"""The engine catalogue: which engines are installed, which one a job gets, and how it is run.

Choice is job, else system default (SPLIT-005); unknown names are refused with the list of what there is.
Running is left to `engine_host`.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ironclad_assets.contracts.v1.engine import EngineModel, EngineRequest, EngineResult
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.staged_chunks import EngineChoice
from ironclad_assets.engine_host.registry import InstalledEngine, find_engines
from ironclad_assets.engine_host.runner import run_engine
from ironclad_assets.errors import ChildKilled, ErrorCode, Refusal
from ironclad_assets.intake.options import check_options
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.task import KILLS_SURVIVED
from ironclad_assets.sandbox.watch import Watch
from ironclad_assets.settings import Settings

CPU_PER_AUDIO_SECOND = 100.0
"""Processor seconds that an engine may use for a second of audio; far above any engine's need."""

WALL_FLOOR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines of one installation."""

    settings: Settings

    def find(self, name: str) -> InstalledEngine:
        """Return the engine called `name`.

        Raises:
            Refusal: `UNKNOWN_ENGINE`, naming those there are.
        """
        installed = self._installed()
        if name not in installed:
            raise Refusal(f"{name!r} is not one of {', '.join(sorted(installed))}", code=ErrorCode.UNKNOWN_ENGINE)
        return installed[name]

    def choose(self, options: JobOptions) -> tuple[EngineChoice, EngineModel]:
        """Return engine and model for a job's options.

        Raises:
            Refusal: `UNKNOWN_ENGINE`, `UNKNOWN_MODEL` or `UNKNOWN_TARGET`.
        """
        installed = self._installed()
        manifests = {name: engine.manifest for name, engine in installed.items()}
        check_options(options, manifests, default_engine=self.settings.default_engine)
        manifest = manifests[options.engine or self.settings.default_engine]
        model = manifest.model(options.model)
        choice = EngineChoice(
            engine=manifest.name,
            version=manifest.version,
            model=model.name,
            stems=model.stems,
            parameters=options.parameters,
        )
        return choice, model

    def runner(
        self, name: str, *, hand_off: Path, log_path: Path, duration_s: float, watch: Watch
    ) -> Callable[[EngineRequest], EngineResult]:
        """Return the function that has engine `name` work off one request.

        A worker that is killed from outside is replaced by another, which continues at the checkpoint.
        """
        engine = self.find(name)
        limits = Limits(
            cpu_s=60.0 + CPU_PER_AUDIO_SECOND * duration_s,
            memory_bytes=self.settings.engine_memory_bytes,
            wall_s=WALL_FLOOR_S + CPU_PER_AUDIO_SECOND * duration_s,
            stall_s=self.settings.engine_stall_s,
        )

        def run_once(request: EngineRequest) -> EngineResult:
            return run_engine(request, engine=engine, hand_off=hand_off, limits=limits, log_path=log_path, watch=watch)

        def run(request: EngineRequest) -> EngineResult:
            for _ in range(KILLS_SURVIVED):
                with contextlib.suppress(ChildKilled):
                    return run_once(request)
            return run_once(request)

        return run

    def _installed(self) -> dict[str, InstalledEngine]:
        return find_engines(self.settings.engines_path, environments=self.settings.environments_dir)
