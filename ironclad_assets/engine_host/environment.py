"""The command and the environment a worker is started with: nothing of ours but what it needs."""

import os
from collections.abc import Mapping
from pathlib import Path

from ironclad_assets.contracts.v1.engine import EngineRequest
from ironclad_assets.engine_host.registry import InstalledEngine

JOB_VARIABLE = "IRONCLAD_JOB"
"""Tells whatever a worker starts for whom it works."""

_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def pass_on(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return what an engine's interpreter gets of our environment: where things are, and no secrets."""
    return {name: inherited[name] for name in _PASSED_ON if name in inherited}


def worker_command(request: EngineRequest, *, engine: InstalledEngine, request_path: Path, events_fd: int) -> list[str]:
    """Return the command of a worker for `request`, which is in the file `request_path`."""
    harness = ["-m", "ironclad_harness", "--request", str(request_path), "--events-fd", str(events_fd)]
    return [str(engine.python(request.model)), *harness]


def warm_worker_command(engine: InstalledEngine, *, model: str, socket_name: str) -> list[str]:
    """Return the command of a worker that takes one request after the other over a socket in its working folder."""
    return [str(engine.python(model)), "-m", "ironclad_harness", "--serve", socket_name]


def worker_environment(
    request: EngineRequest, *, engine: InstalledEngine, inherited: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the whole environment of the worker of `request`."""
    return make_environment(
        engine, model=request.model, threads=request.threads, job=request.job_uuid, inherited=inherited
    )


def make_environment(
    engine: InstalledEngine, *, model: str, threads: int, job: str, inherited: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the whole environment of a worker: no secrets, fixed threads and hashes, its own imports.

    Args:
        engine: whose manifest may name more variables; none of them replaces what makes results repeatable.
        model: the model it works with.
        threads: threads of its numeric libraries.
        job: for whom it works.
        inherited: where the few variables that are passed on come from.
    """
    environment = pass_on(inherited)
    environment |= dict.fromkeys(_THREAD_VARIABLES, str(threads))
    environment |= engine.variables(model)
    return environment | {
        "PYTHONPATH": os.pathsep.join(str(folder.resolve()) for folder in engine.import_path()),
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "LC_ALL": "C.UTF-8",
        JOB_VARIABLE: job,
    }
