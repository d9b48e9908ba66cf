"""Following jobs until they end: bars per stage on a terminal, lines elsewhere, JSON lines for programs."""

import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ironclad_assets.cli.exits import Exit
from ironclad_assets.cli.show import (
    SHORT_ID,
    asks_to_stop,
    duration,
    job_document,
    print_json_line,
    progress_text,
    state_text,
)
from ironclad_assets.contracts.v1.job import STAGES, Job, JobState, StageTiming
from ironclad_assets.intake.names import printable
from ironclad_assets.ledger.progress import stage_fraction
from ironclad_assets.ledger.store import Ledger

POLL_S = 0.3
BAR_CHARACTERS = 32


def follow_jobs(ledger: Ledger, job_uuids: Sequence[str], *, as_json: bool, console: Console) -> Exit:
    """Show the jobs until all have ended; return whether all of them completed."""
    if not as_json and console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            jobs = _watch(ledger, job_uuids, show=lambda jobs: live.update(draw_jobs(jobs), refresh=True))
    else:
        teller = _Teller(as_json=as_json)
        jobs = _watch(ledger, job_uuids, show=teller.tell)
    return Exit.OK if all(job.state is JobState.COMPLETED for job in jobs) else Exit.JOB_FAILED


def await_end(ledger: Ledger, job_uuid: str, *, timeout_s: float) -> Job:
    """Return the job once it has ended, or as it is after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    job = ledger.job(job_uuid)
    while job.state.active and time.monotonic() < deadline:
        time.sleep(POLL_S)
        job = ledger.job(job_uuid)
    return job


def draw_jobs(jobs: Sequence[Job]) -> Group:
    """Return each job as its name and a bar per stage."""
    return Group(*(part for job in jobs for part in (_headline(job), _bars(job))))


def _watch(ledger: Ledger, job_uuids: Sequence[str], *, show: Callable[[Sequence[Job]], None]) -> list[Job]:
    while True:
        jobs = [ledger.job(job_uuid) for job_uuid in job_uuids]
        show(jobs)
        if not any(job.state.active for job in jobs):
            return jobs
        time.sleep(POLL_S)


def _headline(job: Job) -> Text:
    line = Text.assemble((printable(job.original_name), "bold"), f"  {job.job_uuid[:SHORT_ID]}  ", state_text(job))
    if job.error is not None:
        line.append(f"  {progress_text(job)}; {printable(job.error.remedy)}", style="red")
    elif job.eta_s is not None:
        line.append(f"  {job.fraction:.0%}, {duration(job.eta_s)} left")
    return line


def _bars(job: Job) -> Table:
    table = Table.grid(padding=(0, 1))
    timings: dict[str, StageTiming] = {timing.stage: timing for timing in job.stages}
    for stage in STAGES:
        timing = timings.get(stage)
        done = timing is not None and timing.ended_at is not None
        fraction = 1.0 if done else stage_fraction(stage, overall=job.fraction) if stage == job.stage else 0.0
        note = "reused" if timing and timing.reused else duration(timing.seconds) if timing else ""
        if stage == job.stage and not done:
            note = printable(job.message)
        table.add_row(
            f"  {stage:<16}", ProgressBar(total=1.0, completed=fraction, width=BAR_CHARACTERS), Text(note, style="dim")
        )
    return table


class _Teller:
    """Tells what changed since it was last asked, a line at a time."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._told: dict[str, tuple[object, ...]] = {}

    def tell(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            state = (job.state, job.stage, job.fraction if self._as_json else None, asks_to_stop(job))
            if self._told.get(job.job_uuid) == state:
                continue
            self._told[job.job_uuid] = state
            if self._as_json:
                print_json_line({"job": job_document(job)})
            else:
                name = printable(job.original_name)
                print(f"{job.job_uuid[:SHORT_ID]} {name}: {job.state} {progress_text(job)}".rstrip(), flush=True)
