"""How installations and downloads look while they go on: lines that stay, one that moves, a bar for bytes."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TaskID, TextColumn, TransferSpeedColumn

from ironclad_assets.intake.names import printable

_WIDEST = 60
"""Characters of the moving text; the bar is beside it."""


class TerminalListener:
    """Shows steps on standard error, and on a terminal also what moves; a context manager around the work."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(file=sys.stderr, highlight=False, quiet=quiet, markup=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "TerminalListener":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(printable(text), soft_wrap=True)
        self._drop()

    def detail(self, text: str) -> None:
        """Show what happens now, with a spinner alone: nobody knows how long it takes."""
        self._drop()
        self._task = self._progress.add_task(printable(text)[:_WIDEST], total=None)

    def progress(self, done_bytes: int, total_bytes: int | None) -> None:
        """Move the bar of the current download."""
        if self._task is None:
            self._task = self._progress.add_task("fetching", total=total_bytes)
        self._progress.update(self._task, completed=done_bytes, total=total_bytes)

    def _drop(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
