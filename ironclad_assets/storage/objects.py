"""What the store needs of an object store: the interface, and the words that it answers with.

`storage/s3.py` speaks to S3; nothing else imports a client. Everything here is about single objects with a key
below one prefix; which of them make an artifact is the business of `storage/publication.py`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from ironclad_assets.storage.hashing import carry_on

ANYTHING = "*"
"""What a put may replace when nobody else writes that key, or whoever comes last is right."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One file or object: path relative to the root, size in bytes, time of its last change in Unix seconds."""

    path: str
    size_bytes: int
    modified_at: float


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of an object without reading it; `sha256` only of those that `upload` made.

    `modified_at` is the time of its last change in Unix seconds.
    """

    size_bytes: int
    etag: str
    sha256: str | None
    modified_at: float


@dataclass(frozen=True, slots=True)
class Content:
    """A small object as it was read; `data` is empty where it is `unchanged`."""

    data: bytes
    etag: str
    unchanged: bool = False


class Conflict(Exception):  # noqa: N818 - an outcome, not a fault
    """The condition of a put does not hold: somebody else wrote or removed the object meanwhile."""


class Objects(Protocol):
    """The objects below one prefix of one bucket.

    Every method raises `StorageUnavailable` where the object store does not answer, refuses, or is full.
    """

    @property
    def name(self) -> str:
        """Where they are, for people; never with a secret."""

    def probe(self, key: str) -> bytes | None:
        """Return a small object within seconds, or None where it is not there."""

    def head(self, key: str) -> Head | None:
        """Return what is known of the object, or None where it is not there."""

    def read(self, key: str, *, known: str | None = None) -> Content | None:
        """Return a small object, or None where it is not there; one whose ETag is `known` is not read."""

    def put(self, key: str, content: bytes, *, replaces: str | None) -> str:
        """Store a small object in one step; return its ETag.

        Args:
            key: its name.
            content: all of it.
            replaces: ETag of what it replaces; None where nothing may be there; or `ANYTHING`.

        Raises:
            Conflict: what is there is not what it replaces.
        """

    def upload(self, key: str, source: Path, *, sha256: str, heed: Callable[[], None] = carry_on) -> None:
        """Store a file of any size, in constant memory, with its SHA-256.

        The key must belong to that content alone; an object that is there already is compared, never replaced
        by another.

        Raises:
            Conflict: something else has that key.
        """

    def download(
        self, key: str, into: BinaryIO, *, size_bytes: int | None = None, heed: Callable[[], None] = carry_on
    ) -> bool:
        """Write the object to `into`, in constant memory; return False where it is not there.

        Args:
            key: its name.
            into: gets the bytes; whoever asks proves them.
            size_bytes: its size where that is known; else it is asked for.
            heed: called between blocks; what it raises ends the work.
        """

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield the objects below the folder `prefix`, all for an empty one."""

    def delete(self, keys: Iterable[str], *, at_once: bool = False) -> None:
        """Remove objects; those that are not there are fine.

        Args:
            keys: their names.
            at_once: within seconds or not at all, because somebody is kept waiting.
        """
