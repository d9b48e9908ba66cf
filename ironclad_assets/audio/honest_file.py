"""A file for encoders to write into that keeps the system's own errors.

Encoding libraries turn a full disk into a riddle of their own; this file remembers what the system said.
"""

import io
import os
from pathlib import Path


class HonestFile(io.RawIOBase):
    """A file that remembers the first error of the system. What it takes after an error is dropped."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._stream = path.open("w+b", buffering=0)  # a buffer would report the error somewhere else
        self._path = path
        self.error: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # the libraries' callers pass bytes
        written = 0
        try:
            while self.error is None and written < len(data):
                written += self._stream.write(memoryview(data)[written:])
        except OSError as error:
            self.error = error
        return written

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # what cffi passes
        return self._stream.readinto(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def raise_error(self) -> None:
        """Raise the error that was met, if any, with the file's path.

        Raises:
            OSError: as the system said it.
        """
        if self.error is not None:
            raise OSError(self.error.errno, os.strerror(self.error.errno or 0), str(self._path))

    def abandon(self) -> None:
        """Close the file, whatever it holds."""
        self._stream.close()

    def finish(self) -> None:
        """Make the file durable and close it."""
        with self._stream:
            os.fsync(self._stream.fileno())
