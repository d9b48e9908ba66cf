"""Walking the upload folder: who a file belongs to, and which entries are never taken.

``input/<user>/`` and every folder below it belong to the user; files directly in ``input/`` belong to the
default user. Names are bytes here: a name need not be text.
"""

import errno
import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from ironclad_assets.intake.names import USER_PATTERN
from ironclad_assets.intake.source import open_folder

PARTIAL_SUFFIXES = (b".part", b".tmp", b".crdownload", b".filepart")
MOST_DEEP = 32
"""Folders below each other that are looked into."""

MOST_ENTRIES = 50_000
"""Entries of one user that are looked at at once; more would keep everybody else waiting at every look."""

BEYOND = f"beyond the first {MOST_ENTRIES} of this user; looked at when some of those are gone"

_PATH_MAX = 4096
"""Bytes of a path, with its end, beyond which Linux takes none."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A regular file with a name that may be taken. `path` is as the file system spells it."""

    path: bytes
    user_id: str
    status: os.stat_result


@dataclass(frozen=True, slots=True)
class Ignored:
    """An entry that is not taken, and why."""

    path: bytes
    why: str


def walk_input(root: bytes, *, default_user: str, enter: Callable[[bytes, int], None]) -> Iterator[Candidate | Ignored]:
    """Yield everything in the upload folder that is no plain folder.

    Args:
        root: the upload folder.
        default_user: owner of files directly in it.
        enter: called with each folder and its inode before its names are read.

    Raises:
        OSError: `root` itself cannot be read.
    """
    folders: list[tuple[bytes, str | None, int]] = [(root, None, 0)]
    room = defaultdict[str | None, int](lambda: MOST_ENTRIES)
    while folders:
        folder, user_id, depth = folders.pop()
        most = None if user_id is None else room[user_id]
        try:
            entries = _look_into(folder, root=root, enter=enter, most=most)
        except OSError as error:
            if folder == root:
                raise
            yield Ignored(folder, f"cannot be read: {os.strerror(error.errno or 0)}")
            continue
        if most is not None and len(entries) > most:
            yield Ignored(folder, BEYOND)
            del entries[most:]
        room[user_id] -= len(entries)
        for path, status in entries:
            if isinstance(status, OSError):
                yield Ignored(path, f"cannot be looked at: {os.strerror(status.errno or 0)}")
                continue
            name = os.path.basename(path)  # noqa: PTH119 - bytes
            why = _reject(name, mode=status.st_mode)
            if why is None and stat.S_ISDIR(status.st_mode):
                owner = user_id or _owner_of(name)
                if owner is not None and depth < MOST_DEEP:
                    folders.append((path, owner, depth + 1))
                    continue
                why = "too many folders deep" if owner else "no user name: 1 to 64 of a-z, 0-9, hyphen, underscore"
            yield Candidate(path, user_id or default_user, status) if why is None else Ignored(path, why)


def _look_into(
    folder: bytes, *, root: bytes, enter: Callable[[bytes, int], None], most: int | None
) -> list[tuple[bytes, os.stat_result | OSError]]:
    """Return what is in `folder`, each with what it is or why that cannot be said; a link in its place is none.

    Of more than `most` entries, one more than that.
    """
    found: list[tuple[bytes, os.stat_result | OSError]] = []
    with open_folder(folder, below=root) as descriptor:
        enter(folder, os.fstat(descriptor).st_ino)
        with os.scandir(descriptor) as entries:
            some = list(islice(entries, None if most is None else most + 1))
        for entry in sorted(some, key=lambda entry: os.fsencode(entry.name)):
            path = os.path.join(folder, os.fsencode(entry.name))  # noqa: PTH118 - bytes
            try:
                if len(path) >= _PATH_MAX:  # nothing could be done with it by its path
                    raise OSError(errno.ENAMETOOLONG, "")
                found.append((path, entry.stat(follow_symlinks=False)))
            except FileNotFoundError:
                continue
            except OSError as error:  # no right to look, or somebody's dead mount
                found.append((path, error))
    return found


def _reject(name: bytes, *, mode: int) -> str | None:
    """Return why an entry is never taken, or None for a folder or file that may be."""
    if name.startswith(b"."):
        return "hidden"
    if stat.S_ISLNK(mode):
        return "symbolic link"
    if stat.S_ISDIR(mode):
        return None
    if not stat.S_ISREG(mode):
        return "not a regular file"
    if name.lower().endswith(PARTIAL_SUFFIXES) or name.endswith(b"~"):
        return "temporary name"
    return None


def _owner_of(name: bytes) -> str | None:
    text = os.fsdecode(name)
    return text if re.fullmatch(USER_PATTERN, text) else None
