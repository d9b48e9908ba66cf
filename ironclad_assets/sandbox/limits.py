"""What a child process may use. How a limit is enforced belongs to `process` and `confine`."""

from dataclasses import dataclass

GIBIBYTE = 1024**3


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings of one child process and everything it starts.

    Attributes:
        cpu_s: processor seconds, user and system, of one process.
        memory_bytes: memory of the whole process tree that only ending it would free.
        wall_s: seconds from start to end.
        file_bytes: size of any one file written.
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
    open_files: int = 256
    stall_s: float | None = None
    loading_s: float = 900.0
    cpu_growth_s: float = 0.0
