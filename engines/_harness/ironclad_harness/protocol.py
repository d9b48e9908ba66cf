"""The wire format of protocol version 1 as this side reads and writes it: request, events, result.

The schemas are in `engines/_protocol/v1`. Checked by hand because a worker's environment has no pydantic;
only what the harness itself relies on is checked here.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ironclad_harness.engine import EngineError, Statistics

PROTOCOL = 1
RESULT_NAME = "result.json"
BYTES_PER_SAMPLE = 4

_STEM = re.compile(r"[a-z][a-z0-9_]*")
_ENTRY = re.compile(r"[a-z_][a-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*")


def protocol_error(detail: str) -> EngineError:
    """Return the error for a message or an answer that breaks the protocol."""
    return EngineError("engine_protocol", detail)


@dataclass(frozen=True, slots=True)
class Mixture:
    """The staged mixture: interleaved little-endian float32 in one file."""

    path: Path
    sample_rate_hz: int
    channels: int
    frames: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * BYTES_PER_SAMPLE


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A file of the model's weights as the request names it; nothing of it is verified yet."""

    name: str
    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Request:
    """What this worker is asked to do."""

    entry: str
    model: str
    stems: tuple[str, ...]
    parameters: Mapping[str, float | int | str | bool]
    mixture: Mixture
    statistics: Statistics
    chunk_ends: tuple[int, ...]
    """The frame after each chunk, ascending; the last is the song's length."""

    key: str
    output_dir: Path
    device: str
    threads: int
    seed: int
    precision: str = "full"
    batch: int = 1
    window_s: float | None = None
    model_files: tuple[PinnedFile, ...] = ()


def read_request(path: Path) -> Request:
    """Return the request in the file `path`.

    Raises:
        EngineError: ``engine_protocol``, naming what is wrong with it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise protocol_error(f"the request {path} cannot be read: {error}") from error
    if not isinstance(value, dict) or value.get("protocol") != PROTOCOL:
        raise protocol_error(f"the request {path} is not of protocol {PROTOCOL}; update the engine's harness")
    try:
        request = _parse(value)
    except (KeyError, TypeError, ValueError) as error:
        raise protocol_error(f"the request {path} lacks or misstates a field: {error!r}") from error
    _check(request)
    return request


def _parse(value: dict[str, Any]) -> Request:
    mixture, statistics = value["mixture"], value["statistics"]
    return Request(
        entry=str(value["entry"]),
        model=str(value["model"]),
        stems=tuple(str(stem) for stem in value["stems"]),
        parameters=dict(value.get("parameters", {})),
        mixture=Mixture(
            path=Path(mixture["path"]),
            sample_rate_hz=int(mixture["sample_rate_hz"]),
            channels=int(mixture["channels"]),
            frames=int(mixture["frames"]),
        ),
        statistics=Statistics(**{name: float(statistics[name]) for name in ("mean", "std", "peak", "rms")}),
        chunk_ends=_chunk_ends(value["chunks"]),
        key=str(value["key"]),
        output_dir=Path(value["output_dir"]),
        device=str(value.get("device", "cpu")),
        precision=str(value.get("precision", "full")),
        threads=int(value.get("threads", 1)),
        batch=int(value.get("batch", 1)),
        window_s=None if value.get("window_s") is None else float(value["window_s"]),
        seed=int(value.get("seed", 0)),
        model_files=tuple(_pinned_file(file) for file in value.get("model_files", [])),
    )


def _pinned_file(value: dict[str, Any]) -> PinnedFile:
    path = Path(value["path"])
    if not path.is_absolute():
        raise ValueError(f"model file {str(path)!r} is not an absolute path")
    return PinnedFile(str(value["name"]), path, size_bytes=int(value["size_bytes"]), sha256=str(value["sha256"]))


def _chunk_ends(chunks: list[dict[str, int]]) -> tuple[int, ...]:
    ends: list[int] = []
    for chunk in chunks:
        if int(chunk["start"]) != (ends[-1] if ends else 0) or int(chunk["frames"]) < 1:
            raise ValueError(f"chunk {chunk} does not follow the one before it")
        ends.append(int(chunk["start"]) + int(chunk["frames"]))
    return tuple(ends)


def _check(request: Request) -> None:
    if not request.stems or len(set(request.stems)) < len(request.stems):
        raise protocol_error(f"stems {list(request.stems)} must be named, each once")
    if any(_STEM.fullmatch(stem) is None for stem in request.stems):
        raise protocol_error(f"stems {list(request.stems)} must be lower-case identifiers")
    if request.batch < 1 or request.threads < 1:
        raise protocol_error(f"batch {request.batch} and threads {request.threads} must be at least 1")
    if _ENTRY.fullmatch(request.entry) is None:
        raise protocol_error(f"entry {request.entry!r} is not module:Class")
    mixture = request.mixture
    if mixture.channels not in (1, 2) or mixture.frames < 1 or mixture.sample_rate_hz < 1:
        raise protocol_error(f"the mixture {mixture} has no audio of one or two channels")
    if request.chunk_ends[-1:] != (mixture.frames,):
        raise protocol_error(f"the chunks do not end at the mixture's {mixture.frames} frames")
    try:
        size = mixture.path.stat().st_size
    except OSError as error:
        raise EngineError("artifact_missing", f"the staged mixture cannot be read: {error}") from error
    if size != mixture.frames * mixture.frame_bytes:
        raise EngineError(
            "artifact_damaged", f"{mixture.path} has {size} bytes, not {mixture.frames * mixture.frame_bytes}"
        )


def to_json(value: Mapping[str, object], *, indent: int | None = None) -> bytes:
    """Return `value` as a line of JSON that every reader takes.

    Half a surrogate pair, as Python has in names of files that are no UTF-8, becomes ``?``: no JSON can say it.
    """
    return json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def write_atomically(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write `parts` to `path` so that the file is whole or absent, and durable."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as stream:
            stream.writelines(parts)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk needs the room
        raise
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_result(request_key: str, *, output_dir: Path, fields: Mapping[str, object]) -> None:
    """Write `result.json`, the last file of a piece of work."""
    result = {"protocol": PROTOCOL, "key": request_key, **fields}
    write_atomically(output_dir / RESULT_NAME, [to_json(result, indent=1)])
