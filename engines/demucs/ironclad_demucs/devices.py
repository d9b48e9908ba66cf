"""Where torch computes: the device that was asked for, or an error; threads; what makes it repeatable.

Nothing here knows Demucs.
"""

import torch

from ironclad_harness.engine import EngineError


def find_device(name: str, *, precision: str) -> torch.device:
    """Return the device called `name`: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        EngineError: ``device_unavailable``, naming what there is; ``bad_option`` for half precision on anything
            but CUDA.
    """
    there = available_devices()
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in there:
        raise EngineError("device_unavailable", f"{name} is not there; torch {torch.__version__} finds {there}")
    if precision == "half" and not wanted.startswith("cuda"):
        raise EngineError("bad_option", f"half precision is for cuda, not for {name}")
    return torch.device(wanted)


def available_devices() -> list[str]:
    """Return the names of all devices that torch can compute on here."""
    found = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def prepare_torch(device: torch.device, *, threads: int) -> None:
    """Fix what torch may choose by itself: threads, algorithms, the precision of float32.

    Attention takes the same path for any input then: torch's own "fast path" of encoder layers keeps the whole
    matrix of attention weights in memory and is slower on a CPU.
    """
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:  # it can be set once in a process, and warm workers come here again
        torch.set_num_interop_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False  # ten bits of mantissa are not full precision
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
