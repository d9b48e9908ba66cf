"""The upload watcher: one sensor, two steps. Intake of complete files, then dispatch of queued jobs.

It waits inside the tick for new work, so that a run is requested as soon as a file is complete; every tick
says what it saw and what it skipped, and why. How files are judged complete is in `intake/`.
"""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg

from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.errors import StorageUnavailable
from ironclad_assets.intake.inbox import Inbox
from ironclad_assets.jobs import process_song
from ironclad_assets.ledger.registration import Registration
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.sensors.dispatch import choose_jobs, queue_depth, release_held, request_runs
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.store import Store
from ironclad_assets.telemetry.request import bind_request

LONG_POLL_S = 4.5
"""How long a tick waits for work; the daemon's own loop is fixed at five seconds."""

PAUSE_S = 0.25
"""Longest wait between two looks at a ledger that answers at once; the upload folder wakes the watcher sooner."""

LONGEST_PAUSE_S = 1.0
LOOKING_SHARE = 0.25
"""Share of the time that looking at a long queue may take."""

INTAKE_S = 5.0
"""Longest time one tick spends on taking files, well inside the sensor's limit of 60 s."""

MOST_NAMED = 20


@dataclass(slots=True)
class TickReport:
    """What one tick saw, took, skipped and why; shown in the Dagster UI and by `pipelinectl health`."""

    taken: list[str] = field(default_factory=list)
    waiting: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    released: int = 0
    paused: str = ""
    pauses: list[str] = field(default_factory=list)

    def summarise(self) -> str:
        """Return one line for the tick."""
        if self.paused:
            return f"paused: {self.paused}"
        parts = [f"{len(self.taken)} taken ({'; '.join(self.taken[:MOST_NAMED])})" if self.taken else "0 taken"]
        for label, pairs in (("waiting", self.waiting), ("ignored", self.ignored)):
            if pairs:
                some = "; ".join(f"{name!r}: {why}" for name, why in pairs[:MOST_NAMED])
                parts.append(f"{len(pairs)} {label} ({some})")
        if self.released:
            parts.append(f"{self.released} released")
        parts += [f"paused: {pause}" for pause in self.pauses]
        return ", ".join(parts)


class UploadWatcher:
    """State of the watcher in one code server: the inbox remembers what it saw changing."""

    def __init__(self, *, ledger: Ledger, store: Store, settings: Settings) -> None:
        self._ledger = ledger
        self._store = store
        self._settings = settings
        self._inbox: Inbox | None = None
        self._was_paused = False

    def tick(self, context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        """Take complete files, then dispatch; wait a little when there is nothing to do."""
        report = TickReport()
        deadline = time.monotonic() + LONG_POLL_S
        jobs: list[Job] = []
        try:
            self._store.require_ready()
            inbox = self._open_inbox()
            self._release(report)
            depth = queue_depth(context.instance)
            while not jobs:
                began = time.monotonic()
                jobs = self._step(inbox, report, depth=depth)
                if jobs or time.monotonic() >= deadline:
                    break
                inbox.wait(min(max(PAUSE_S, (time.monotonic() - began) / LOOKING_SHARE), LONGEST_PAUSE_S))
        except StorageUnavailable as error:
            report.paused = error.describe()
            self._was_paused = True
        self._publish(report, dispatched=len(jobs))
        if not jobs:
            return dg.SkipReason(report.summarise())
        context.log.info(f"{len(jobs)} dispatched, {report.summarise()}")  # a tick with runs has no other words
        return request_runs(jobs)

    def close(self) -> None:
        """Let go of the upload folder."""
        if self._inbox is not None:
            self._inbox.close()
            self._inbox = None

    def _open_inbox(self) -> Inbox:
        if self._inbox is None:
            self._inbox = Inbox(ledger=self._ledger, store=self._store, settings=self._settings)
        return self._inbox

    def _release(self, report: TickReport) -> None:
        """Queue again what was held and may go on, once a tick."""
        report.pauses = [pause.describe() for pause in self._ledger.pauses.all()]
        report.released = release_held(self._ledger, at_once=self._was_paused)
        self._was_paused = False

    def _step(self, inbox: Inbox, report: TickReport, *, depth: int) -> list[Job]:
        """Take files once and return the jobs that shall run now, noted as dispatched."""
        with bind_request():
            collected = inbox.collect(budget_s=INTAKE_S)
        report.taken += [_describe_taken(registration) for registration in collected.taken]
        report.taken += [f"{name!r}: lyrics of {song}" for name, song in collected.lyrics]
        report.waiting, report.ignored = collected.waiting, collected.ignored
        jobs = choose_jobs(self._ledger, depth=depth)
        self._ledger.mark_dispatched([job.job_uuid for job in jobs])
        return jobs

    def _publish(self, report: TickReport, *, dispatched: int) -> None:
        atomic.write_json(
            self._settings.home_dir / "run" / "watcher.json",
            {
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "summary": report.summarise(),
                "taken": report.taken[:MOST_NAMED],
                "waiting": report.waiting[:MOST_NAMED],
                "ignored": report.ignored[:MOST_NAMED],
                "dispatched": dispatched,
                "paused": report.paused,
                "pauses": report.pauses,
            },
        )


def _describe_taken(registration: Registration) -> str:
    name = registration.job.original_name
    if registration.duplicate:
        return f"{name!r}: already here as {registration.job.song}"
    error, state = registration.job.error, registration.job.state
    said = repr(name) if error is None else f"{name!r}: {'held' if state is JobState.HELD else 'refused'}, {error.code}"
    return "; ".join((said, *registration.warnings))


def build_upload_watcher(watcher: UploadWatcher) -> dg.SensorDefinition:
    """Return the sensor whose ticks are `watcher`'s."""

    @dg.sensor(
        job=process_song,
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Takes complete files from the upload folder, then requests a run for each queued job.",
    )
    def upload_watcher(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return watcher.tick(context)

    return upload_watcher
