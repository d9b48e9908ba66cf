"""A store that lasts in an object store: what of the root is published there, fetched from there, removed there.

The root is a working copy. Originals, artifacts, sidecars, the records of the quarantine and the sentinel are the
same files under the same names in the bucket; the upload folder, the library, hand-offs and logs are of this machine
alone. Artifacts, of which many files must appear as one, are `storage/publication.py`'s.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from ironclad_assets.errors import ErrorCode, PermanentFailure, StorageUnavailable
from ironclad_assets.storage import atomic
from ironclad_assets.storage.hashing import carry_on
from ironclad_assets.storage.objects import ANYTHING, Conflict, Objects, Stored

SENTINEL = ".store-id"
MARKER = ".object-store"
"""File in the root that says where its store lasts, once it does: an empty bucket is then a wrong one."""

LASTING = ("archive", "stages", "sidecars", "error")
"""Folders whose files are in the object store."""

MANIFEST = "manifest.json"
ORIGINALS = "archive/"
STAGES = "stages"
TRIES = 2
READ_ONLY = 0o444
PRESENT_S = 5.0
"""How long the object store is believed to be there without asking again."""


@dataclass(frozen=True, slots=True)
class Parting:
    """The objects of a file or folder that is to go: those by which it is seen, and what nobody finds without them."""

    seen_by: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()


class Mirror:
    """One store's objects. Processes share them through the bucket alone; threads may share one of these."""

    def __init__(self, objects: Objects, *, root: Path) -> None:
        self.objects = objects
        self.root = root
        self._present_until_s = 0.0

    @property
    def name(self) -> str:
        """Where the store lasts, for people."""
        return self.objects.name

    def require_present(self) -> None:
        """Raise unless the object store answers and is that of this root.

        Raises:
            StorageUnavailable: `STORAGE_AWAY`.
        """
        if time.monotonic() < self._present_until_s:
            return
        found = self.objects.probe(SENTINEL)
        if found is None:
            raise _away(f"{self.name} has no {SENTINEL}; see that the address is right, or restore the object")
        if found.strip() != (self.root / SENTINEL).read_bytes().strip():
            raise _away(f"{self.name} and {self.root} belong to different stores: their {SENTINEL} differ")
        self._present_until_s = time.monotonic() + PRESENT_S

    def settle_id(self, own: str | None, *, new: Callable[[], str]) -> str:
        """Return the store's id, agreed upon with every other machine.

        An id that is there wins over `new`. A bucket that is empty though this root's store lasts there already, or
        that has anything but a sentinel, is left alone.

        Args:
            own: the id of this root; None for a new one.
            new: makes one.

        Raises:
            StorageUnavailable: `STORAGE_AWAY`.
        """
        found = self.objects.probe(SENTINEL)
        if found is None:
            if (self.root / MARKER).exists():
                raise _away(f"{self.name} has no {SENTINEL}, though the store of {self.root} lasts in an object store")
            if next(self.objects.list(""), None) is not None and self.objects.probe(SENTINEL) is None:
                raise _away(f"{self.name} has objects but no {SENTINEL}; choose an empty prefix")
            mine = f"{own or new()}\n".encode()
            try:
                self.objects.put(SENTINEL, mine, replaces=None)
                found = mine
            except Conflict:  # another machine was faster
                return self.settle_id(own, new=new)
        settled = found.decode(errors="replace").strip()
        if own not in (None, settled):
            raise _away(f"{self.name} and {self.root} belong to different stores: their {SENTINEL} differ")
        return settled

    def remember(self) -> None:
        """Note in the root where its store lasts."""
        if not (self.root / MARKER).exists():
            atomic.write_bytes(self.root / MARKER, f"{self.name}\n".encode())

    def publish_original(
        self, source: Path, *, relative: str, sha256: str, heed: Callable[[], None] = carry_on
    ) -> None:
        """Make the original at `source` last as `relative`, a name that follows from its content.

        Raises:
            PermanentFailure: `ARTIFACT_DAMAGED`: the bucket has something else under that name.
            StorageUnavailable: the object store cannot take it now.
        """
        try:
            self.objects.upload(relative, source, sha256=sha256, heed=heed)
        except Conflict:
            raise PermanentFailure(
                f"{self.name}/{relative} is there and is something else; move it away", code=ErrorCode.ARTIFACT_DAMAGED
            ) from None

    def require_original(self, source: Path, *, relative: str, sha256: str) -> None:
        """Publish the original again if it is not there; that costs one short question."""
        if self.objects.head(relative) is None:
            self.publish_original(source, relative=relative, sha256=sha256)

    def publish_file(self, relative: str) -> None:
        """Make a small file of the root last; the last one who writes it is right.

        Raises:
            StorageUnavailable: the object store cannot take it now.
        """
        self.objects.put(relative, (self.root / relative).read_bytes(), replaces=ANYTHING)

    def fetch_original(self, relative: str) -> None:
        """Bring an original into the root, if the object store has it.

        Raises:
            PermanentFailure: `ARTIFACT_DAMAGED`: it is not what its name says.
            StorageUnavailable: it cannot be read or written now.
        """
        self.fetch(relative, self.root / relative, sha256=relative.rpartition("/")[2], mode=READ_ONLY)

    def fetch(
        self,
        key: str,
        destination: Path,
        *,
        sha256: str,
        size_bytes: int | None = None,
        mode: int = 0o644,
        heed: Callable[[], None] = carry_on,
    ) -> bool:
        """Write an object to `destination` once it is proven; return False where it is not there.

        What differs from its checksum is fetched once more: the way may be at fault, not the object.

        Raises:
            PermanentFailure: `ARTIFACT_DAMAGED`.
            StorageUnavailable: it cannot be read or written now.
        """

        def fill(stream: BinaryIO) -> None:
            proof = _Proof(stream)
            if not self.objects.download(key, cast(BinaryIO, proof), size_bytes=size_bytes, heed=heed):
                raise _Absent
            if proof.digest.hexdigest() != sha256:
                raise _Differs

        atomic.make_folder(destination.parent)
        for _ in range(TRIES):
            try:
                atomic.write_atomically(destination, fill, mode=mode)
            except _Absent:
                return False
            except _Differs:
                continue
            return True
        raise PermanentFailure(f"{self.name}/{key} differs from its checksum", code=ErrorCode.ARTIFACT_DAMAGED)

    def hash(self, key: str) -> str:
        """Read an object and return its SHA-256; that of nothing where it is not there.

        Raises:
            StorageUnavailable: it cannot be read now.
        """
        with Path(os.devnull).open("wb") as nowhere:
            proof = _Proof(nowhere)
            self.objects.download(key, cast(BinaryIO, proof))
            return proof.digest.hexdigest()

    def fetch_folder(self, relative: str) -> None:
        """Bring the small files of a folder into the root that are not there.

        Raises:
            StorageUnavailable: they cannot be read or written now.
        """
        for stored in self.objects.list(relative):
            self.fetch_file(stored.path)

    def fetch_file(self, relative: str) -> None:
        """Bring a small file into the root, if it is not there and the object store has it.

        Raises:
            StorageUnavailable: it cannot be read or written now.
        """
        destination = self.root / relative
        if destination.exists():
            return
        content = self.objects.read(relative)
        if content is not None:
            atomic.make_folder(destination.parent)
            atomic.write_bytes(destination, content.data)

    def discard(self, relative: str) -> None:
        """Remove the file or folder `relative` from the object store; manifests go first, so nothing half is seen.

        Raises:
            StorageUnavailable: it cannot be removed now; some of it may be gone.
        """
        parting = self.look_up(relative)
        self.objects.delete(parting.seen_by)
        self.objects.delete(parting.rest)

    def look_up(self, relative: str) -> Parting:
        """Return the objects of the file or folder `relative`, none for what is of this machine alone.

        Raises:
            StorageUnavailable: the object store does not answer.
        """
        top = relative.partition("/")[0]
        if top not in LASTING:
            return Parting()
        keys = dict.fromkeys((relative, *(stored.path for stored in self.objects.list(relative))))
        seen_by = tuple(key for key in keys if top != STAGES or key.endswith(f"/{MANIFEST}"))
        return Parting(seen_by, tuple(key for key in keys if key not in seen_by))

    def hide(self, parting: Parting) -> None:
        """Remove what it is seen by, within seconds: whoever asks keeps others waiting.

        Raises:
            StorageUnavailable: the object store did not say that it is done; it may be all the same.
        """
        self.objects.delete(parting.seen_by, at_once=True)

    def forget(self, parting: Parting) -> None:
        """Remove what is not seen any more; what cannot be removed now is swept with the leftovers."""
        with suppress(StorageUnavailable):
            self.objects.delete(parting.rest)

    def lasting(self, prefix: str) -> Iterator[Stored]:
        """Yield the objects below the folder `prefix`."""
        return self.objects.list(prefix)


class _Proof:
    """A file that hashes what is written to it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def write(self, block: bytes) -> int:
        self.digest.update(block)
        return self._stream.write(block)


class _Absent(Exception):  # noqa: N818 - an outcome
    """The object is not there."""


class _Differs(Exception):  # noqa: N818 - an outcome
    """What came is not what was asked for."""


def _away(detail: str) -> StorageUnavailable:
    return StorageUnavailable(detail, code=ErrorCode.STORAGE_AWAY)
