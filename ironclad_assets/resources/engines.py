"""The engine catalogue of a run: which engine a job gets, whether it can run here, and how it is run.

The rules of choice are `intake.choice`'s, running is left to `engine_host`, and climbing down when memory is
out to `descent`; here they meet the settings.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from ironclad_assets.contracts.v1.engine import CPU, EngineRequest, EngineResult, Parameter
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.staged_chunks import EngineChoice
from ironclad_assets.contracts.v1.stems import Rung
from ironclad_assets.engine_host.executor import Executor, SubprocessExecutor, run_surviving
from ironclad_assets.engine_host.ladder import Footing, Ladder
from ironclad_assets.engine_host.models import resolve_weights
from ironclad_assets.engine_host.registry import InstalledEngine, find_engines
from ironclad_assets.engine_host.warm import WarmExecutor
from ironclad_assets.engine_host.warm_protocol import warm_socket
from ironclad_assets.errors import ErrorCode, Refusal, failure
from ironclad_assets.intake.choice import NOTHING, Choice, choose, system_defaults
from ironclad_assets.intake.parameters import fit_parameters
from ironclad_assets.pipeline.separate import Conditions, EngineWork
from ironclad_assets.resources.descent import Descent, RungWatch
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.watch import Watch
from ironclad_assets.settings import Settings

CPU_PER_AUDIO_SECOND = 100.0
"""Processor seconds that an engine may use for a second of audio; far above any engine's need."""

WALL_FLOOR_S = 3600.0
GPU_BATCH = 8
"""Windows at once on a GPU, where one window does not fill it; the ladder halves it where memory is short."""


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

    def choose(self, wish: JobOptions, *, user: JobOptions = NOTHING) -> Choice:
        """Return what a job with these options gets, over the user's and the system's defaults (SPLIT-005).

        Raises:
            Refusal: `UNKNOWN_ENGINE`, `UNKNOWN_MODEL`, `UNKNOWN_TARGET` or `BAD_OPTION`.
        """
        manifests = {name: engine.manifest for name, engine in self._installed().items()}
        return choose(wish, engines=manifests, user=user, system=system_defaults(self.settings))

    def require_ready(self, choice: EngineChoice) -> None:
        """Raise unless the chosen engine can run here: its environment, device and weights are there.

        Raises:
            IroncladError: `ENGINE_UNAVAILABLE`, `DEVICE_UNAVAILABLE`, `MODEL_MISSING`, `MODEL_DAMAGED` or
                `MODEL_LICENCE`.
        """
        engine = self.find(choice.engine)
        engine.device_for(self.settings.engine_device)
        if self.settings.executor != "kubernetes":  # there the environment is in the pod's image
            engine.python(choice.model)
        resolve_weights(engine, choice.model, models_dir=self.settings.models_dir)

    def conditions(self, choice: EngineChoice) -> Conditions:
        """Return under which conditions the chosen engine is asked to compute.

        Raises:
            IroncladError: `MODEL_MISSING`, `MODEL_DAMAGED` or `MODEL_LICENCE`.
        """
        engine = self.find(choice.engine)
        device = engine.device_for(self.settings.engine_device)
        return Conditions(
            entry=engine.entry(choice.model),
            device=device,
            threads=self.settings.engine_threads,
            batch=self.settings.engine_batch or (1 if device == CPU else GPU_BATCH),
            model_files=resolve_weights(engine, choice.model, models_dir=self.settings.models_dir),
        )

    def runner(
        self,
        name: str,
        *,
        hand_off: Path,
        log_path: Path,
        duration_s: float,
        watch: Watch,
        allow_smaller_model: bool = False,
        tell: Callable[[Rung, str], None] = lambda rung, text: None,
        context: dg.AssetExecutionContext | None = None,
    ) -> Callable[[EngineRequest], EngineWork]:
        """Return the function that has engine `name` work off one request, by the executor of the settings.

        A worker that is killed or stalls is replaced by another, which continues at the checkpoint; one that
        runs out of memory by one on a smaller footing.

        Args:
            name: the engine.
            hand_off: folder in which requests are handed over.
            log_path: log of the job's workers.
            duration_s: of the song; the limits follow from it.
            watch: gets the progress, and may cancel.
            allow_smaller_model: whether a smaller model may take over.
            tell: hears of each rung down the ladder.
            context: of the run, for executors that Dagster knows.
        """
        engine, executor = self.find(name), self._executor(context)
        limits = Limits(
            cpu_s=60.0 + CPU_PER_AUDIO_SECOND * duration_s,
            memory_bytes=self.settings.engine_memory_bytes,
            wall_s=WALL_FLOOR_S + CPU_PER_AUDIO_SECOND * duration_s,
            stall_s=self.settings.engine_stall_s,
            scratch_bytes=self.settings.engine_scratch_bytes,
            open_files=self.settings.engine_open_files,
        )
        rung_watch = RungWatch(watch)

        def attempt(request: EngineRequest) -> EngineResult:
            return run_surviving(
                executor,
                request,
                engine=engine,
                hand_off=hand_off,
                limits=limits,
                log_path=log_path,
                watch=rung_watch,
            )

        ladder = Ladder(
            engine.manifest,
            fall_back_to_cpu=self.settings.engine_fall_back_to_cpu,
            allow_smaller_model=allow_smaller_model,
        )
        return Descent(
            ladder=ladder,
            memory_bytes=self.settings.engine_memory_bytes,
            attempt=attempt,
            place=lambda request, footing: self._place(request, footing=footing, engine=engine),
            watch=rung_watch,
            tell=tell,
        ).run

    def _place(self, request: EngineRequest, *, footing: Footing, engine: InstalledEngine) -> EngineRequest:
        """Return `request` on another footing; another model has its own entry, weights and parameters.

        Raises:
            IroncladError: the model cannot be had here.
        """
        changed: dict[str, object] = footing.model_dump()
        if footing.model != request.model:
            if self.settings.executor != "kubernetes":
                engine.python(footing.model)
            values: dict[str, Parameter] = dict(request.parameters)
            changed |= {
                "entry": engine.entry(footing.model),
                "model_files": resolve_weights(engine, footing.model, models_dir=self.settings.models_dir),
                "parameters": fit_parameters(engine.manifest, model=footing.model, values=values),
            }
        return request.model_copy(update=changed)

    def _executor(self, context: dg.AssetExecutionContext | None) -> Executor:
        """Return the executor of the settings; one that needs packages of its own is imported when it is used."""
        settings = self.settings
        if settings.executor == "kubernetes":
            try:
                module = importlib.import_module("ironclad_assets.resources.kubernetes_executor")
            except ModuleNotFoundError as error:
                detail = f"{error}; for jobs in a cluster install constraints/kubernetes.txt too"
                raise failure(ErrorCode.ENGINE_UNAVAILABLE, detail) from error
            executor: Executor = module.make_executor(settings, context)
            return executor
        if settings.executor == "warm":
            return WarmExecutor(warm_socket(settings.home_dir))
        return SubprocessExecutor()

    def _installed(self) -> dict[str, InstalledEngine]:
        return find_engines(self.settings.engines_path, environments=self.settings.environments_dir)
