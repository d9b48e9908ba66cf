"""How well the cage holds on this machine: which layers of confinement a child really gets.

Limits hold everywhere; the rest depends on the kernel and on what a container allows. What each layer keeps
a child from is in `confine`; whether that is enough is for whoever asks.
"""

from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.task import call_confined

NETWORK_LAYER = "network_namespace"
FILE_LAYER = "landlock"

_NOTHING = "ironclad_assets.sandbox.child:do_nothing"
_LIMITS = Limits(cpu_s=10.0, memory_bytes=256 * 1024**2, wall_s=20.0)


def describe_cage() -> tuple[str, ...]:
    """Return the layers that hold around a media task here, found out by starting one that does nothing.

    Of ``limits``, ``network_namespace``, ``no_new_privileges``, ``no_capabilities`` and ``landlock``.

    Raises:
        IroncladError: no child can be started and confined at all.
        OSError: likewise.
    """
    return call_confined(_NOTHING, arguments={}, limits=_LIMITS).layers
