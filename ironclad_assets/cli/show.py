"""How jobs look on a terminal, and in JSON.

Everything that came from outside goes through `printable` and into rich's `Text`, never into markup: a name
or an engine's message can neither move the cursor nor colour the screen.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ironclad_assets.contracts.v1.job import STAGES, HistoryEntry, Job, JobState
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.intake.names import printable

SHORT_ID = 8
"""Characters of a job id that people are shown in lists."""

WHOLE = 100_000
"""Characters of a line where nobody looks at a terminal: nothing is cut or wrapped."""

NARROWEST_SONG = 12
NARROWEST_PROGRESS = 24
"""Characters that song and progress keep in a list, however narrow the terminal; progress wraps at that."""

_HEADINGS = ("job", "state", "user", "song", "age", "progress")
_GAP = 2
"""Characters between two columns of a rich table without a box."""

STYLES = {
    JobState.QUEUED: "cyan",
    JobState.RUNNING: "blue",
    JobState.HELD: "yellow",
    JobState.COMPLETED: "green",
    JobState.FAILED: "red",
    JobState.CANCELED: "magenta",
}


def open_console() -> Console:
    """Return standard output for tables: as wide as a terminal or COLUMNS, else as wide as what is printed."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console()
    return Console(width=WHOLE)


def print_json(value: Mapping[str, Any]) -> None:  # any JSON value
    """Print one JSON document; everything outside ASCII is escaped."""
    print(json.dumps(value, indent=1))


def print_json_line(value: Mapping[str, Any]) -> None:  # any JSON value
    """Print one line of JSON, at once."""
    print(json.dumps(value), flush=True)


def job_document(job: Job, *, history: Iterable[HistoryEntry] = ()) -> dict[str, Any]:
    """Return a job as JSON shows it."""
    document = job.model_dump(mode="json")
    lines = [entry.model_dump(mode="json") for entry in history]
    return {**document, "history": lines} if lines else document


def state_text(job: Job) -> Text:
    """Return the state in its colour, with the wish to cancel."""
    return Text(f"{job.state}{' (canceling)' if asks_to_stop(job) else ''}", style=STYLES[job.state])


def asks_to_stop(job: Job) -> bool:
    """Return whether a running job has been asked to end."""
    return job.state is JobState.RUNNING and job.cancel_requested


def progress_text(job: Job) -> str:
    """Return stage, percent and rest of a running job, or why it is not running."""
    if job.state is JobState.QUEUED and job.error is not None:
        return waits_text(job)
    if job.error is not None:
        return printable(f"{job.error.code}: {job.error.detail}")
    if job.state is not JobState.RUNNING:
        return ""
    rest = f", {duration(job.eta_s)} left" if job.eta_s is not None else ""
    return f"{job.stage or 'starting'} {job.fraction:.0%}{rest}"


def waits_text(job: Job) -> str:
    """Return why a job waits: until when after which failure, or what holds it."""
    if job.error is None:
        return ""
    said = printable(f"{job.error.code}: {job.error.detail}")
    is_due = job.not_before is None or job.not_before <= datetime.now(UTC).isoformat(timespec="microseconds")
    if job.state is not JobState.QUEUED:
        return said
    return f"after {said}" if is_due else f"waits until {str(job.not_before)[11:19]} UTC after {said}"


def duration(seconds: float | None) -> str:
    """Return seconds as people read them: ``8.2 s``, ``3:07``, ``1:02:03``."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def print_jobs(console: Console, jobs: Iterable[Job]) -> None:
    """Print a table of jobs, one a line; where the lines are too long, song names are cut and reasons wrapped."""
    rows = [
        (
            Text(job.job_uuid[:SHORT_ID]),
            state_text(job),
            Text(job.user_id),
            Text(printable(job.original_name)),
            Text(_age(job)),
            Text(progress_text(job)),
        )
        for job in jobs
    ]
    widths = [max([len(heading), *(row[at].cell_len for row in rows)]) for at, heading in enumerate(_HEADINGS)]
    kept = dict(zip(_HEADINGS, widths, strict=True))
    kept["progress"] = min(kept["progress"], NARROWEST_PROGRESS)
    others = sum(width for heading, width in kept.items() if heading != "song")
    room_for_song = console.width - others - _GAP * (len(_HEADINGS) - 1)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in _HEADINGS:
        if heading == "song":
            table.add_column(heading, no_wrap=True, overflow="ellipsis", max_width=max(room_for_song, NARROWEST_SONG))
        elif heading == "progress":
            table.add_column(heading, overflow="fold")
        else:
            fixed = heading in ("job", "state")
            table.add_column(heading, no_wrap=True, overflow="ellipsis", min_width=kept[heading] if fixed else None)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def print_job(console: Console, job: Job, *, history: Iterable[HistoryEntry], music: str = "") -> None:
    """Print everything about one job: state, reason, stages, history, and `music`, what its analysis found."""
    facts = Table.grid(padding=(0, 2))
    for label, value in [*_facts(job), *([("music", Text(music))] if music else [])]:
        facts.add_row(Text(label, style="bold"), value)
    console.print(facts)
    if job.stages:
        console.print(_stage_table(job))
    lines = Table(box=None, pad_edge=False, header_style="bold", title="history", title_justify="left")
    for heading in ("at", "state", "by", "what"):
        lines.add_column(heading)
    for entry in history:
        lines.add_row(entry.at[:19], entry.to_state, Text(printable(entry.actor)), Text(printable(entry.detail)))
    console.print(lines)


def options_text(options: JobOptions, *, everything: bool = False) -> dict[str, str]:
    """Return in words, by name, the options that were named, or `everything` that is not left open."""
    values = options.model_dump(mode="json", exclude_none=True) if everything else options.named()
    return {name: _option_text(value) for name, value in values.items() if value != {}}


def _option_text(value: Any) -> str:  # noqa: ANN401 - the value of any option
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name}={_option_text(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value)


def _facts(job: Job) -> list[tuple[str, Text]]:
    options = job.resolved or job.options
    wanted = f"{', '.join(options.targets)} as {options.format}"
    engine = f"{options.engine or 'default engine'}{' ' + options.model if options.model else ''}"
    shown = options_text(options, everything=job.resolved is not None)
    others = {name: text for name, text in shown.items() if name not in ("engine", "model", "targets", "format")}
    facts = [
        ("job", Text(job.job_uuid)),
        ("song", Text(f"{job.song}  {printable(job.original_name)}")),
        ("user", Text(job.user_id)),
        ("attempt", Text(str(job.attempt))),
        ("wanted" if job.resolved is None else "chosen", Text(printable(f"{wanted}, {engine}"))),
        *((name, Text(printable(text))) for name, text in others.items()),
        ("state", state_text(job)),
    ]
    if job.priority:
        facts.append(("priority", Text(str(job.priority))))
    if job.replay_from is not None:
        facts.append(("made anew", Text(f"from {job.replay_from} on")))
    if job.state is JobState.RUNNING:
        facts.append(("progress", Text(progress_text(job))))
    if job.state is JobState.QUEUED and job.error is not None:
        facts.append(("waits", Text(waits_text(job), style="yellow")))
    if job.error is not None:
        stage = f" in {job.error.stage}" if job.error.stage else ""
        facts.append(("reason", Text(printable(f"{job.error.code}{stage}: {job.error.detail}"), style="red")))
        facts.append(("remedy", Text(printable(job.error.remedy))))
    return facts


def _stage_table(job: Job) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title="stages", title_justify="left")
    table.add_column("stage")
    table.add_column("time", justify="right")
    table.add_column("")
    for timing in sorted(job.stages, key=lambda timing: STAGES.index(timing.stage)):
        note = "reused" if timing.reused else "" if timing.ended_at else "not finished"
        table.add_row(timing.stage, duration(timing.seconds), note)
    return table


def _age(job: Job) -> str:
    return duration(max((datetime.now(UTC) - datetime.fromisoformat(job.created_at)).total_seconds(), 0.0))
