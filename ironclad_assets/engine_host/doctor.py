"""What stands between this machine and its engines: one finding per part, each with what to do about it.

Looks only; works on a machine where nothing is installed. What the running system does is `health`'s business.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ironclad_assets.engine_host.catalogue import find_shelf, find_weights
from ironclad_assets.engine_host.environments import EnvironmentState, find_environments
from ironclad_assets.engine_host.interpreters import find_interpreters
from ironclad_assets.engine_host.machine import Machine, free_bytes, read_machine
from ironclad_assets.engine_host.models import find_state
from ironclad_assets.engine_host.probe import ProbeError, read_devices
from ironclad_assets.engine_host.readiness import check_ready
from ironclad_assets.engine_host.registry import InstalledEngine, find_engine_problems
from ironclad_assets.engine_host.selftest import read_verification
from ironclad_assets.errors import IroncladError
from ironclad_assets.settings import GIBIBYTE, Settings

Level = Literal["ok", "note", "problem"]
PIP_TIMEOUT_S = 30.0
_TOLD_FEATURES = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "amx_bf16", "asimd")
"""Processor features that decide whether, or how fast, engines run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one part. A ``note`` is worth knowing and stops nothing."""

    part: str
    level: Level
    detail: str
    remedy: str = ""


def examine_engines(engines: Mapping[str, InstalledEngine], *, settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each part of the machine and for each engine."""
    machine = read_machine()
    yield _processor(machine)
    yield _memory(machine, settings=settings)
    yield _disk(settings)
    yield _gpu(machine, settings=settings)
    versions = ", ".join(str(interpreter.version) for interpreter in find_interpreters())
    yield Finding("python", "ok" if versions else "note", versions or "none that can make environments")
    yield _pip()
    if settings.default_engine not in engines:
        remedy = "set IRONCLAD_DEFAULT_ENGINE to one of `pipelinectl engines list`"
        yield Finding("engines", "problem", f"the default engine {settings.default_engine} is not there", remedy)
    for error in find_engine_problems(settings.engines_path):
        yield Finding(
            "manifests", "problem", error.detail, "put it right, take that engine away, or set IRONCLAD_ENGINES_PATH"
        )
    for engine in engines.values():
        yield from _engine(engine, settings=settings)


def _processor(machine: Machine) -> Finding:
    detail = f"{machine.cpu_model}, {machine.cores} cores"
    if machine.cpu_features is None:
        return Finding("processor", "note", f"{detail}; the system does not tell its features")
    told = [name for name in _TOLD_FEATURES if name in machine.cpu_features]
    return Finding("processor", "ok", f"{detail}; {' '.join(told) or 'no vector features'}")


def _memory(machine: Machine, *, settings: Settings) -> Finding:
    allowed, there = settings.engine_memory_bytes / GIBIBYTE, machine.memory_bytes / GIBIBYTE
    detail = f"{there:.1f} GiB; a worker may use {allowed:.1f} GiB"
    if allowed <= there:
        return Finding("memory", "ok", detail)
    remedy = "set IRONCLAD_ENGINE_MEMORY_BYTES below it, so that a worker is ended before the system suffers"
    return Finding("memory", "note", f"{detail}, which is more than there is", remedy)


def _disk(settings: Settings) -> Finding:
    folders = {"environments": settings.environments_dir, "models": settings.models_dir}
    free = {name: free_bytes(folder) for name, folder in folders.items()}
    detail = "; ".join(f"{free[name] / GIBIBYTE:.1f} GiB free for {name} in {folders[name]}" for name in folders)
    return Finding("disk", "ok" if min(free.values()) > GIBIBYTE else "note", detail)


def _gpu(machine: Machine, *, settings: Settings) -> Finding:
    if machine.gpus:
        named = (f"{gpu.name}, {gpu.memory_mib / 1024:.0f} GiB, driver {gpu.driver}" for gpu in machine.gpus)
        return Finding("gpu", "ok", "; ".join(named))
    if settings.engine_device.startswith("cuda"):
        remedy = "mend the driver, or set IRONCLAD_ENGINE_DEVICE=cpu"
        detail = f"{machine.gpu_problem}, and workers are to compute on {settings.engine_device}"
        return Finding("gpu", "problem", detail, remedy)
    return Finding("gpu", "note", machine.gpu_problem)


def _pip() -> Finding:
    """Ask pip's index for pip itself: what `engines install` needs, and a machine without network has not."""
    command = [sys.executable, "-m", "pip", "index", "versions", "pip", "--no-input", "--disable-pip-version-check"]
    remedy = "needed by `engines install` alone; set HTTPS_PROXY, or name an index to pip, or carry environments here"
    try:
        done = subprocess.run(command, capture_output=True, timeout=PIP_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Finding("pip", "note", f"its index did not answer in {PIP_TIMEOUT_S:.0f} s", remedy)
    if done.returncode == 0:
        return Finding("pip", "ok", "its index answers")
    return Finding("pip", "note", "its index does not answer", remedy)


def _engine(engine: InstalledEngine, *, settings: Settings) -> Iterator[Finding]:
    """Yield the finding of the engine, then of each of its environments that is there."""
    name = engine.manifest.name
    states = find_environments(engine)
    usable = [state for state in states if state.usable]
    yield _readiness(engine, states=states, settings=settings)
    for state in usable:
        if state.folder is not None:
            yield _environment(engine, state=state, settings=settings)
    for state in states:
        if state.state == "incomplete":
            remedy = f"run `pipelinectl engines install {name}` again"
            yield Finding(f"{name}: {state.environment}", "problem", state.detail, remedy)


def _readiness(engine: InstalledEngine, *, states: tuple[EnvironmentState, ...], settings: Settings) -> Finding:
    manifest = engine.manifest
    is_default = manifest.name == settings.default_engine
    model = settings.default_model if is_default else None
    part = f"{manifest.name}{' (default)' if is_default else ''}"
    if not is_default and all(state.state == "missing" for state in states):
        return Finding(part, "note", "is not installed", f"run `pipelinectl engines install {manifest.name}`")
    try:
        check_ready(engine, model=model, models_dir=settings.models_dir)
    except IroncladError as error:
        return Finding(part, "problem" if is_default else "note", error.detail, error.code.facts.remedy)
    verified = read_verification(engine, settings=settings)
    said = f"version {manifest.version} is ready; {_count_models(engine, settings=settings)}"
    if verified is None:
        return Finding(part, "note", f"{said}; never verified", f"run `pipelinectl engines verify {manifest.name}`")
    failed = [test for test in verified.tests if test.outcome == "failed"]
    if failed:
        remedy = f"run `pipelinectl engines verify {manifest.name}`; if it fails again, install it anew"
        return Finding(part, "problem", f"{said}; {failed[0].model} failed: {failed[0].detail}", remedy)
    return Finding(part, "ok", f"{said}; verified {verified.at:%Y-%m-%d}")


def _count_models(engine: InstalledEngine, *, settings: Settings) -> str:
    shelf = find_shelf(engine, models_dir=settings.models_dir)
    counts: dict[str, int] = {}
    for model in engine.manifest.models:
        weights = find_weights(engine, model=model.name)
        state = "without weights" if weights is None else find_state(weights, shelf=shelf).state
        counts[state] = counts.get(state, 0) + 1
    return "models: " + ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def _environment(engine: InstalledEngine, *, state: EnvironmentState, settings: Settings) -> Finding:
    """Ask the environment's own interpreter what it can compute on."""
    part = f"{engine.manifest.name}: {state.environment}"
    again = f"run `pipelinectl engines install {engine.manifest.name}` again"
    variables = engine.environment_specs()[state.environment].variables
    try:
        frameworks = read_devices(engine.environment_python(state.environment), variables=variables)
    except ProbeError as error:
        return Finding(part, "problem", f"its interpreter {error}", again)
    said = [
        f"{name} {facts['version']} {'can' if facts['cuda'] else 'cannot'} use CUDA"
        for name, facts in frameworks.items()
    ]
    detail = "; ".join(said) or "no framework that knows GPUs"
    if state.state == "outdated":
        return Finding(part, "note", f"{detail}; {state.detail}", again)
    asked = settings.engine_device.startswith("cuda") and "cuda" in engine.manifest.devices
    if asked and frameworks and not any(facts["cuda"] for facts in frameworks.values()):
        remedy = "install it where pip finds a build for CUDA, or set IRONCLAD_ENGINE_DEVICE=cpu"
        return Finding(part, "problem", detail, remedy)
    return Finding(part, "ok", detail)
