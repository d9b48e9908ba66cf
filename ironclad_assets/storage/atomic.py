"""The one place that writes files other processes may read.

Recipe: temporary name in the same folder, write, fsync, rename, fsync of the folder. A file that exists is
whole. An error before the rename removes the temporary file and leaves the old one as it was.
"""

import errno
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ironclad_assets.errors import ErrorCode, StorageUnavailable

PARTIAL_SUFFIX = ".part"

_STORAGE_ERRNOS = {
    errno.ENOSPC: ErrorCode.STORAGE_FULL,
    errno.EDQUOT: ErrorCode.STORAGE_FULL,
    errno.EROFS: ErrorCode.STORAGE_READ_ONLY,
    errno.EACCES: ErrorCode.STORAGE_READ_ONLY,
    errno.EPERM: ErrorCode.STORAGE_READ_ONLY,
    errno.EIO: ErrorCode.STORAGE_AWAY,
    errno.ESTALE: ErrorCode.STORAGE_AWAY,
    errno.ENOTCONN: ErrorCode.STORAGE_AWAY,
}


def storage_error(error: OSError, path: Path) -> StorageUnavailable | OSError:
    """Return the published error that `error` means for the store, or `error` itself for any other."""
    code = _STORAGE_ERRNOS.get(error.errno or 0)
    if code is None:
        return error
    return StorageUnavailable(f"{path}: {os.strerror(error.errno or 0)}", code=code)


def sync_file(path: Path) -> None:
    """Make the content of the file at `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create `folder` and its missing parents, each made durable in its own parent."""
    missing = []
    current = folder
    while not current.is_dir():
        missing.append(current)
        current = current.parent
    try:
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            sync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, folder) from error


def write_atomically(
    destination: Path, fill: Callable[[BinaryIO], None], *, mode: int = 0o644, replace: bool = True
) -> None:
    """Let `fill` write a temporary file, then give it its name.

    Args:
        destination: final path; its folder must exist.
        fill: writes the whole content to the open binary file.
        mode: permission bits of the result.
        replace: False refuses to replace an existing file.

    Raises:
        StorageUnavailable: disk full, read-only or away.
        FileExistsError: `replace` is False and the destination exists.
    """
    temporary = destination.with_name(f".{secrets.token_hex(16)}{PARTIAL_SUFFIX}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                fill(stream)
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
            put_in_place(temporary, destination, replace=replace)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except FileExistsError:
        raise
    except OSError as error:
        raise storage_error(error, destination) from error


def put_in_place(source: Path, destination: Path, *, replace: bool = True) -> None:
    """Rename `source` (a synced file on the same file system) to `destination`, durably.

    Raises:
        FileExistsError: `replace` is False and the destination exists.
    """
    if replace:
        source.replace(destination)
    else:
        os.link(source, destination)
        source.unlink()
    sync_folder(destination.parent)


def write_bytes(destination: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write `content` to `destination` atomically."""

    def fill(stream: BinaryIO) -> None:
        stream.write(content)

    write_atomically(destination, fill, mode=mode)


def encode_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return `value` as UTF-8 JSON with sorted keys."""
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def write_json(destination: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write `value` as UTF-8 JSON with sorted keys, atomically."""
    write_bytes(destination, encode_json(value))
