"""Keeping a store that lasts in an object store in order: local copies that may go, leftovers, and moving in.

Nothing here removes the only copy of anything. When it runs, and what is in use, is the caller's business.
"""

import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

from ironclad_assets.errors import PermanentFailure
from ironclad_assets.storage import atomic
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.manifests import parse_manifest
from ironclad_assets.storage.mirror import MANIFEST, READ_ONLY, Mirror
from ironclad_assets.storage.notes import NOTE_ENDING
from ironclad_assets.storage.objects import Stored
from ironclad_assets.storage.store import Store

SMALL_BYTES = 1024**2
"""Artifacts below this stay: their files cost more to fetch than to keep, and commands read them."""

LEFTOVER_S = 24 * 3600.0
"""Age after which files in the bucket that no manifest names belong to no publication on its way."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Evicted:
    """What an eviction came to; `kept_bytes` of copies are still here."""

    copies: int
    freed_bytes: int
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class _Copy:
    """A local copy that could go: an original, or the files of one artifact."""

    path: Path
    name: str
    size_bytes: int
    used_at: float
    is_safe: Callable[[], bool]


def evict(store: Store, *, limit_bytes: int, in_use: Callable[[str], bool]) -> Evicted:
    """Remove the local copies that were not used for longest until all of them take at most `limit_bytes`.

    A copy goes only when the object store has just confirmed that it has the same, file by file, by size and
    SHA-256. Where the store lasts in its root, nothing goes.

    Args:
        store: whose copies are meant.
        limit_bytes: what originals and files of artifacts may take here.
        in_use: tells of a song, or of the SHA-256 of an original, whether a job works on it; asked last.

    Raises:
        StorageUnavailable: the store or the object store is away, or nothing can be removed here; what was removed can
            be fetched again.
    """
    mirror = store.mirror
    if mirror is None:
        return Evicted(0, 0, 0)
    store.require_present()
    copies = sorted([*_originals(store, mirror), *_artifacts(store)], key=lambda copy: copy.used_at)
    total = sum(copy.size_bytes for copy in copies)
    gone = freed = 0
    failed: Exception | None = None
    for copy in copies:
        if total - freed <= limit_bytes:
            break
        try:
            if not copy.is_safe() or in_use(copy.name):
                continue
            _remove_at_once(copy.path)
        except OSError as error:  # what cannot be looked at or removed here keeps no other
            failed = atomic.storage_error(error, copy.path)
            continue
        gone += 1
        freed += copy.size_bytes
    if failed is not None and not gone:
        raise failed
    return Evicted(gone, freed, total - freed)


def measure_copies(store: Store) -> int:
    """Return the bytes of all originals and files of artifacts that are here."""
    paths = (*_original_paths(store), *(path for path in store.root.glob("stages/*/*/[!.]*/**/*")))
    return sum(path.stat().st_size for path in paths if path.is_file())


def remove_leftovers(store: Store, *, now: float, older_than_s: float = LEFTOVER_S) -> int:
    """Remove files of artifacts in the bucket that no manifest names; return their bytes.

    Publications that were killed leave them, and so do those that lost. One that is on its way has such files too, so
    a clock that is not believed is not to be gone by.

    Args:
        store: whose bucket is meant.
        now: the time by which ages are measured, in Unix seconds.
        older_than_s: how long ago they must have been put there.

    Raises:
        StorageUnavailable: the store or the object store is away.
    """
    if store.mirror is None:
        return 0
    store.require_present()
    before, removed = now - older_than_s, 0
    for prefix, group in groupby(store.mirror.lasting("stages"), key=lambda found: found.path.split("/")[1:3]):
        found = [one for one in group if one.path.count("/") > 2]  # what others put above is no artifact's
        old = [one for one in found if one.modified_at < before and not one.path.endswith(f"/{MANIFEST}")]
        if old and len({one.path.split("/")[3] for one in found}) != 2:  # its manifest and one folder: as it should be
            removed += _remove_unnamed(store.mirror, f"stages/{'/'.join(prefix)}", old)
    return removed


@dataclass(slots=True)
class Published:
    """What moving in came to."""

    originals: int = 0
    artifacts: int = 0
    files: int = 0
    refused: list[str] = field(default_factory=list)
    """What is damaged here, and so was not published."""


def publish_everything(store: Store) -> Published:
    """Make all that is only here last, such as of a store that had no object store before; doing it again is quick.

    Raises:
        StorageUnavailable: the store or the object store is away; what was published stays.
    """
    done = Published()
    mirror = store.mirror
    if mirror is None:
        return done
    store.require_present()
    for path in _original_paths(store):
        relative = path.relative_to(store.root).as_posix()
        if mirror.objects.head(relative) is None:
            if hash_file(path) != path.name:
                done.refused.append(relative)
                continue
            mirror.publish_original(path, relative=relative, sha256=path.name)
            done.originals += 1
    for folder in _artifact_folders(store):
        if not (folder / ".published.json").exists():
            stage, song = folder.parent.name, folder.name
            publication = store.stage(stage, song).publication
            try:
                if publication is not None:
                    publication.refresh()
                    done.artifacts += publication.used_at is not None
            except PermanentFailure:
                done.refused.append(folder.relative_to(store.root).as_posix())
    small = ("sidecars/*/*", "error/*/error.json", f"archive/*/*{NOTE_ENDING}")
    for path in (path for pattern in small for path in store.root.glob(pattern)):
        relative = path.relative_to(store.root).as_posix()
        if not path.name.startswith(".") and mirror.objects.head(relative) is None:
            mirror.publish_file(relative)
            done.files += 1
    return done


def _original_paths(store: Store) -> Iterator[Path]:
    for path in store.archive.glob("??/*"):
        if _SHA256.fullmatch(path.name):
            yield path


def _artifact_folders(store: Store) -> Iterator[Path]:
    for manifest in store.root.glob(f"stages/*/*/{MANIFEST}"):
        yield manifest.parent


def _originals(store: Store, mirror: Mirror) -> Iterator[_Copy]:
    for path in _original_paths(store):
        with suppress(OSError):
            status = path.stat()
            # Another name keeps its bytes anyway; other permissions say something that the bucket does not know.
            if status.st_nlink == 1 and status.st_mode & 0o777 == READ_ONLY:
                used_at = max(status.st_atime, status.st_mtime)
                yield _Copy(path, path.name, status.st_size, used_at, partial(_is_there, mirror, path))


def _is_there(mirror: Mirror, path: Path) -> bool:
    head = mirror.objects.head(path.relative_to(mirror.root).as_posix())
    return head is not None and (head.size_bytes, head.sha256) == (path.stat().st_size, path.name)


def _artifacts(store: Store) -> Iterator[_Copy]:
    for folder in _artifact_folders(store):
        publication = store.stage(folder.parent.name, folder.name).publication
        with suppress(OSError, PermanentFailure):
            manifest = parse_manifest((folder / MANIFEST).read_bytes(), where=str(folder))
            files = folder / manifest.folder
            used_at = publication.used_at if publication is not None else None
            size = sum(path.stat().st_size for path in files.rglob("*") if path.is_file())
            if publication is not None and used_at is not None and size >= SMALL_BYTES:
                yield _Copy(
                    files,
                    manifest.song,
                    size,
                    used_at,
                    partial(publication.is_safe, manifest),
                )


def _remove_at_once(path: Path) -> None:
    """Remove a file, or a folder in one step for whoever looks at it."""
    with suppress(FileNotFoundError):
        if path.is_dir():
            hidden = path.with_name(f".{secrets.token_hex(8)}{atomic.PARTIAL_SUFFIX}")
            path.rename(hidden)
            shutil.rmtree(hidden)
        else:
            path.unlink()


def _remove_unnamed(mirror: Mirror, prefix: str, old: list[Stored]) -> int:
    content = mirror.objects.read(f"{prefix}/{MANIFEST}")
    try:
        named = "" if content is None else parse_manifest(content.data, where=prefix).folder
    except PermanentFailure:
        return 0  # nobody knows what it names
    unnamed = [one for one in old if one.path.split("/")[3] != named]
    mirror.objects.delete([one.path for one in unnamed])
    return sum(one.size_bytes for one in unnamed)
