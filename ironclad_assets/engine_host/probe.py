"""Questions to an engine's own interpreter, each asked in a process of its own with a time limit.

What is imported there never reaches this process; what it prints is not mistaken for the answer.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ironclad_assets.engine_host.environment import pass_on

IMPORT_TIMEOUT_S = 300.0
"""TensorFlow's first import compiles its modules, which takes a slow disk minutes."""

DEVICE_TIMEOUT_S = 120.0

_ANSWERING = """
import json, os, sys
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
"""

_MODULES = """
import importlib, importlib.metadata, platform
failed = {}
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except BaseException as error:
        failed[name] = f"{type(error).__name__}: {error}"
packages = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions() if one.metadata["Name"]}
json.dump({"python": platform.python_version(), "packages": packages, "failed": failed}, answer)
"""

_DEVICES = """
import importlib.util
found = {}
if importlib.util.find_spec("torch"):
    import torch
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    found["torch"] = {"version": torch.__version__, "cuda": torch.cuda.is_available(), "devices": names}
if importlib.util.find_spec("onnxruntime"):
    import onnxruntime
    there = onnxruntime.get_available_providers()
    found["onnxruntime"] = {
        "version": onnxruntime.__version__, "cuda": "CUDAExecutionProvider" in there, "devices": there
    }
if importlib.util.find_spec("openvino"):
    import openvino
    there = list(openvino.Core().available_devices)
    found["openvino"] = {"version": openvino.__version__, "cuda": False, "devices": there}
json.dump(found, answer)
"""


@dataclass(frozen=True, slots=True)
class Contents:
    """What an environment holds: its Python, its packages, and the modules that cannot be imported, with why."""

    python: str
    packages: Mapping[str, str]
    failed: Mapping[str, str] = field(default_factory=dict)


class ProbeError(Exception):
    """The interpreter gave no answer; the text says why."""


def read_contents(python: Path, *, modules: Sequence[str], variables: Mapping[str, str]) -> Contents:
    """Return what the environment of `python` holds, having imported `modules` there.

    Raises:
        ProbeError: the interpreter does not run, crashed, or took too long.
    """
    answer = _ask(python, _MODULES, json.dumps(list(modules)), variables=variables, timeout_s=IMPORT_TIMEOUT_S)
    return Contents(python=answer["python"], packages=answer["packages"], failed=answer["failed"])


def read_devices(python: Path, *, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return per framework of the environment its version, whether it can use CUDA, and the devices it names.

    Raises:
        ProbeError: as for `read_contents`.
    """
    return _ask(python, _DEVICES, variables=variables, timeout_s=DEVICE_TIMEOUT_S)


def _ask(
    python: Path, script: str, *arguments: str, variables: Mapping[str, str], timeout_s: float
) -> dict[str, Any]:  # any JSON object
    try:
        done = subprocess.run(
            [str(python), "-s", "-c", _ANSWERING + script + "\nanswer.flush()\nos._exit(0)", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            cwd="/",
            env={**pass_on(os.environ), **variables, "PYTHONUTF8": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise ProbeError(f"gave no answer in {timeout_s:.0f} s") from error
    except OSError as error:
        raise ProbeError(f"does not start: {error.strerror}") from error
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        lines = done.stderr.strip().splitlines() or ["it printed nothing"]
        raise ProbeError(f"ended with status {done.returncode}: {lines[-1][:300]}") from error
    return answer
