"""What a file of weights must be, and how we know: the published hash, else the one pinned at the first fetch.

Pickled weights can run code when they are loaded, so nothing is loaded whose full hash is not pinned; that
is also why a file that changed is never taken for a newer one.
"""

from dataclasses import dataclass
from typing import Literal

from ironclad_assets.contracts.v1.models import CatalogueFile, StoredFile, StoredWeights
from ironclad_assets.errors import ErrorCode, IroncladError, failure

Provenance = Literal["published", "first_fetch", "imported", "derived"]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is known of a file before it is here.

    `sha256` is its full hash if anybody knows one; `published` says whether the catalogue does, else it
    was pinned here. `sha256_prefix` is the beginning that the catalogue knows.
    """

    name: str
    sha256: str | None = None
    published: bool = False
    sha256_prefix: str = ""
    size_bytes: int | None = None

    def judge(self, sha256: str, *, size_bytes: int, unpublished: Provenance) -> Provenance:
        """Return the provenance of a file with that hash and size.

        Args:
            sha256: of the whole file.
            size_bytes: its size.
            unpublished: the provenance where the catalogue publishes no full hash.

        Raises:
            IroncladError: ``MODEL_DAMAGED``: it is not the file that is expected.
        """
        if self.size_bytes is not None and size_bytes != self.size_bytes:
            raise self._wrong(f"has {size_bytes} bytes, not {self.size_bytes}")
        if not sha256.startswith(self.sha256_prefix):
            raise self._wrong(f"has the SHA-256 {sha256}, which does not begin with {self.sha256_prefix}")
        if self.sha256 is not None and sha256 != self.sha256:
            whose = "published" if self.published else "pinned here at its first fetch or import"
            raise self._wrong(f"has the SHA-256 {sha256}, not {self.sha256} as {whose}")
        return "published" if self.published else unpublished

    def _wrong(self, why: str) -> IroncladError:
        return failure(ErrorCode.MODEL_DAMAGED, f"{self.name} {why}")


def expect_file(file: CatalogueFile, *, record: StoredWeights | None) -> Expectation:
    """Return what the catalogue and an earlier record say of a file to fetch, be it weights or an archive."""
    pinned = find_pin(file.name, record=record)
    return Expectation(
        name=file.name,
        sha256=file.sha256 or (None if pinned is None else pinned.sha256),
        published=file.sha256 is not None,
        sha256_prefix=file.sha256_prefix,
        size_bytes=file.size_bytes,
    )


def expect_member(file: CatalogueFile, *, name: str, record: StoredWeights | None) -> Expectation:
    """Return what an earlier record says of a file that comes out of the archive `file`."""
    pinned = find_pin(name, record=record)
    return Expectation(name=name, sha256=None if pinned is None else pinned.sha256)


def find_pin(name: str, *, record: StoredWeights | None) -> StoredFile | None:
    """Return what was pinned of the file or archive called `name`."""
    if record is None:
        return None
    return next((file for file in (*record.files, *record.archives) if file.name == name), None)
