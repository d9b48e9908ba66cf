"""A run that was given up for dead while another took its song, and that goes on all the same."""

from contextlib import suppress
from typing import Any

import pytest

from ironclad_assets.assets import staged_chunks
from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.errors import ErrorCode, StorageUnavailable, failure
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
