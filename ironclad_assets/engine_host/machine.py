"""What this machine is: processor, memory, disk, GPUs. Only looks; what an engine needs of it is asked elsewhere."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

CPUINFO = Path("/proc/cpuinfo")
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
GPU_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
GPU_TIMEOUT_S = 20.0
_FEATURE_KEYS = ("flags", "Features")
"""How x86 and ARM kernels head the line of features."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU as its driver names it."""

    name: str
    memory_mib: int
    driver: str


@dataclass(frozen=True, slots=True)
class Machine:
    """The parts that engines ask for.

    `cpu_features` are names as in ``/proc/cpuinfo``, None where the kernel does not tell. `memory_bytes`
    is what this process may use at most. `gpu_problem` says why GPUs could not be asked for.
    """

    cpu_model: str
    cpu_features: frozenset[str] | None
    cores: int
    memory_bytes: int
    gpus: tuple[Gpu, ...]
    gpu_problem: str = ""


def read_machine(*, cpuinfo: Path = CPUINFO) -> Machine:
    """Return what this machine is."""
    facts = _read_cpuinfo(cpuinfo)
    features = next((facts[key] for key in _FEATURE_KEYS if key in facts), None)
    gpus, problem = find_gpus()
    return Machine(
        cpu_model=facts.get("model name", "unknown"),
        cpu_features=None if features is None else frozenset(features.split()),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        gpus=gpus,
        gpu_problem=problem,
    )


def _read_cpuinfo(path: Path) -> dict[str, str]:
    """Return the facts of the first processor."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def _memory_bytes() -> int:
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(MEMORY_LIMIT.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no cgroup, or "max"
        return total


def find_gpus() -> tuple[tuple[Gpu, ...], str]:
    """Return the GPUs that the NVIDIA driver shows, and why there are none."""
    try:
        done = subprocess.run(GPU_QUERY, capture_output=True, text=True, timeout=GPU_TIMEOUT_S, check=False)
    except FileNotFoundError:
        return (), "no NVIDIA driver (nvidia-smi is not there)"
    except (OSError, subprocess.TimeoutExpired) as error:
        return (), f"nvidia-smi: {error}"
    if done.returncode != 0:
        return (), f"nvidia-smi: {(done.stdout + done.stderr).strip().splitlines()[-1:] or ['no answer']}"
    rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    gpus = tuple(Gpu(row[0], int(row[1]) if row[1].isdigit() else 0, row[2]) for row in rows if len(row) == 3)
    return gpus, "" if gpus else "the NVIDIA driver shows no GPU"


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk that `folder` is on, or will be on once it is made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
