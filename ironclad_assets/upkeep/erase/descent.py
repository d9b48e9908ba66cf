"""Going through a folder that its user may change meanwhile: no link is followed, and no depth is too deep.

One folder is open at a time and everything is named by its descriptor. So a folder that is swapped for a link leads
nowhere, and a path may be longer than Linux takes. What of it goes is `store`'s to say.
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Level:
    """A folder on the way down: its name, which it is, and what is in it; `folders` are still to come."""

    name: str
    identity: tuple[int, int]
    files: list[str]
    folders: list[str]


def contents(folder: Path) -> Iterator[tuple[int, str]]:
    """Yield everything in a folder, what is deepest first: the descriptor of the folder that it is in, and its name.

    What may not be looked into is passed over.

    Raises:
        OSError: a folder was moved, or swapped for something else, meanwhile; doing it again goes on.
    """
    try:
        current = os.open(folder, _FLAGS)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        levels = [_look_into(current, name="")]
        yield from ((current, name) for name in levels[0].files)
        while levels[-1].folders or len(levels) > 1:
            here = levels[-1]
            if here.folders:
                name = here.folders.pop()
                try:
                    inner = os.open(name, _FLAGS, dir_fd=current)
                except (FileNotFoundError, PermissionError):
                    continue
                os.close(current)
                current = inner
                levels.append(_look_into(current, name=name))
                yield from ((current, name) for name in levels[-1].files)
            else:
                levels.pop()
                current = _climb(current, to=levels[-1])
                yield current, here.name
    finally:
        os.close(current)


def _look_into(descriptor: int, *, name: str) -> _Level:
    status = os.fstat(descriptor)
    found = _Level(name, (status.st_dev, status.st_ino), files=[], folders=[])
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                (found.folders if entry.is_dir(follow_symlinks=False) else found.files).append(entry.name)
    except PermissionError:
        return found
    return found


def _climb(descriptor: int, *, to: _Level) -> int:
    """Return the folder above in place of `descriptor`, if it is the one that led here."""
    above = os.open("..", _FLAGS, dir_fd=descriptor)
    status = os.fstat(above)
    if (status.st_dev, status.st_ino) != to.identity:
        os.close(above)
        raise OSError(errno.ESTALE, "a folder was moved meanwhile")
    os.close(descriptor)
    return above
