"""What a child process may use. How a limit is enforced belongs to `process` and `confine`."""

from dataclasses import dataclass

from ironclad_assets.errors import ErrorCode

MEBIBYTE = 1024**2
GIBIBYTE = 1024**3


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings of one child process and everything it starts.

    Attributes:
        cpu_s: processor seconds, user and system, of one process.
        memory_bytes: memory of the whole process tree that only ending it would free.
        wall_s: seconds from start to end.
        file_bytes: size of any one file written.
        scratch_bytes: disk that the files in the folders it may write to take, together, beyond what was there.
        open_files: open file descriptors of one process.
        stall_s: seconds without a sign of progress; None sets no such limit.
        loading_s: seconds that an engine's worker may take until its first sign of progress, while it loads a
            model; `stall_s` counts from then on.
        cpu_growth_s: how far a media task may raise `cpu_s` by itself as it gets on (see `confine.allow_cpu`).
    """

    cpu_s: float
    memory_bytes: int
    wall_s: float
    file_bytes: int = 64 * GIBIBYTE
    scratch_bytes: int = 64 * GIBIBYTE
    open_files: int = 256
    stall_s: float | None = None
    loading_s: float = 900.0
    cpu_growth_s: float = 0.0

    def find_breach(self, *, elapsed_s: float, resident_bytes: int) -> tuple[ErrorCode, str] | None:
        """Return which of `wall_s` and `memory_bytes` is broken, with a sentence naming the values, or None."""
        if elapsed_s > self.wall_s:
            return ErrorCode.LIMIT_TIME, f"ended after {elapsed_s:.0f} s; allowed are {self.wall_s:.0f} s"
        if resident_bytes > self.memory_bytes:
            used, allowed = resident_bytes // MEBIBYTE, self.memory_bytes // MEBIBYTE
            return ErrorCode.LIMIT_MEMORY, f"used {used} MiB of memory; allowed are {allowed} MiB"
        return None
