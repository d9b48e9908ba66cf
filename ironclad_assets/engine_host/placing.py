"""Giving weights their names: temporary files into place, the record after them, then what they are derived into.

Everything that brings weights here (fetch, import of files, import of bundles) ends here, so that there is
one order: whole and checked files first, the record that pins them last.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ironclad_assets.contracts.v1.models import CatalogueFile, CatalogueWeights, StoredFile, StoredWeights
from ironclad_assets.engine_host.catalogue import Shelf, file_names, read_catalogue
from ironclad_assets.engine_host.deriving import derive
from ironclad_assets.engine_host.hashed import remember_hashed
from ironclad_assets.engine_host.listening import Listener
from ironclad_assets.engine_host.locks import hold_lock
from ironclad_assets.engine_host.pinning import Provenance, expect_member, find_pin
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.engine_host.unpacking import unpack_members
from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.storage import atomic
from ironclad_assets.storage.hashing import hash_file


@dataclass(frozen=True, slots=True)
class Staged:
    """A checked file under a temporary name, and what is to be pinned of it."""

    path: Path
    file: StoredFile


@contextmanager
def open_shelf(shelf: Shelf) -> Iterator[Path]:
    """Yield an empty folder on the shelf's disk, while nobody else changes the shelf; it is gone afterwards.

    Raises:
        IroncladError: ``BUSY``: another command is at work there; the storage's errors.
    """
    busy = failure(ErrorCode.BUSY, f"another command is changing {shelf.folder}")
    with hold_lock(shelf.folder / ".lock", busy=busy):
        for left in shelf.folder.glob(".work-*"):  # of a command that was killed: we hold the lock
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".work-", dir=shelf.folder) as work:
            yield Path(work)


def read_pins(engine: InstalledEngine, *, weights: CatalogueWeights, shelf: Shelf) -> StoredWeights | None:
    """Return what is pinned of the files of `weights`, also under other weights that have the same files.

    Raises:
        IroncladError: ``MODEL_DAMAGED``: a record cannot be read.
    """
    own = shelf.record(weights.name)
    wanted = set(file_names(weights)) - ({file.name for file in own.files} if own is not None else set())
    shared: dict[str, StoredFile] = {}
    for other in read_catalogue(engine).weights:
        if other.name != weights.name and wanted & set(file_names(other)) and (theirs := shelf.record(other.name)):
            shared |= {file.name: file for file in theirs.files if file.name in wanted}
    if own is not None:
        return own.model_copy(update={"files": (*own.files, *shared.values())})
    if not shared:
        return None
    return StoredWeights(
        engine=shelf.engine, weights=weights.name, licence=weights.licence, files=tuple(shared.values())
    )


def stage(path: Path, *, name: str, provenance: Provenance, origin: str, sha256: str | None = None) -> Staged:
    """Return the temporary file `path` as the file that is to be called `name`."""
    file = StoredFile(
        name=name,
        size_bytes=path.stat().st_size,
        sha256=sha256 or hash_file(path),
        provenance=provenance,
        origin=origin,
        at=datetime.now(UTC),
    )
    return Staged(path=path, file=file)


def stage_archive(
    archive: Staged, *, file: CatalogueFile, record: StoredWeights | None, work: Path
) -> tuple[Staged, ...]:
    """Unpack a checked archive; return its members, which must be what was pinned of them before.

    Raises:
        IroncladError: ``MODEL_DAMAGED``.
    """
    folder = Path(tempfile.mkdtemp(dir=work))
    unpack_members(archive.path, members=file.members, folder=folder)
    staged = []
    for member in file.members:
        name = f"{file.unpack}/{member}"
        found = stage(
            folder / member, name=name, provenance=archive.file.provenance, origin=f"{archive.file.origin}#{member}"
        )
        expect_member(file, name=name, record=record).judge(
            found.file.sha256, size_bytes=found.file.size_bytes, unpublished=found.file.provenance
        )
        staged.append(found)
    return tuple(staged)


def place(
    engine: InstalledEngine,
    *,
    weights: CatalogueWeights,
    shelf: Shelf,
    record: StoredWeights | None,
    staged: Mapping[str, Staged],
    archives: Sequence[StoredFile],
    work: Path,
    listener: Listener,
) -> StoredWeights:
    """Put `staged` in place, write the texts, derive what is derived, and pin it all; return the record.

    Args:
        engine: whose weights they are.
        weights: as the catalogue has them.
        shelf: where they go.
        record: what was pinned before, from `read_pins`.
        staged: new files by name; every other file of `weights` is there and pinned already.
        archives: what to pin of archives that the new files came out of; older pins of others stay.
        work: folder for temporary files, on the shelf's disk.
        listener: is told what is derived.

    Raises:
        IroncladError: what derivation or the storage raises.
    """
    new = {**_texts(weights, work=work), **staged}
    files = {**_kept(weights, record=record), **{name: one.file for name, one in new.items()}}
    for name, one in new.items():
        _move(one.path, destination=shelf.path(name))
    pinned_archives = _merge(archives, record=record)
    if any(derivation.name not in staged for derivation in weights.derived):
        _pin(
            weights, shelf=shelf, files=files, archives=pinned_archives
        )  # what was fetched stays, whatever happens now
    for derivation in weights.derived:
        pin = find_pin(derivation.name, record=record)
        if derivation.name in staged:
            continue
        if pin is not None and not staged and _is_intact(shelf.path(pin.name), pin=pin):
            files[pin.name] = pin
            continue
        made = derive(engine, weights=weights, derivation=derivation, shelf=shelf, work=work, listener=listener)
        one = stage(made, name=derivation.name, provenance="derived", origin=derivation.module)
        _move(one.path, destination=shelf.path(derivation.name))
        files[derivation.name] = one.file
    return _pin(weights, shelf=shelf, files=files, archives=pinned_archives)


def _merge(archives: Sequence[StoredFile], *, record: StoredWeights | None) -> tuple[StoredFile, ...]:
    """Return the pins of all archives, new and old."""
    new = {archive.name for archive in archives}
    old = () if record is None else record.archives
    return (*(archive for archive in old if archive.name not in new), *archives)


def _pin(
    weights: CatalogueWeights, *, shelf: Shelf, files: Mapping[str, StoredFile], archives: tuple[StoredFile, ...]
) -> StoredWeights:
    """Write the record of files that were all just hashed, and return it."""
    record = StoredWeights(
        engine=shelf.engine,
        weights=weights.name,
        licence=weights.licence,
        files=tuple(files.values()),
        archives=archives,
    )
    shelf.write_record(record)
    remember_hashed(record, shelf=shelf)
    return record


def _kept(weights: CatalogueWeights, *, record: StoredWeights | None) -> dict[str, StoredFile]:
    """Return the pins of the files that are there already."""
    names = [name for file in weights.files for name in fetched_names(file)]
    pins = {name: find_pin(name, record=record) for name in names}
    return {name: pin for name, pin in pins.items() if pin is not None}


def fetched_names(file: CatalogueFile) -> tuple[str, ...]:
    """Return the names of the files that stay of one catalogue file: its own, or those of its members."""
    return (file.name,) if file.unpack is None else tuple(f"{file.unpack}/{member}" for member in file.members)


def _texts(weights: CatalogueWeights, *, work: Path) -> dict[str, Staged]:
    """Return the small text files of the catalogue, written anew: they are what the catalogue says, always."""
    texts = {}
    for number, (name, text) in enumerate(weights.text.items()):
        path = work / f"text-{number}"
        path.write_text(text, encoding="utf-8")
        texts[name] = stage(path, name=name, provenance="published", origin="catalogue")
    return texts


def _move(path: Path, *, destination: Path) -> None:
    """Make `path` durable and give it its final name."""
    try:
        atomic.make_folder(destination.parent)
        path.chmod(0o644)
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        atomic.put_in_place(path, destination)
    except OSError as error:
        raise atomic.storage_error(error, destination) from error


def _is_intact(path: Path, *, pin: StoredFile) -> bool:
    return path.is_file() and path.stat().st_size == pin.size_bytes and hash_file(path) == pin.sha256
