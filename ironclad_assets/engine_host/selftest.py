"""What `engines verify` does: take a short song through the real worker, and look whether promises are kept.

The song is made here, so nothing of anybody's is needed. Every model whose weights are there is tried: whole
and finite stems that differ, the same bytes after a kill, and a clear refusal of what cannot be done.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from ironclad_assets.contracts.v1.engine import EngineModel, EngineRequest, EngineResult, ModelFile, Parameter
from ironclad_assets.contracts.v1.environments import Promise, SelfTest, Verification
from ironclad_assets.engine_host import trial_song
from ironclad_assets.engine_host.environments import find_environments, hash_recipe
from ironclad_assets.engine_host.listening import Listener
from ironclad_assets.engine_host.models import resolve_weights
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.engine_host.runner import run_engine
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.watch import Watch
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic

WALL_S = 1800.0
KILL_AT = 0.3
_UNTRIED = (ErrorCode.MODEL_MISSING, ErrorCode.MODEL_LICENCE, ErrorCode.ENGINE_UNAVAILABLE)
"""Why a model need not be tried: it was never fetched, or its environment is an optional one."""

_NO_SUCH_STEM = "no_such_stem"


def verify_engine(
    engine: InstalledEngine, *, settings: Settings, listener: Listener, models: tuple[str, ...] = ()
) -> Verification:
    """Return how each model of `engine` did, and keep that for `engines list` and `engines doctor`.

    Args:
        engine: the engine.
        settings: device, memory, threads, folders.
        listener: is told before each model.
        models: only these; empty means all.
    """
    manifest = engine.manifest
    tests = []
    for model in manifest.models:
        if models and model.name not in models:
            continue
        listener.step(f"{manifest.name}: trying {model.name}")
        tests.append(_try_model(engine, model=model, settings=settings))
    states = find_environments(engine)
    verification = Verification(
        engine=manifest.name,
        engine_version=manifest.version,
        environments={
            state.environment: hash_recipe(engine, environment=state.environment)
            for state in states
            if state.usable and state.state != "core"
        },
        device=engine.device_for(settings.engine_device),
        at=datetime.now(UTC),
        tests=tuple(tests),
    )
    _keep(verification, engine=engine, settings=settings)
    return verification


def _keep(verification: Verification, *, engine: InstalledEngine, settings: Settings) -> None:
    """Write a self-test down, with what an earlier one of the same version says of models not tried this time."""
    before = read_verification(engine, settings=settings)
    tried = {test.model: test for test in verification.tests}
    if before is not None and before.device == verification.device:
        tried = {test.model: test for test in before.tests} | tried
    path = verification_path(verification.engine, settings=settings)
    atomic.make_folder(path.parent)
    kept = verification.model_copy(update={"tests": tuple(tried.values())})
    atomic.write_bytes(path, kept.model_dump_json(indent=1).encode() + b"\n")


def verification_path(engine: str, *, settings: Settings) -> Path:
    """Return where the last self-test of `engine` is written down."""
    return settings.environments_dir / f".{engine}.verified.json"


def read_verification(engine: InstalledEngine, *, settings: Settings) -> Verification | None:
    """Return the last self-test, None if there is none of this version and these environments."""
    with suppress(OSError, ValueError):
        path = verification_path(engine.manifest.name, settings=settings)
        found = Verification.model_validate_json(path.read_bytes())
        if found.engine_version == engine.manifest.version and all(
            hash_recipe(engine, environment=name) == sha256
            for name, sha256 in found.environments.items()
            if name in engine.environment_specs()
        ):
            return found
    return None


def _try_model(engine: InstalledEngine, *, model: EngineModel, settings: Settings) -> SelfTest:
    started = time.monotonic()
    try:
        engine.python(model.name)
        files = resolve_weights(engine, model.name, models_dir=settings.models_dir)
    except IroncladError as error:
        outcome = "skipped" if error.code in _UNTRIED else "failed"
        return SelfTest(model=model.name, outcome=outcome, detail=error.describe())
    with tempfile.TemporaryDirectory(prefix="ironclad-verify-") as folder:
        trial = _Trial(engine, model=model, files=files, settings=settings, folder=Path(folder))
        promises = tuple(trial.promises())
    broken = [promise for promise in promises if not promise.kept]
    return SelfTest(
        model=model.name,
        outcome="failed" if broken else "passed",
        detail=broken[0].detail if broken else "",
        promises=promises,
        seconds=round(time.monotonic() - started, 1),
    )


class _Trial:
    """One model under test, in a folder of its own."""

    def __init__(
        self,
        engine: InstalledEngine,
        *,
        model: EngineModel,
        files: tuple[ModelFile, ...],
        settings: Settings,
        folder: Path,
    ) -> None:
        self._engine = engine
        self._model = model
        self._files = files
        self._settings = settings
        self._folder = folder
        self._song = trial_song.write_song(
            folder / "mixture.f32", sample_rate_hz=model.sample_rate_hz, channels=model.channels
        )

    def promises(self) -> Iterator[Promise]:
        """Yield each promise as it has been tried; the first that is broken beyond comparison ends the trial."""
        try:
            result, whole = self._run("whole")
        except IroncladError as error:
            yield Promise(name="separates", kept=False, detail=error.describe())
            return
        detail = f"{result.compute_s:.1f} s of computing, {result.load_s:.1f} s of loading"
        yield Promise(name="separates", kept=True, detail=detail)
        yield self._device_is_honoured(result)
        stems = {name: whole / f"{name}.f32" for name in self._model.stems}
        for name, check in (
            ("length", trial_song.find_wrong_length),
            ("finite", trial_song.find_non_finite),
            ("stems differ", trial_song.find_alike),
        ):
            problem = check(stems, song=self._song)
            yield Promise(name=name, kept=not problem, detail=problem)
            if problem and name == "length":
                return
        yield self._resumes(stems)
        yield self._refuses()

    def _device_is_honoured(self, result: EngineResult) -> Promise:
        asked = self._engine.device_for(self._settings.engine_device)
        kept = result.device == asked or result.device.startswith(f"{asked}:")
        return Promise(name="device", kept=kept, detail=f"asked for {asked}, computed on {result.device}")

    def _resumes(self, stems: dict[str, Path]) -> Promise:
        """Kill the worker in mid-work, run again, compare the bytes."""
        killer = _Killer()
        try:
            with suppress(IroncladError):
                self._run("killed", watch=killer)
            result, again = self._run("killed")
        except IroncladError as error:
            return Promise(name="resumes", kept=False, detail=error.describe())
        for name, path in stems.items():
            if path.read_bytes() != (again / path.name).read_bytes():
                return Promise(name="resumes", kept=False, detail=f"after a kill, {name} has other bytes")
        if not killer.killed:
            return Promise(name="resumes", kept=True, detail="same bytes; it was done before it could be killed")
        said = f"killed at {killer.fraction:.0%}; {result.resumed_chunks} chunks kept, same bytes"
        return Promise(name="resumes", kept=True, detail=said)

    def _refuses(self) -> Promise:
        try:
            self._run("bad", stems=(_NO_SUCH_STEM,))
        except IroncladError as error:
            left = sorted(path.name for path in (self._folder / "bad").glob("*.f32*"))
            detail = f"left {left[0]} behind" if left else error.code.code
            return Promise(name="refuses", kept=not left, detail=detail)
        return Promise(name="refuses", kept=False, detail=f"it made a stem called {_NO_SUCH_STEM}")

    def _run(
        self, name: str, *, stems: tuple[str, ...] | None = None, watch: Watch | None = None
    ) -> tuple[EngineResult, Path]:
        output = self._folder / name
        output.mkdir(exist_ok=True)
        settings = self._settings
        result = run_engine(
            self._request(output, stems=stems or self._model.stems),
            engine=self._engine,
            hand_off=self._folder / f"{name}-input",
            limits=Limits(
                cpu_s=WALL_S * settings.engine_threads,
                memory_bytes=settings.engine_memory_bytes,
                wall_s=WALL_S,
                stall_s=settings.engine_stall_s,
            ),
            log_path=self._folder / f"{name}.log",
            watch=watch,
        )
        return result, output

    def _request(self, output: Path, *, stems: tuple[str, ...]) -> EngineRequest:
        manifest, settings = self._engine.manifest, self._settings
        return EngineRequest(
            job_uuid="engines-verify",
            song="engines-verify",
            engine=manifest.name,
            engine_version=manifest.version,
            entry=self._engine.entry(self._model.name),
            model=self._model.name,
            stems=stems,
            parameters=_quickest_parameters(self._engine, model=self._model.name),
            mixture=self._song.audio,
            statistics=self._song.statistics,
            chunks=self._song.chunks,
            key="engines-verify",
            output_dir=str(output),
            device=self._engine.device_for(settings.engine_device),
            threads=settings.engine_threads,
            model_files=self._files,
        )


def _quickest_parameters(engine: InstalledEngine, *, model: str) -> dict[str, Parameter]:
    """Return the defaults of the parameters that `model` knows, as the preset ``fast`` has them."""
    known = {
        name: spec.default
        for name, spec in engine.manifest.parameters.items()
        if not spec.models or model in spec.models
    }
    fast = engine.manifest.presets.get("fast", {})
    return known | {name: value for name, value in fast.items() if name in known}


class _Killer:
    """Kills the worker once it has finished something, as an operating system out of memory would."""

    def __init__(self) -> None:
        self.killed = False
        self.fraction = 0.0

    def progress(self, fraction: float, message: str) -> None:
        """Kill when a good part is done, so that there is something to keep."""
        if self.killed or not KILL_AT <= fraction < 1.0:
            return
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                command = process.cmdline()
                if "ironclad_harness" in command and not any("ironclad_assets" in part for part in command):
                    process.kill()
                    self.killed, self.fraction = True, fraction

    def canceled(self) -> bool:
        return False
