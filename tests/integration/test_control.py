"""Pauses, retries and replays as runs meet them: what is held, what is tried again, what is made anew."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from ironclad_assets.contracts.v1.job import STAGES, Job, JobState
from ironclad_assets.ledger.pauses import PauseKind
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.sensors.dispatch import choose_jobs, release_held
from tests.integration.conftest import HALVES_MODULE, Installation, write_halves


def reused(installation: Installation, job: Job) -> dict[str, bool]:
    return {timing.stage: timing.reused for timing in installation.ledger.job(job.job_uuid).stages}


def keys(installation: Installation, song: str) -> dict[str, tuple[str, str]]:
    """Return the key and the job of each stage's artifact."""
    found = {}
    for stage in STAGES:
        manifest = json.loads(installation.store.stage(stage, song).manifest.read_bytes())
        found[stage] = (manifest["key"], manifest["job_uuid"])
    return found


@contextmanager
def settings(installation: Installation, **changes: Any) -> Iterator[Installation]:
    """The installation with other settings and a ledger that knows them."""
    chosen = installation.settings.model_copy(update=changes)
    ledger = Ledger(chosen.ledger_url, rules=Rules.from_settings(chosen))
    yield replace(installation, settings=chosen, ledger=ledger)
    ledger.close()


def assert_held(installation: Installation, job: Job, *, at: str, why: str) -> None:
    """The job waits at a stage, nothing of which was begun, and nobody dispatches or releases it."""
    held = installation.ledger.job(job.job_uuid)
    assert held.state is JobState.HELD
    assert held.error is not None
    assert (held.error.code, held.error.stage, why in held.error.detail) == ("paused", at, True)
    assert not installation.store.stage(at, job.song).manifest.exists()
    assert not installation.store.quarantine(job.song).exists()
    assert release_held(installation.ledger, at_once=True) == 0
    assert choose_jobs(installation.ledger, depth=9) == []


def let_go(installation: Installation, kind: PauseKind, subject: str, *, job: Job) -> Job:
    """End a pause, and return the job as the dispatcher then asks for it."""
    installation.ledger.pauses.lift(kind, subject, actor="test")
    assert release_held(installation.ledger, at_once=False) == 1
    (again,) = choose_jobs(installation.ledger, depth=9)
    assert (again.job_uuid, again.attempt) == (job.job_uuid, job.attempt + 1)
    return again


def test_a_job_is_held_where_it_would_begin_what_is_paused_and_goes_on_from_there(installation: Installation) -> None:
    """QUEUE-003: no job lost, nothing done twice."""
    ledger = installation.ledger
    job = installation.song()
    ledger.pauses.set(PauseKind.USER, "local", actor="test", reason="too loud")
    ledger.pauses.set(PauseKind.ENGINE, "halves", actor="test", reason="new driver")
    ledger.pauses.set(PauseKind.STAGE, "recombined_track", actor="test", reason="new codec")
    assert not installation.dispatch(job).success, "it waited in Dagster's queue when its user was paused"
    assert_held(installation, job, at="validated_file", why="too loud")
    assert ledger.job(job.job_uuid).stages == ()
    job = let_go(installation, PauseKind.USER, "local", job=job)
    assert not installation.dispatch(job).success
    assert_held(installation, job, at="stems", why="new driver")
    job = let_go(installation, PauseKind.ENGINE, "halves", job=job)
    assert not installation.dispatch(job).success
    assert_held(installation, job, at="recombined_track", why="new codec")
    ledger.pauses.set(PauseKind.ENGINE, "halves", actor="test", reason="again, but the stems are there")
    job = let_go(installation, PauseKind.STAGE, "recombined_track", job=job)
    assert installation.dispatch(job).success
    assert reused(installation, job) == {name: STAGES.index(name) < 4 for name in STAGES}
    assert (ledger.job(job.job_uuid).failures, ledger.job(job.job_uuid).crashes) == (0, 0)


def test_a_failure_that_may_pass_is_tried_again_later_then_failed_and_quarantined(installation: Installation) -> None:
    """QUEUE-004: transient failures are retried after a wait, and not for ever."""
    broken = HALVES_MODULE.replace("return np.stack", "raise RuntimeError('upside down')\n        return np.stack")
    write_halves(installation.folder / "engines", module=broken)
    with settings(installation, retry_base_s=600.0, retry_attempts=2) as patient:
        job = patient.song()
        assert not patient.dispatch(job).success
        waiting = patient.ledger.job(job.job_uuid)
        assert (waiting.state, waiting.failures, waiting.attempt) == (JobState.QUEUED, 1, 2)
        assert waiting.error is not None
        assert (waiting.error.code, waiting.error.stage) == ("engine_failed", "stems")
        assert waiting.not_before is not None
        assert not patient.store.quarantine(job.song).exists()
        assert not patient.dispatch(waiting).success
    failed = patient.ledger.job(job.job_uuid)
    assert (failed.state, failed.failures, failed.crashes) == (JobState.FAILED, 2, 0)
    assert failed.error is not None
    assert failed.error.code == "engine_failed"
    assert json.loads((patient.store.quarantine(job.song) / "error.json").read_bytes())["code"] == "engine_failed"
    assert reused(patient, job)["staged_chunks"], "what was finished is not done again"


def test_a_permanent_failure_is_never_tried_again_by_itself(installation: Installation) -> None:
    """QUEUE-004."""
    job = installation.song(engine="nobody")
    assert not installation.dispatch(job).success
    failed = installation.ledger.job(job.job_uuid)
    assert (failed.state, failed.failures, failed.attempt) == (JobState.FAILED, 0, 1)
    assert release_held(installation.ledger, at_once=True) == 0
    assert choose_jobs(installation.ledger, depth=9) == []


def test_a_replay_makes_everything_anew_from_its_stage_on_once_and_nothing_before(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QUEUE-004: also when it is interrupted, and whatever an earlier job left in the middle of its work."""
    ledger = installation.ledger
    first = installation.song()
    finish_stage = Ledger.finish_stage

    def pause_everything(self: Ledger, *arguments: Any, **named: Any) -> None:
        ledger.pauses.set(PauseKind.ALL, actor="test")
        finish_stage(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "finish_stage", pause_everything)
        assert installation.dispatch(first).success, "a pause of everything lets what runs go on"
    assert ledger.pauses.lift(PauseKind.ALL, actor="test")
    before = keys(installation, first.song)
    stems = installation.store.stage("stems", first.song)
    (stems.work(before["stems"][0]) / "left.over").write_bytes(b"of an earlier job")

    ledger.pauses.set(PauseKind.STAGE, "library_entry", actor="test")
    again = ledger.retry(first.job_uuid, actor="test", replay_from="stems")
    assert not installation.dispatch(again).success
    made = keys(installation, first.song)
    again = let_go(installation, PauseKind.STAGE, "library_entry", job=again)
    assert installation.dispatch(again).success
    after = keys(installation, first.song)
    assert {stage: key for stage, (key, _) in after.items()} == {stage: key for stage, (key, _) in before.items()}
    assert [job for _, job in after.values()] == [first.job_uuid] * 3 + [again.job_uuid] * 3
    assert (made["stems"], made["recombined_track"]) == (after["stems"], after["recombined_track"])
    assert list(reused(installation, again).values()) == [True] * 5 + [False]
    assert not list(stems.path.rglob("left.over"))
