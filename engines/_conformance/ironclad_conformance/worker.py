"""Drives a worker over the protocol the way a host does: request, events, signals, result. Nothing more."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ironclad_conformance.signals import Audio

HARNESS = Path(__file__).resolve().parent.parent.parent / "_harness"
TIMEOUT_S = 300.0
CHUNK_S = 7.0


@dataclass(frozen=True, slots=True)
class Work:
    """One request in a folder of its own, and the worker's answer to it."""

    folder: Path
    engine_folder: Path
    manifest: dict[str, Any]  # TOML
    model: dict[str, Any]
    frames: int
    python: str = sys.executable

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def request(self) -> Path:
        return self.folder / "request.json"

    def stem(self, name: str) -> Audio:
        """Return a finished stem, shape (frames, channels)."""
        return np.fromfile(self.output / f"{name}.f32", dtype="<f4").reshape(-1, self.model["channels"])

    def log(self) -> str:
        """Return what the workers printed."""
        path = self.folder / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def stem_bytes(self) -> dict[str, bytes]:
        """Return every finished stem's bytes by its name."""
        return {path.stem: path.read_bytes() for path in sorted(self.output.glob("*.f32"))}

    def result(self) -> dict[str, Any] | None:
        """Return the result, if there is one."""
        path = self.output / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def chunk_ends(self) -> list[int]:
        """Return the frame after each chunk of the request."""
        request = json.loads(self.request.read_text(encoding="utf-8"))
        return [chunk["start"] + chunk["frames"] for chunk in request["chunks"]]

    def change_request(self, **fields: object) -> None:
        """Overwrite fields of the request."""
        value = json.loads(self.request.read_text(encoding="utf-8"))
        self.request.write_text(json.dumps(value | fields), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a worker ended: its status, its events with the second each came, and when it was signalled."""

    status: int
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    seconds_after_signal: float | None = None

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [event for _, event in self.events if event["kind"] == kind]


def read_manifest(engine_folder: Path) -> dict[str, Any]:
    """Return the content of the engine's `engine.toml`."""
    return tomllib.loads((engine_folder / "engine.toml").read_text(encoding="utf-8"))


def find_model(manifest: dict[str, Any], *, name: str | None = None) -> dict[str, Any]:
    """Return the manifest's entry for the model `name`, for None of its default model."""
    wanted = name or manifest["default_model"]
    model: dict[str, Any] = next(each for each in manifest["models"] if each["name"] == wanted)
    return model


def import_path(engine_folder: Path) -> str:
    """Return what ``PYTHONPATH`` is for a worker of the engine."""
    return os.pathsep.join([str(HARNESS), str(engine_folder.resolve())])


def variables_of(manifest: dict[str, Any], *, model: dict[str, Any]) -> dict[str, str]:
    """Return the variables that the model's environment asks for."""
    environment = manifest.get("environments", {}).get(model.get("environment", "default"), {})
    variables: dict[str, str] = environment.get("variables", {})
    return variables


def prepare(
    engine_folder: Path,
    *,
    folder: Path,
    audio: Audio,
    chunk_s: float = CHUNK_S,
    model: dict[str, Any] | None = None,
    python: str = sys.executable,
) -> Work:
    """Lay out a request for `audio`, which must have the channels of `model` (None: the default one)."""
    manifest = read_manifest(engine_folder)
    model = model or find_model(manifest)
    (folder / "output").mkdir(parents=True)
    audio.astype("<f4").tofile(folder / "mixture.f32")
    request = {
        "protocol": 1,
        "job_uuid": "conformance",
        "song": "conformance",
        "engine": manifest["name"],
        "engine_version": manifest["version"],
        "entry": model.get("entry", manifest["entry"]),
        "model": model["name"],
        "stems": model["stems"],
        "mixture": {
            "path": str(folder / "mixture.f32"),
            "sample_rate_hz": model["sample_rate_hz"],
            "channels": model["channels"],
            "frames": len(audio),
        },
        "statistics": _statistics(audio),
        "chunks": _chunks(len(audio), step=int(chunk_s * model["sample_rate_hz"])),
        "key": "conformance",
        "output_dir": str(folder / "output"),
    }
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    return Work(
        folder=folder, engine_folder=engine_folder, manifest=manifest, model=model, frames=len(audio), python=python
    )


def _statistics(audio: Audio) -> dict[str, float]:
    middle = audio.mean(axis=1, dtype=np.float64)
    return {
        "mean": float(middle.mean()),
        "std": float(middle.std(ddof=1)) if len(audio) > 1 else 0.0,
        "peak": float(np.abs(audio).max()),
        "rms": float(np.sqrt(np.mean(audio.astype(np.float64) ** 2))),
    }


def _chunks(frames: int, *, step: int) -> list[dict[str, int]]:
    return [{"start": start, "frames": min(step, frames - start)} for start in range(0, frames, step)]


def after_window(number: int) -> Callable[[dict[str, Any]], bool]:
    """Return what tells an event after `number` finished windows."""
    return lambda event: event.get("windows") is not None and event["windows"] >= number


def run(
    work: Work, *, send: signal.Signals | None = None, when: Callable[[dict[str, Any]], bool] | None = None
) -> Ending:
    """Run a worker to its end; send it `send` at the first event for which `when` holds."""
    reading, writing = os.pipe()
    process = _start(work, events_fd=writing)
    os.close(writing)
    events: list[tuple[float, dict[str, Any]]] = []
    signalled: float | None = None
    with os.fdopen(reading, encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                break
            event = json.loads(line)
            events.append((time.monotonic(), event))
            if send is not None and signalled is None and (when is None or when(event)):
                signalled = time.monotonic()
                process.send_signal(send)
    status = process.wait(timeout=TIMEOUT_S)
    after = None if signalled is None else time.monotonic() - signalled
    return Ending(status=status, events=events, seconds_after_signal=after)


def _start(work: Work, *, events_fd: int) -> subprocess.Popen[bytes]:
    command = [work.python, "-m", "ironclad_harness", "--request", str(work.request), "--events-fd", str(events_fd)]
    with (work.folder / "log").open("ab") as log:
        return subprocess.Popen(
            command,
            pass_fds=(events_fd,),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=worker_environment(work),
        )


def worker_environment(work: Work) -> dict[str, str]:
    """Return the environment that a worker for `work` is started with."""
    fixed = {"PYTHONPATH": import_path(work.engine_folder), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **variables_of(work.manifest, model=work.model), **fixed}
