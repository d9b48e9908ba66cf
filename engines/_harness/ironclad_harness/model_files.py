"""Weights are what the request says they are before anything opens them.

Weights may be pickles, which run code when they are opened: so size and full SHA-256 come first. Finding
and fetching weights belongs to the other side of the protocol.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from ironclad_harness.engine import EngineError, ModelFile
from ironclad_harness.protocol import PinnedFile
from ironclad_harness.stopping import Stopped

_BLOCK_BYTES = 1 << 20

Mark = tuple[int, int, int, int, int]


class Verifier:
    """Verifies files; one that has not changed since (device, inode, size, times) is not hashed again."""

    def __init__(self) -> None:
        self._verified: dict[Path, tuple[Mark, str]] = {}

    def verify(self, files: Iterable[PinnedFile], *, stop: Callable[[], bool]) -> dict[str, ModelFile]:
        """Return `files` by name, all of them verified.

        Raises:
            EngineError: ``model_missing`` or ``model_damaged``, naming file, expected and found.
            Stopped: `stop` turned true.
        """
        return {file.name: self._verify(file, stop=stop) for file in files}

    def _verify(self, file: PinnedFile, *, stop: Callable[[], bool]) -> ModelFile:
        try:
            if not stat.S_ISREG(file.path.stat().st_mode):
                raise EngineError("model_missing", f"{file.name}: {file.path} is not a file")
            with file.path.open("rb") as stream:
                self._compare(file, stream=stream, stop=stop)
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            raise EngineError("model_missing", f"{file.name}: {file.path}: {error.strerror}") from error
        return ModelFile(path=file.path, sha256=file.sha256)

    def _compare(self, file: PinnedFile, *, stream: BinaryIO, stop: Callable[[], bool]) -> None:
        mark = _mark(stream)
        if self._verified.get(file.path) == (mark, file.sha256):
            return
        size = os.fstat(stream.fileno()).st_size
        if size != file.size_bytes:
            detail = f"{file.name}: {file.path} has {size} bytes, not {file.size_bytes}"
            raise EngineError("model_damaged", detail)
        found = _hash(stream, stop=stop)
        if found != file.sha256:
            detail = f"{file.name}: the SHA-256 of {file.path} is {found}, not {file.sha256}"
            raise EngineError("model_damaged", detail)
        if _mark(stream) == mark:
            self._verified[file.path] = (mark, found)


def _mark(stream: BinaryIO) -> Mark:
    facts = os.fstat(stream.fileno())
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _hash(stream: BinaryIO, *, stop: Callable[[], bool]) -> str:
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK_BYTES):
        if stop():
            raise Stopped
        digest.update(block)
    return digest.hexdigest()
