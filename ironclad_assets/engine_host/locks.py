"""One hand at a time: a lock on a file that the kernel opens again however its holder ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ironclad_assets.errors import IroncladError
from ironclad_assets.storage import atomic


@contextmanager
def hold_lock(path: Path, *, busy: IroncladError) -> Iterator[int]:
    """Hold the lock on `path`, which is made if missing; yield its descriptor.

    A child that inherits the descriptor holds the lock too, so work that outlives its starter is not
    disturbed.

    Raises:
        IroncladError: `busy`, at once, when somebody else holds it.
    """
    atomic.make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        yield descriptor
    finally:
        os.close(descriptor)
