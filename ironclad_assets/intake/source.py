"""The uploader's file, opened without trusting it, and whether somebody still writes to it.

Nothing is followed and nothing blocks: a symbolic link, a FIFO or a device is refused by its type. What was
opened is known by its descriptor, so a file swapped in under the same name is noticed. In the upload folder no folder
on the way to it is a link either: whoever may write there could lead to what is somebody else's.
"""

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from ironclad_assets.errors import ErrorCode, Refusal, TransientFailure
from ironclad_assets.intake.names import display_name

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BUSY = (errno.EAGAIN, errno.EACCES)

Fingerprint = tuple[int, int, int, int]


class UploadChanged(TransientFailure):
    """The file changed, moved or vanished while it was looked at; look again later."""

    code = ErrorCode.UNREADABLE


class Writers(Enum):
    """Whether a file has writers, as far as can be known."""

    NONE = "none"
    SOME = "some"
    UNKNOWN = "unknown"


def fingerprint(status: os.stat_result) -> Fingerprint:
    """Return what stays equal while a file's content does: device, inode, size, time of change."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@contextmanager
def open_source(path: Path, *, below: Path | None = None) -> Iterator[int]:
    """Open an uploader's regular file for reading; yields the descriptor.

    Args:
        path: the file.
        below: a folder above it, below which no folder may be a link; None where links may lead to the file.

    Raises:
        Refusal: `UNREADABLE`, naming why.
        UploadChanged: it is gone, or locked by its writer.
    """
    descriptor = _open(path, below=below)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refusal(f"{display_name(path.name)!r} is not a regular file", code=ErrorCode.UNREADABLE)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def open_folder(folder: bytes | Path, *, below: bytes | Path | None) -> Iterator[int]:
    """Open a folder, to name files in it by its descriptor; no link is followed in what of its path is `below`.

    Raises:
        NotADirectoryError: it, or a folder above it, is a link or something else.
        OSError: it is gone or may not be read.
    """
    descriptor = os.open(folder if below is None else below, _FOLDER_FLAGS)
    try:
        way = b"" if below is None else os.fsencode(folder).removeprefix(os.fsencode(below))
        for part in filter(None, way.split(b"/")):
            inner = os.open(part, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def find_writers(descriptor: int) -> Writers:
    """Return whether another process has the file open for writing, or holds a lock on it.

    A read lease is granted only while nobody has the file open for writing. It needs the file's owner or
    CAP_LEASE and a local file system; without them the answer is unknown.
    """
    for lock in (fcntl.flock, fcntl.lockf):
        try:
            lock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                return Writers.SOME
    try:
        # Breaking a lease sends a signal, by default SIGIO, which would end this process; SIGURG is ignored.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return Writers.SOME if error.errno == errno.EAGAIN else Writers.UNKNOWN
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return Writers.NONE


def _open(path: Path, *, below: Path | None) -> int:
    name = display_name(path.name)
    try:
        if below is None:
            return os.open(path, _FLAGS)
        with open_folder(path.parent, below=below) as folder:
            return os.open(path.name, _FLAGS, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UploadChanged(f"{name!r} is gone") from error
    except BlockingIOError as error:
        raise UploadChanged(f"{name!r} is locked by its writer") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refusal(f"{name!r} is a symbolic link", code=ErrorCode.UNREADABLE) from error
        raise Refusal(f"{name!r}: {os.strerror(error.errno or 0)}", code=ErrorCode.UNREADABLE) from error
