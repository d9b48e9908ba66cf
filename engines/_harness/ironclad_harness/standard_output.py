"""Events over standard output, for a worker in a container: it has no other descriptor to its parent.

Which descriptor events go to is decided here; what they say is in `events`.
"""

import os

_STDOUT, _STDERR = 1, 2


def own_descriptor(descriptor: int | None) -> int | None:
    """Return the descriptor for events to which nothing else writes.

    Of standard output that is a duplicate: what the engine and its children print goes to standard error from
    now on. A container's log keeps the two streams apart line by line, so no print garbles an event.
    """
    if descriptor != _STDOUT:
        return descriptor
    duplicate = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    return duplicate
