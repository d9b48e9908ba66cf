"""How someone follows a child at work: the `Watch` protocol. Where progress goes is the caller's business."""

from typing import Protocol


class Watch(Protocol):
    """Follows one piece of work, and may ask for its end."""

    def progress(self, fraction: float, message: str) -> None:
        """Take note that `fraction` (0..1) of the work is done."""
        ...

    def canceled(self) -> bool:
        """Return whether the work shall end now; asked several times a second, so answer quickly."""
        ...


class SilentWatch:
    """A watch that looks away and never cancels."""

    def progress(self, fraction: float, message: str) -> None:
        """Ignore the progress."""

    def canceled(self) -> bool:
        return False
