"""Whether a worker failed for want of disk: a full or read-only disk also keeps it from saying so in its result."""

import errno
import os
import re
from pathlib import Path

from ironclad_assets.errors import ErrorCode, StorageUnavailable

LEAST_FREE_BYTES = 1024 * 1024
"""With less than this free, checkpoints do not fit, and the last blocks of a disk are not given out anyway."""

_ERRNO_CODES = {
    errno.ENOSPC: ErrorCode.STORAGE_FULL,
    errno.EDQUOT: ErrorCode.STORAGE_FULL,
    errno.EROFS: ErrorCode.STORAGE_READ_ONLY,
}
_RAISED = re.compile(r"OSError: \[Errno (\d+)\]")


def find_disk_trouble(folder: Path, *, output: str) -> StorageUnavailable | None:
    """Return why nothing could be written to `folder`, or None where the disk is not to blame.

    Args:
        folder: where the worker wrote.
        output: the end of what it printed; where space is free again by now, its traceback tells.
    """
    try:
        state = os.statvfs(folder)
    except OSError as error:
        return StorageUnavailable(f"{folder}: {os.strerror(error.errno or 0)}", code=ErrorCode.STORAGE_AWAY)
    if state.f_flag & os.ST_RDONLY:
        return StorageUnavailable(f"{folder} is read-only", code=ErrorCode.STORAGE_READ_ONLY)
    if state.f_blocks > 0 and state.f_bavail * state.f_frsize < LEAST_FREE_BYTES:
        return StorageUnavailable(f"no space is left in {folder}", code=ErrorCode.STORAGE_FULL)
    if state.f_files > 0 and state.f_favail == 0:
        return StorageUnavailable(f"no more files fit on the disk of {folder}", code=ErrorCode.STORAGE_FULL)
    for number in map(int, _RAISED.findall(output)[-1:]):
        if number in _ERRNO_CODES:
            return StorageUnavailable(f"{folder}: {os.strerror(number)}", code=_ERRNO_CODES[number])
    return None
