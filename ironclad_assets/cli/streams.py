"""Standard output and standard error of a command whose reader may go first, as `| head -1` does.

What nobody reads is dropped: the command does what it was asked to do, and its exit code tells what came of it. What
is written is the commands' business.
"""

import io
import os
import stat
import sys
from typing import Any, TextIO


class _Pipe(io.FileIO):
    """The writing end of a pipe, from then on the null device when its reader has gone."""

    def write(self, data: Any) -> int:  # noqa: ANN401 - whatever has a buffer, as above
        try:
            return super().write(data)
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return super().write(data)


def outlive_readers() -> None:
    """Let standard output and standard error, where they are pipes, be closed by whoever reads them.

    Not by `SIGPIPE`, which would end a command in the middle of what it does.
    """
    sys.stdout, sys.stderr = _outliving(sys.stdout), _outliving(sys.stderr)


def _outliving(stream: TextIO) -> TextIO:
    """Return `stream`, or one like it for the same pipe; a stream that was closed before the start is None."""
    if not isinstance(stream, io.TextIOWrapper) or not _is_pipe(stream.fileno()):
        return stream
    stream.flush()
    pipe = _Pipe(stream.fileno(), "w", closefd=False)
    is_unbuffered = isinstance(stream.buffer, io.RawIOBase)  # with PYTHONUNBUFFERED
    return io.TextIOWrapper(
        pipe if is_unbuffered else io.BufferedWriter(pipe),  # as Python itself makes it
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _is_pipe(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
