"""Whatever is done to jobs in whatever order, by one or by many: one active job per song, a history without gaps."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from ironclad_assets.contracts.v1.job import STAGES, JobError, JobState
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.ledger.pauses import PauseKind
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.transitions import FOLLOWERS
from ironclad_assets.ledger.worker import current_worker
from tests.unit.ledger.conftest import DEAD, ERROR, add_song

SONGS = 4
STEPS = 200
EXPECTED = {ErrorCode.ILLEGAL_TRANSITION, ErrorCode.JOB_ACTIVE}
HOLD = JobError(code="paused", detail="stage stems", remedy="wait", stage="stems")


def operations(ledger: Ledger, dice: random.Random, *, prefix: str = "") -> Sequence[Callable[[], object]]:
    """Return everything that can be done, each to a job or song that the dice choose."""

    def some_job() -> str:
        chosen = dice.choice(ledger.jobs(limit=3 * SONGS))
        return chosen.job_uuid

    def begin() -> object:
        song = f"s{dice.randrange(SONGS)}"
        asked = ledger.latest_job(song)
        return ledger.begin_run(
            song,
            run_id=f"{prefix}{dice.random()}",
            worker=dice.choice((current_worker(), DEAD)),
            actor="run",
            job_uuid=dice.choice((None, asked.job_uuid if asked else None)),
        )

    def later() -> object:
        return ledger.attempts.later(some_job(), ERROR, actor="run")

    return (
        begin,
        begin,
        later,
        lambda: ledger.retry(some_job(), actor="user", replay_from=dice.choice((None, *STAGES))),
        lambda: ledger.retry(some_job(), actor="user"),
        lambda: ledger.request_cancel(some_job(), actor="user"),
        lambda: ledger.hold(some_job(), HOLD, actor="run"),
        lambda: ledger.attempts.release([some_job(), some_job()], actor="dispatcher"),
        lambda: ledger.release(some_job(), actor="dispatcher"),
        lambda: ledger.complete(some_job(), actor="run"),
        lambda: ledger.fail(some_job(), ERROR, actor="run"),
        lambda: ledger.canceled(some_job(), actor="run"),
        lambda: ledger.requeue_crashed(some_job(), actor="reconciler"),
        lambda: ledger.requeue_interrupted(some_job(), actor="reconciler"),
        lambda: ledger.mark_dispatched([job.job_uuid for job in ledger.dispatchable(limit=2)]),
        lambda: ledger.undispatch(some_job()),
        lambda: ledger.start_stage(some_job(), dice.choice(STAGES)),
        lambda: ledger.queue.set_priority(some_job(), dice.randrange(-9, 9), actor="user"),
        lambda: ledger.pauses.set(PauseKind.USER, "ada", actor="user"),
        lambda: ledger.pauses.lift(PauseKind.USER, "ada", actor="user"),
    )


def walk(ledger: Ledger, *, seed: int, steps: int) -> Counter[ErrorCode]:
    """Do random things; only the published refusals may come of it."""
    dice = random.Random(seed)
    choices = operations(ledger, dice, prefix=f"{seed}-")
    refused: Counter[ErrorCode] = Counter()
    for _ in range(steps):
        try:
            dice.choice(choices)()
        except IroncladError as error:
            if error.code not in EXPECTED:
                raise
            refused[error.code] += 1
    return refused


def assert_sound(ledger: Ledger) -> None:
    """One active job per song; attempts that are not used twice; every history whole and legal."""
    found = ledger.jobs(limit=100_000)
    active = Counter(job.song for job in found if job.state.active)
    assert not active or max(active.values()) == 1
    assert len({(job.song, job.attempt) for job in found}) == len(found)
    for job in found:
        lines = ledger.history(job.job_uuid)
        assert lines[0].from_state is None
        assert lines[-1].to_state == job.state
        for before, line in pairwise(lines):
            assert line.from_state == before.to_state, "a gap in the history"
        for line in lines:
            legal = line.to_state in FOLLOWERS[line.from_state] or line.to_state == line.from_state
            assert legal, f"{line.from_state} -> {line.to_state}"
            assert line.from_state not in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED)
        if job.state is not JobState.RUNNING:
            assert job.state is not JobState.QUEUED or job.run_id is None


@pytest.mark.parametrize("seed", [1])
def test_a_random_walk_leaves_a_sound_ledger(ledger: Ledger, seed: int) -> None:
    """QUEUE-002, promise 22."""
    for number in range(SONGS):
        add_song(ledger, number)
    refused = walk(ledger, seed=seed, steps=STEPS)
    assert_sound(ledger)
    assert refused, "illegal transitions were tried and refused"
    assert sum(len(ledger.history(job.job_uuid)) for job in ledger.jobs(limit=1000)) > STEPS / 5


def test_many_at_once_leave_a_sound_ledger(url: str) -> None:
    """QUEUE-002: users, operators, dispatcher, runs and reconciler at the same time."""
    first = Ledger(url)
    first.migrate()
    for number in range(SONGS):
        add_song(first, number)
    raised: list[BaseException] = []

    def work(seed: int) -> None:
        ledger = Ledger(url)  # connections of its own, as another process has
        try:
            walk(ledger, seed=seed, steps=50)
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            raised.append(error)
        finally:
            ledger.close()

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(10, 13)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not raised, raised
    assert_sound(first)
    first.close()


@pytest.mark.parametrize("what", ["retry", "cancel", "pause", "release", "later"])
def test_of_several_who_do_the_same_at_once_one_wins_and_the_others_are_told(url: str, what: str) -> None:
    """QUEUE-002."""
    ledger = Ledger(url)
    ledger.migrate()
    job_uuid = add_song(ledger, 1)
    if what == "retry":
        ledger.fail(job_uuid, ERROR, actor="run")
    elif what == "release":
        ledger.hold(job_uuid, HOLD, actor="run")
    elif what == "later":
        ledger.begin_run("s1", run_id="r", worker=current_worker(), actor="run")
    ready = threading.Barrier(4)
    won: list[bool] = []

    def act() -> None:
        own = Ledger(url)
        own.count_by_state()  # the connection is there before everybody starts
        ready.wait()
        try:
            won.append(bool(_do(own, what, job_uuid=job_uuid)))
        except IroncladError as error:
            won.append(error.code not in EXPECTED)
        finally:
            own.close()

    workers = [threading.Thread(target=act) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(won) == [False, False, False, True]
    assert_sound(ledger)
    assert len(ledger.pauses.all()) == (what == "pause")
    ledger.close()


def _do(ledger: Ledger, what: str, *, job_uuid: str) -> object:
    if what == "retry":
        return ledger.retry(job_uuid, actor="user")
    if what == "cancel":
        return ledger.request_cancel(job_uuid, actor="user")
    if what == "pause":
        return ledger.pauses.set(PauseKind.ENGINE, "demucs", actor="user")
    if what == "release":
        return ledger.attempts.release([job_uuid], actor="dispatcher")
    return ledger.attempts.later(job_uuid, ERROR, actor="run").failures == 1
