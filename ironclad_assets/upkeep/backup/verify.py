"""Proving that a backup is what it was: every stored byte is read, and with a key every byte of its contents.

Damage is listed whole, not only the first of it. Without the key of an encrypted backup its stored bytes are compared
with what they were when they had just been encrypted; that they open is left to who has the key.
"""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ironclad_assets.errors import ErrorCode, IroncladError, failure
from ironclad_assets.ledger.dump import iter_lines, iter_rows
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.notes import NOTE_ENDING
from ironclad_assets.upkeep.backup.manifest import BackedUpFile, BackupManifest, Contents, StoredObject, parse_contents
from ironclad_assets.upkeep.backup.repository import DAMAGED, Repository
from ironclad_assets.upkeep.backup.seal import Keys, Passing

OBJECTS_TOLD = 1000


@dataclass(slots=True)
class Verified:
    """What was found. `contents` tells whether the files in the objects were looked at, or need a key."""

    backup: str
    objects: int = 0
    read_bytes: int = 0
    contents: str = "sealed"
    damage: list[str] = field(default_factory=list)
    put_aside: int = 0

    @property
    def whole(self) -> bool:
        return not self.damage


@dataclass(frozen=True, slots=True)
class Subset:
    """One of `parts` parts of the objects, number 1 to `parts`, so that a large backup is read over several days.

    Those in `always` belong to it in any case.
    """

    number: int
    parts: int
    always: frozenset[str] = frozenset()

    def holds(self, name: str) -> bool:
        return name in self.always or int(name[:8], 16) % self.parts == self.number - 1


def parse_subset(text: str | None) -> Subset:
    """Return the subset written ``N/T``; all for None.

    Raises:
        PermanentFailure: with `BAD_OPTION`.
    """
    if text is None:
        return Subset(1, 1)
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise failure(ErrorCode.BAD_OPTION, f"subset {text!r}: write N/T, such as 1/7 for the first of seven parts")
    return Subset(int(number), int(parts))


def verify_backup(
    repository: Repository,
    backup: str,
    *,
    identities: Keys = (),
    subset: Subset | None = None,
    mend: bool = False,
    report: Callable[[str], None] = lambda text: None,
) -> Verified:
    """Read a backup and return what is wrong with it.

    Args:
        repository: where it lies.
        backup: its id.
        identities: keys of an encrypted one; without them its stored bytes are read alone.
        subset: the part of the objects to read; by default all.
        mend: put damaged objects aside, so that the next backup copies them again. Needs `Repository.writing`.
        report: told what is being done.
    """
    found = Verified(backup)
    chosen = subset or Subset(1, 1)
    with repository.reading():
        try:
            manifest = repository.manifest(backup)
        except IroncladError as error:
            if error.code is not ErrorCode.BACKUP_DAMAGED:
                raise
            found.damage.append(error.detail)
            return found
        for stored in (manifest.contents, *manifest.objects):
            if chosen.holds(stored.name) or stored == manifest.contents:
                _verify_object(repository, stored, found=found, mend=mend)
                if found.objects % OBJECTS_TOLD == 0:
                    report(f"read {found.objects} objects")
        if found.damage or (manifest.encryption != "none" and not identities):
            return found
        try:
            contents = read_contents(repository, manifest, identities=identities)
            _verify_contents(repository, manifest, contents, identities=identities, subset=chosen)
        except IroncladError as error:
            if error.code is ErrorCode.BACKUP_LOCKED:
                raise
            found.damage.append(error.detail)
        else:
            found.contents = "verified"
    return found


def read_contents(repository: Repository, manifest: BackupManifest, *, identities: Keys = ()) -> Contents:
    """Return the contents of a backup.

    Raises:
        PermanentFailure: `BACKUP_DAMAGED` or `BACKUP_LOCKED`.
    """
    with tempfile.TemporaryFile() as stream:
        repository.read_object(manifest.contents, stream, identities=identities)
        stream.seek(0)
        return parse_contents(stream.read())


def _verify_object(repository: Repository, stored: StoredObject, *, found: Verified, mend: bool) -> None:
    file = repository.object_file(stored.name)
    found.objects += 1
    try:
        sha256 = hash_file(file)
        found.read_bytes += file.stat().st_size
    except FileNotFoundError:
        if not (mend and _put_back(file, sha256=stored.sha256)):
            found.damage.append(f"object {stored.name} is missing")
        return
    except OSError as error:
        sha256 = f"unreadable: {error.strerror}"
    plain = not stored.name.endswith(".age")
    if sha256 == stored.sha256 and (not plain or sha256 == stored.name):
        return
    found.damage.append(f"object {stored.name} differs from its checksum")
    if mend:
        with suppress(OSError):  # its disk is at fault, and may be better tomorrow
            file.rename(file.with_name(f"{file.name}{DAMAGED}"))
            found.put_aside += 1


def _put_back(file: Path, *, sha256: str) -> bool:
    """Return whether an object that was put aside when its disk failed is good after all, and in its place again."""
    aside = file.with_name(f"{file.name}{DAMAGED}")
    try:
        if hash_file(aside) != sha256:
            return False
        aside.rename(file)
    except OSError:
        return False
    return True


def _verify_contents(
    repository: Repository, manifest: BackupManifest, contents: Contents, *, identities: Keys, subset: Subset
) -> None:
    """Raise `BACKUP_DAMAGED` unless files, objects and the ledger's rows fit together, and encrypted ones open."""
    objects = {one.name: one for one in manifest.objects}
    opened: set[str] = set()
    for file in contents.files:
        stored = objects.get(file.object)
        if stored is None:
            raise failure(ErrorCode.BACKUP_DAMAGED, f"{file.path} has no object")
        if manifest.encryption == "none":
            if (stored.sha256, stored.size_bytes) != (file.sha256, file.size_bytes):
                raise failure(ErrorCode.BACKUP_DAMAGED, f"{file.path} is not what its object is")
        elif subset.holds(file.object) and file.object not in opened:
            opened.add(file.object)
            with open_file(repository, stored, file, identities=identities):
                pass
    ledgers = [file for file in contents.files if file.place == "ledger"]
    if len(ledgers) != 1:
        raise failure(ErrorCode.BACKUP_DAMAGED, f"there are {len(ledgers)} copies of the ledger in it")
    with open_file(repository, objects[ledgers[0].object], ledgers[0], identities=identities) as dump:
        _verify_rows(dump, contents)


def open_file(repository: Repository, stored: StoredObject, file: BackedUpFile, *, identities: Keys = ()) -> BinaryIO:
    """Return the content of a file, verified, to be read from its start; it has no name anywhere.

    Raises:
        PermanentFailure: `BACKUP_DAMAGED` or `BACKUP_LOCKED`.
    """
    stream = tempfile.TemporaryFile()  # noqa: SIM115 - closing it is the caller's
    try:
        passing = Passing(stream)
        repository.read_object(stored, passing, identities=identities)
        if (passing.size_bytes, passing.sha256) != (file.size_bytes, file.sha256):
            raise failure(ErrorCode.BACKUP_DAMAGED, f"{file.path} differs from its checksum")
        stream.seek(0)
    except BaseException:
        stream.close()
        raise
    return stream


def _verify_rows(dump: BinaryIO, contents: Contents) -> None:
    """Raise unless the ledger's copy has the rows it should, and every song its original, and nothing else one."""
    lines = iter_lines(dump)
    next(lines, None)
    rows: dict[str, int] = {}
    originals = set()
    excused = {*contents.gone, *contents.pruned, *contents.missing}
    for table, row in iter_rows(lines):
        rows[table] = rows.get(table, 0) + 1
        if table == "songs" and row["sha256"] and row["song"] not in excused:
            originals.add((row["archive_path"], row["sha256"]))
    if rows != contents.rows:
        raise failure(ErrorCode.BACKUP_DAMAGED, "the copy of the ledger has other rows than were counted")
    in_archive = [one for one in contents.files if one.path.startswith("archive/")]
    archived = {(one.path, one.sha256) for one in in_archive if not one.path.endswith(NOTE_ENDING)}
    if archived != originals:
        differing = sorted(path for path, _ in archived ^ originals)
        raise failure(ErrorCode.BACKUP_DAMAGED, f"songs and originals do not match: {', '.join(differing[:5])}")
