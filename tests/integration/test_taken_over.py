"""A run that was given up for dead while another took its song, and that goes on all the same."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from ironclad_assets.assets import library_entry, staged_chunks
from ironclad_assets.contracts.v1.job import STAGES, Job, JobState
from ironclad_assets.errors import ErrorCode, StorageUnavailable, failure
from ironclad_assets.io_managers import contract_io_manager
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import current_worker
from tests.integration.conftest import Installation

RESERVED = 1000


@pytest.mark.parametrize(
    "error",
    [
        failure(ErrorCode.ENGINE_FAILED, "of the run that is thought dead"),
        failure(ErrorCode.CONTRACT_INVALID, "of the run that is thought dead"),
        StorageUnavailable("not here", code=ErrorCode.STORAGE_AWAY),
        KeyboardInterrupt(),
    ],
    ids=["later", "fail", "hold", "cancel"],
)
def test_it_neither_ends_the_other_ones_job_nor_frees_its_room(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """A machine that sleeps or loses its network comes back and fails, or is shut down: the song goes on elsewhere."""
    ledger, job = installation.ledger, installation.song()
    used = ledger.usage.of(job.user_id).stored_bytes

    def lose_the_song(*_: Any, **__: Any) -> None:
        ledger.requeue_crashed(job.job_uuid, actor="reconciler")
        ledger.begin_run(job.song, run_id="other", worker=current_worker(), actor="run:other")
        ledger.reservations.take(job.song, "staged_chunks", size_bytes=RESERVED, run_id="other")
        raise error

    monkeypatch.setattr(staged_chunks, "stage_song", lose_the_song)
    with suppress(KeyboardInterrupt):
        assert not installation.dispatch(job).success
    after = ledger.job(job.job_uuid)
    assert (after.state, after.run_id, after.error) == (JobState.RUNNING, "other", None)
    assert ledger.usage.of(job.user_id).stored_bytes == used + RESERVED
    assert not list(installation.store.root.glob("error/*"))


@pytest.mark.parametrize("at", ["made", "stored", "finished"])
def test_one_that_goes_on_to_the_end_leaves_completing_the_job_to_the_other(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Whatever of the last stage is stored by then, the other one takes it, and the job is completed once."""
    ledger, job = installation.ledger, installation.song()
    place, name = {
        "made": (library_entry, "organise"),
        "stored": (contract_io_manager, "persist_artifact"),
        "finished": (Ledger, "finish_stage"),
    }[at]
    with monkeypatch.context() as patch:
        patch.setattr(place, name, losing_the_song(ledger, job, getattr(place, name)))
        assert not installation.dispatch(job).success
    after = ledger.job(job.job_uuid)
    assert (after.state, after.run_id, after.error) == (JobState.RUNNING, "other", None)
    assert (after.stages[-1].ended_at is None) == (at != "finished")
    assert installation.dispatch(job).success
    done = ledger.job(job.job_uuid)
    assert done.state is JobState.COMPLETED
    assert [stage.reused for stage in done.stages] == [True] * 5 + [at != "made"]
    assert [line.to_state for line in ledger.history(job.job_uuid)].count("completed") == 1


def losing_the_song(ledger: Ledger, job: Job, act: Callable[..., Any]) -> Callable[..., Any]:
    """Return `act`, after which, in the last stage, the song is another run's."""

    def lose(*given: Any, **named: Any) -> Any:
        result = act(*given, **named)
        if ledger.job(job.job_uuid).stage == STAGES[-1]:
            ledger.requeue_crashed(job.job_uuid, actor="reconciler")
            ledger.begin_run(job.song, run_id="other", worker=current_worker(), actor="run:other")
        return result

    return lose
