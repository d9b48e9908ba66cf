"""Which songs are found to be worked on again: those that failed, and those to be rolled back."""

import pytest

from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.ledger.pauses import PauseKind
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import current_worker
from tests.unit.ledger.conftest import ERROR, add_song


def complete(ledger: Ledger, job_uuid: str, *, engine: str, reused: bool = False) -> None:
    job = ledger.job(job_uuid)
    ledger.begin_run(job.song, run_id=f"run-{job_uuid}", worker=current_worker(), actor="run", job_uuid=job_uuid)
    ledger.resolve_job(job_uuid, job.options.model_copy(update={"engine": engine}), actor="run", detail="")
    ledger.start_stage(job_uuid, "stems")
    ledger.finish_stage(job_uuid, "stems", seconds=1.0, reused=reused)
    ledger.complete(job_uuid, actor="run")


def test_ways_back_are_found_by_engine_stage_user_and_for_all(ledger: Ledger) -> None:
    """QUEUE-003."""
    first, second, third = add_song(ledger, 1), add_song(ledger, 2, user_id="bob"), add_song(ledger, 3)
    for job_uuid in (first, second, third):
        complete(ledger, job_uuid, engine="spectral")
    since = ledger.job(third).updated_at
    demucs = JobOptions(engine="demucs")
    complete(ledger, ledger.retry(first, actor="test", options=demucs).job_uuid, engine="demucs")
    complete(ledger, ledger.retry(second, actor="test", options=demucs).job_uuid, engine="demucs", reused=True)

    def found(kind: PauseKind, subject: str = "", *, after: str = since) -> dict[str, str | None]:
        ways = ledger.again.ways_back(kind, subject, since=after)
        return {way.newest.song: way.earlier.job_uuid if way.earlier else None for way in ways}

    assert found(PauseKind.ALL) == {"s1": first, "s2": second, "s3": None}
    assert found(PauseKind.ENGINE, "demucs") == {"s1": first, "s2": second}
    assert found(PauseKind.STAGE, "stems") == {"s1": first, "s3": None}
    assert found(PauseKind.USER, "bob") == {"s2": second}
    assert found(PauseKind.ALL, after="2999") == {}
    assert ledger.again.way_back("s1").options.engine == "spectral"
    ledger.retry(first, actor="test")
    assert [way.reason for way in ledger.again.ways_back(PauseKind.ENGINE, "demucs", since=since)] == [
        "has an active job",
        "",
    ]


def test_a_song_without_two_ways_has_no_way_back(ledger: Ledger) -> None:
    job_uuid = add_song(ledger, 1)
    for said in ("no job of song s1", "no other job", "same options"):
        with pytest.raises(IroncladError, match=said) as caught:
            ledger.again.way_back("s1")
        assert caught.value.code is ErrorCode.ILLEGAL_TRANSITION
        complete(ledger, job_uuid, engine="spectral")
        job_uuid = ledger.retry(job_uuid, actor="test").job_uuid


def test_failed_songs_are_those_whose_latest_job_failed(ledger: Ledger) -> None:
    """QUEUE-004."""
    first, second, third = add_song(ledger, 1), add_song(ledger, 2, user_id="bob"), add_song(ledger, 3)
    for job_uuid in (first, second, third):
        ledger.fail(job_uuid, ERROR, actor="run")
    ledger.retry(third, actor="test")
    assert [job.job_uuid for job in ledger.again.failed()] == [first, second]
    assert [job.job_uuid for job in ledger.again.failed(user_id="bob", code="not_audio")] == [second]
    assert ledger.again.failed(code="damaged") == []
