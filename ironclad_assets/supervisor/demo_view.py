"""What is on the screen while the demo works: the start of the system, then one line per stage.

On a terminal it is redrawn in place; elsewhere each change is one printed line. What stays on the screen at
the end is `demo_report`'s.
"""

from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ironclad_assets.contracts.v1.job import STAGES, Job, StageTiming

PURPOSES = {
    "validated_file": "decode every sample in a sandbox",
    "song_metadata": "read tags and cover",
    "staged_chunks": "stage float audio, plan the chunks",
    "stems": "separate into stems, check them",
    "recombined_track": "mix, encode, tag",
    "library_entry": "file it in the library",
}
"""What each stage does, in the fewest words."""


class DemoView:
    """Shows what the demo is doing. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._note = ""
        self._job: Job | None = None
        self._printed: set[str] = set()
        self._spinner = Spinner("dots")
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> "DemoView":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, note: str) -> None:
        """Show what is being done now."""
        if note != self._note and not self._console.is_terminal:
            self._console.print(note, style="dim", highlight=False)
        self._note = note

    def show(self, job: Job) -> None:
        """Show where the song's job is."""
        self._job = job
        if self._console.is_terminal:
            return
        for timing in job.stages:
            if timing.seconds is not None and timing.stage not in self._printed:
                self._printed.add(timing.stage)
                self._console.print(f"  {timing.stage:<17} {timing.seconds:6.2f} s", highlight=False)

    def _render(self) -> RenderableType:
        self._spinner.update(text=Text(self._note))
        if self._job is None:
            return self._spinner
        return Group(self._spinner, _stage_table(self._job))


def _stage_table(job: Job) -> RenderableType:
    timings: dict[str, StageTiming] = {timing.stage: timing for timing in job.stages}
    table = Table.grid(padding=(0, 2))
    for stage in STAGES:
        table.add_row(*_stage_row(stage, timings.get(stage), job))
    overall = Table.grid(padding=(0, 2))
    overall.add_row("  ", ProgressBar(total=1.0, completed=job.fraction, width=40), f"{job.fraction:.0%}")
    return Group(table, overall)


def _stage_row(stage: str, timing: StageTiming | None, job: Job) -> tuple[RenderableType, ...]:
    if timing is None:
        return Text("  ·", style="dim"), Text(stage, style="dim"), Text(PURPOSES[stage], style="dim")
    if timing.seconds is None:
        what = job.message if job.stage == stage and job.message else PURPOSES[stage]
        return Text("  ▶", style="cyan"), Text(stage, style="bold cyan"), Text(what)
    return Text("  ✓", style="green"), Text(stage), Text(f"{timing.seconds:.2f} s")
