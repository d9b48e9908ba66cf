"""How someone follows an installation or a download: the `Listener` protocol. What is shown is the caller's choice."""

from typing import Protocol


class Listener(Protocol):
    """Is told what happens, from one thread."""

    def step(self, text: str) -> None:
        """Take note of a step, worth a line that stays."""
        ...

    def detail(self, text: str) -> None:
        """Take note of what happens within the step; the next detail replaces it."""
        ...

    def progress(self, done_bytes: int, total_bytes: int | None) -> None:
        """Take note of how far a download is; None: nobody said how long it is."""
        ...


class SilentListener:
    """Ignores everything."""

    def step(self, text: str) -> None:
        """Ignore the step."""

    def detail(self, text: str) -> None:
        """Ignore the detail."""

    def progress(self, done_bytes: int, total_bytes: int | None) -> None:
        """Ignore the progress."""
