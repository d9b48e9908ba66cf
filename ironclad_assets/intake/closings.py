"""What the kernel tells about the upload folder: which files were closed by their writer or moved in.

An event only says that a file may be complete; `scan` decides. Where inotify cannot be had, there are no
events and files wait out their settle time.
"""

import os
import select
import time
from contextlib import suppress

from inotify_simple import INotify, flags

_MASK = (
    flags.CLOSE_WRITE
    | flags.MOVED_TO
    | flags.CREATE  # a new folder must be looked into
    | flags.ONLYDIR
    | flags.DONT_FOLLOW
    | flags.EXCL_UNLINK
)
_COMPLETE = flags.CLOSE_WRITE | flags.MOVED_TO


class Closings:
    """The events of the folders that were watched so far."""

    def __init__(self) -> None:
        self._inotify: INotify | None = None
        with suppress(OSError):
            self._inotify = INotify(nonblocking=True)
        self._folders: dict[int, tuple[bytes, int]] = {}
        self._watched: dict[tuple[bytes, int], int] = {}

    def watch(self, folder: bytes, *, inode: int) -> None:
        """Watch the names in `folder` from now on; asking again costs nothing."""
        if self._inotify is None or (folder, inode) in self._watched:
            return
        with suppress(OSError):
            watch = self._inotify.add_watch(folder, _MASK)
            self._forget(watch)  # known by the name that the folder had before
            self._watched[folder, inode] = watch
            self._folders[watch] = (folder, inode)

    def read(self) -> set[bytes]:
        """Return the paths that were completed since the last call."""
        complete = set()
        for event in self._inotify.read(timeout=0) if self._inotify is not None else ():
            if event.mask & flags.IGNORED:
                self._forget(event.wd)
            elif event.mask & _COMPLETE and not event.mask & flags.ISDIR and event.wd in self._folders:
                complete.add(os.path.join(self._folders[event.wd][0], os.fsencode(event.name)))  # noqa: PTH118 - bytes
        return complete

    def _forget(self, watch: int) -> None:
        """Know no folder by `watch` any more."""
        known = self._folders.pop(watch, None)
        if known is not None and self._watched.get(known) == watch:
            del self._watched[known]

    def wait(self, timeout_s: float) -> None:
        """Return when something happened, or after `timeout_s` seconds."""
        if self._inotify is None:
            time.sleep(timeout_s)
        else:
            select.select([self._inotify], [], [], timeout_s)

    def close(self) -> None:
        """Stop watching."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
