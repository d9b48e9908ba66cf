"""Which songs the analysis is asked for; how a run fares is shown in tests/integration/test_analysis.py."""

import dagster as dg
import pytest

from ironclad_assets.contracts.v1.base import CheckOutcome
from ironclad_assets.contracts.v1.job import JobError
from ironclad_assets.contracts.v1.song_analysis import Tempo
from ironclad_assets.ledger.worker import current_worker
from ironclad_assets.pipeline import analyse as room
from ironclad_assets.sensors.analysis import MOST_LOOKED_AT, AnalysisRequests, Cursor, run_key
from ironclad_assets.settings import Settings
from ironclad_assets.storage.artifacts import Envelope, persist_artifact
from ironclad_assets.storage.store import Store


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store", reserve_bytes=0)
    store.create()
    return store


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def tick(ledger, store, instance, tmp_path, monkeypatch):
    """Return a function that ticks with a cursor and gives back the songs asked for and the next cursor."""
    monkeypatch.setattr(room, "_PACKAGE", "numpy")  # what is installed everywhere: no run starts here
    requests = AnalysisRequests(ledger=ledger, store=store, settings=Settings(home=tmp_path))

    def run(cursor=None):
        with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
            result = requests.tick(context)
        if isinstance(result, dg.SkipReason):
            return result.skip_message, cursor
        return [request.partition_key for request in result.run_requests or ()], result.cursor

    return run


@pytest.fixture
def complete(ledger, store, instance, add_song):
    """Return a function that completes the n-th song, with artifacts to analyse."""

    def finish(number, *, artifacts=True):
        job = add_song(number)
        if artifacts:
            for stage in ("staged_chunks", "stems"):
                persist(store, job, stage=stage)
        instance.add_dynamic_partitions("songs", [job.song])
        ledger.begin_run(job.song, run_id=f"run-{number}", worker=current_worker(), actor="test")
        return ledger.complete(job.job_uuid, actor="test")

    return finish


def persist(store, job, *, stage, key="a" * 64, inputs=None):
    folder = store.stage(stage, job.song)
    folder.work(key)
    envelope = Envelope(
        stage=stage, song=job.song, job_uuid=job.job_uuid, user_id="local", trace_id="t", attempt=1, run_id="r",
        code_version="1",
    )  # fmt: skip
    checks = (CheckOutcome(name="contract_valid", passed=True),)
    persist_artifact(folder, Tempo(), key=key, checks=checks, inputs=inputs or {}, envelope=envelope)


def test_songs_are_asked_for_in_the_order_of_their_completion(tick, complete, ledger) -> None:
    second, first = complete(2), complete(1)
    assert [job.job_uuid for _, job in ledger.completions(after=0, limit=10)] == [second.job_uuid, first.job_uuid]
    asked, cursor = tick()
    assert asked == [second.song]
    assert Cursor.model_validate_json(cursor).job_uuid == second.job_uuid


@pytest.mark.parametrize("state", ["queued", "running"])
def test_nothing_is_asked_for_while_a_song_waits_or_is_worked_on(tick, complete, add_song, ledger, state) -> None:
    complete(1)
    waiting = add_song(2)
    if state == "running":
        ledger.begin_run(waiting.song, run_id="r", worker=current_worker(), actor="test")
    asked, cursor = tick()
    assert "1 songs come first" in asked
    assert cursor is None


def test_a_song_whose_stems_were_analysed_is_passed_over_until_they_change(tick, complete, store) -> None:
    job = complete(1)
    persist(store, job, stage="song_analysis", inputs={"staged_chunks": "a" * 64, "stems": "a" * 64})
    assert tick()[0] == []
    persist(store, job, stage="stems", key="b" * 64)
    assert tick()[0] == [job.song]


def test_failed_and_canceled_jobs_are_not_asked_for(tick, ledger, add_song) -> None:
    job = add_song(1)
    ledger.fail(job.job_uuid, JobError(code="not_audio", detail="", remedy=""), actor="test")
    ledger.request_cancel(add_song(2).job_uuid, actor="test")
    assert tick()[0] == []


def test_of_a_song_that_completed_twice_only_the_last_job_counts(tick, complete, ledger) -> None:
    job = complete(1)
    again = ledger.retry(job.job_uuid, actor="test")
    ledger.begin_run(job.song, run_id="again", worker=current_worker(), actor="test")
    ledger.complete(again.job_uuid, actor="test")
    asked, cursor = tick()
    assert asked == [job.song]
    assert Cursor.model_validate_json(cursor).job_uuid == again.job_uuid


def test_a_request_that_dagster_never_got_is_made_again(tick, complete) -> None:
    job = complete(1)
    _, cursor = tick()
    asked, cursor = tick(cursor)
    assert asked == [job.song]
    assert Cursor.model_validate_json(cursor).tries == 2
    assert run_key(job.job_uuid, tries=2) == f"analysis:{job.job_uuid}:2"


def test_many_songs_without_work_are_passed_a_tick_at_a_time(tick, complete) -> None:
    for number in range(3):
        complete(number, artifacts=False)
    assert tick()[0] == []
    assert MOST_LOOKED_AT >= 100


def test_the_store_being_away_is_said_and_nothing_is_lost(tick, complete, store) -> None:
    complete(1)
    store.sentinel.unlink()
    asked, cursor = tick()
    assert "storage_away" in asked
    assert cursor is None
