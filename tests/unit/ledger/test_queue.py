"""Pauses, fair turns, priorities, limits, waits and held jobs as the ledger knows them."""

from datetime import UTC, datetime, timedelta
from itertools import groupby

import pytest
from sqlalchemy import update

from ironclad_assets.contracts.v1.job import JobError, JobState
from ironclad_assets.contracts.v1.limits import LimitScope
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.ledger import queue
from ironclad_assets.ledger.attempts import Attempts
from ironclad_assets.ledger.pauses import PauseKind
from ironclad_assets.ledger.queue import Wait
from ironclad_assets.ledger.retries import LONGEST_WAIT_S, RetryPolicy
from ironclad_assets.ledger.rows import utc_time
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.tables import forgotten_songs, history, jobs
from ironclad_assets.ledger.worker import current_worker
from tests.unit.ledger.conftest import DEAD, ERROR, add_song, counted_statements, make_song

FOR_NOW = JobError(code="engine_failed", detail="upside down", remedy="retry", stage="stems")
PAUSED = JobError(code="paused", detail="stage stems", remedy="wait", stage="stems")


def add_long(ledger: Ledger, number: int, *, user_id: str, seconds: float, priority: int = 0) -> str:
    song = make_song(number, user_id=user_id).model_copy(update={"expected_s": seconds})
    return ledger.register(song, JobOptions(), actor="test", priority=priority).job.job_uuid


def order(ledger: Ledger, *, limit: int = 1000) -> list[str]:
    return [job.job_uuid for job in ledger.dispatchable(limit=limit)]


def work_off(ledger: Ledger) -> list[str]:
    """Run one job after another in the order of the queue; return whose they were."""
    users = []
    while found := ledger.dispatchable(limit=1):
        ledger.begin_run(found[0].song, run_id=f"r{len(users)}", worker=current_worker(), actor="run")
        ledger.complete(found[0].job_uuid, actor="run")
        users.append(found[0].user_id)
    return users


def test_a_user_with_many_songs_does_not_block_one_with_a_single_song(ledger: Ledger) -> None:
    """Fair turns by seconds of audio, not by songs."""
    for number in range(12):
        add_long(ledger, number, user_id="ada", seconds=200.0)
    ledger.mark_dispatched(order(ledger, limit=4))
    single = add_long(ledger, 100, user_id="bob", seconds=200.0)
    assert order(ledger)[0] == single
    long = add_long(ledger, 101, user_id="eve", seconds=4000.0)
    short = add_long(ledger, 102, user_id="eve", seconds=100.0)
    found = order(ledger)
    assert found.index(long) < found.index(single) + 2, "who had nothing yet goes before who had much"
    assert found[-1] == short, "eve's long song counts before her next one"


def test_turns_follow_what_each_user_had_within_the_hour(ledger: Ledger) -> None:
    for number in range(6):
        add_long(ledger, number, user_id="ada", seconds=100.0)
    for number in range(6, 9):
        add_long(ledger, number, user_id="bob", seconds=200.0)
    assert work_off(ledger) == ["ada", "bob", "ada", "ada", "bob", "ada", "ada", "bob", "ada"]


@pytest.mark.parametrize("ended", ["held", "crashed"])
def test_a_job_that_waits_again_does_not_stand_in_its_own_way(ledger: Ledger, ended: str) -> None:
    long = add_long(ledger, 1, user_id="ada", seconds=600.0)
    others = [add_long(ledger, number, user_id="bob", seconds=100.0) for number in range(2, 10)]
    assert order(ledger)[0] == long
    worker = DEAD if ended == "crashed" else current_worker()
    ledger.begin_run("s1", run_id="r1", worker=worker, actor="run")
    assert order(ledger) == others
    if ended == "held":
        ledger.hold(long, ERROR, actor="run")
        ledger.release(long, actor="dispatcher")
    else:
        ledger.requeue_crashed(long, actor="reconcile")
    assert order(ledger)[0] == long, "it is at its old place"


def test_what_was_begun_more_than_an_hour_ago_or_in_the_future_counts_no_more(ledger: Ledger) -> None:
    had = add_long(ledger, 1, user_id="ada", seconds=1000.0)
    ledger.begin_run("s1", run_id="r1", worker=current_worker(), actor="run")
    ledger.complete(had, actor="run")
    first = add_long(ledger, 2, user_id="ada", seconds=10.0)
    second = add_long(ledger, 3, user_id="bob", seconds=10.0)
    assert order(ledger) == [second, first]
    for away in (timedelta(hours=-1, minutes=-1), timedelta(days=3650)):
        began = (datetime.now(UTC) + away).isoformat(timespec="microseconds")
        with ledger._database.write() as connection:
            connection.execute(update(jobs).where(jobs.c.job_uuid == had).values(started_at=began))
        assert order(ledger) == [first, second]


def work_off_failing(ledger: Ledger, failing: str) -> list[str]:
    """As `work_off`, but every run of one user fails for now, until its job is given up."""
    attempts = Attempts(ledger._database, policy=RetryPolicy(attempts=3, base_s=0.0))
    users = []
    while found := ledger.dispatchable(limit=1):
        job = found[0]
        ledger.begin_run(job.song, run_id=f"f{len(users)}", worker=current_worker(), actor="run")
        if job.user_id == failing:
            attempts.later(job.job_uuid, FOR_NOW, actor="run")
        else:
            ledger.complete(job.job_uuid, actor="run")
        users.append(job.user_id)
    return users


def test_what_fails_and_is_tried_again_has_had_its_turn_each_time(ledger: Ledger) -> None:
    """Else songs that fail late are worked on three times before anybody else's is once."""
    for number in range(2):
        add_long(ledger, number, user_id="ada", seconds=200.0)
    for number in range(4, 10):
        add_long(ledger, number, user_id="bob", seconds=200.0)
    assert work_off_failing(ledger, "ada") == ["ada", "bob"] * 6
    for number, user_id in enumerate(["ada", "bob"], start=20):
        add_long(ledger, number, user_id=user_id, seconds=200.0)
    delete_song(ledger, "s0")
    assert work_off(ledger) == ["ada", "bob"], "six times 200 s each"


@pytest.mark.parametrize(
    ("course", "times"),
    [
        (("fail",), 1),
        (("later", "fail"), 2),
        (("later", "later", "fail"), 3),
        (("later", "later", "later"), 3),
        (("later", "complete"), 2),
        (("later", "canceled"), 2),
        (("later", "request_cancel"), 1),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, tuple) else "",
)
def test_a_job_counts_as_often_as_it_was_worked_on_however_it_ended(
    ledger: Ledger, course: tuple[str, ...], times: int
) -> None:
    attempts = Attempts(ledger._database, policy=RetryPolicy(attempts=3, base_s=0.0))
    job = add_long(ledger, 1, user_id="ada", seconds=100.0)
    for number, end in enumerate(course):
        if end != "request_cancel":  # which comes while the job waits
            ledger.begin_run("s1", run_id=f"r{number}", worker=current_worker(), actor="run")
        getattr(attempts if end == "later" else ledger, end)(
            job, *([ERROR] if end in ("later", "fail") else []), actor="t"
        )
    for number, (user_id, had) in enumerate([("eve", times + 0.5), ("bob", times - 0.5)], start=2):
        other = add_long(ledger, number, user_id=user_id, seconds=100.0 * had)
        ledger.begin_run(f"s{number}", run_id=f"other{number}", worker=current_worker(), actor="run")
        ledger.complete(other, actor="run")
    eve, ada, bob = (
        add_long(ledger, number, user_id=user_id, seconds=10.0)
        for number, user_id in enumerate(["eve", "ada", "bob"], start=10)
    )
    assert order(ledger) == [bob, ada, eve]
    delete_song(ledger, "s1")
    assert order(ledger) == [bob, ada, eve]


def delete_song(ledger: Ledger, song: str) -> None:
    deletion = ledger.deletions.request_song(song, actor="test")
    ledger.deletions.forget_songs([song], receipt=deletion.receipt, removed={})


def test_whoever_deletes_what_is_done_has_had_his_turn(ledger: Ledger) -> None:
    """Else a user with 1,000 songs deletes each when it is done and is always the one who had nothing yet."""
    for number in range(4):
        add_long(ledger, number, user_id="ada", seconds=200.0)
    for number in range(4, 8):
        add_long(ledger, number, user_id="bob", seconds=200.0)
    users = []
    while found := ledger.dispatchable(limit=1):
        job = found[0]
        ledger.begin_run(job.song, run_id=f"r{len(users)}", worker=current_worker(), actor="run")
        ledger.complete(job.job_uuid, actor="run")
        if job.user_id == "ada":
            delete_song(ledger, job.song)
        users.append(job.user_id)
    assert users == ["ada", "bob"] * 4


def test_what_was_begun_twice_counts_twice_also_when_it_was_deleted(ledger: Ledger) -> None:
    first = add_long(ledger, 1, user_id="ada", seconds=100.0)
    for run, job_uuid in enumerate([first, None]):
        again = job_uuid or ledger.retry(first, actor="test").job_uuid
        ledger.begin_run("s1", run_id=f"r{run}", worker=current_worker(), actor="run")
        ledger.complete(again, actor="run")
    before = add_long(ledger, 2, user_id="bob", seconds=150.0)
    ledger.begin_run("s2", run_id="r2", worker=current_worker(), actor="run")
    ledger.complete(before, actor="run")
    mine, other = add_long(ledger, 3, user_id="ada", seconds=10.0), add_long(ledger, 4, user_id="bob", seconds=10.0)
    assert order(ledger) == [other, mine]
    delete_song(ledger, "s1")
    assert order(ledger) == [other, mine]
    long_ago = (datetime.now(UTC) - timedelta(hours=1, minutes=1)).isoformat(timespec="microseconds")
    with ledger._database.write() as connection:
        connection.execute(update(forgotten_songs).values(worked_at=long_ago))
    assert order(ledger) == [mine, other], "after an hour it is forgotten here too"


def test_seconds_are_those_decoded_else_expected_else_guessed_from_the_size(ledger: Ledger) -> None:
    sizes = make_song(1).model_copy(update={"size_bytes": 4_000_000})
    expected = make_song(2).model_copy(update={"size_bytes": 4_000_000, "expected_s": 77.0})
    decoded = make_song(3).model_copy(update={"size_bytes": 4_000_000, "expected_s": 77.0, "duration_s": 5.5})
    for song in (sizes, expected, decoded):
        ledger.register(song, JobOptions(), actor="test")
    assert [place.seconds for place in ledger.queue.places(limit=9)] == [100.0, 77.0, 5.5]


def test_nobody_gets_more_jobs_at_once_than_allowed_and_others_go_on(ledger: Ledger) -> None:
    """GLOBAL-001."""
    mine = [add_song(ledger, number) for number in (1, 2, 3)]
    other = add_song(ledger, 4, user_id="bob")
    ledger.limits.set(LimitScope.USER, "ada", "concurrent_jobs", 2, actor="test")
    assert set(order(ledger)) == {*mine[:2], other}
    ledger.mark_dispatched(mine[:1])
    ledger.begin_run("s2", run_id="r", worker=current_worker(), actor="run")
    assert order(ledger) == [other]
    waits = {place.job.job_uuid: place.wait for place in ledger.queue.places(limit=9)}
    assert waits == {mine[0]: Wait.DISPATCHED, other: Wait.TURN, mine[2]: Wait.LIMIT}
    ledger.limits.set(LimitScope.SYSTEM, "", "concurrent_jobs", 2, actor="test")
    assert order(ledger) == []


def test_the_queue_is_the_same_whether_it_is_read_at_once_or_in_parts(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        add_song(ledger, number, user_id="abcde"[number % 5])
    ledger.limits.set(LimitScope.USER, "b", "concurrent_jobs", 2, actor="test")
    ledger.limits.set(LimitScope.USER, "e", "concurrent_jobs", 1, actor="test")
    ledger.limits.set(LimitScope.SYSTEM, "", "concurrent_jobs", 12, actor="test")
    ledger.mark_dispatched(order(ledger, limit=3))

    def seen() -> tuple[list[tuple[str, Wait]], list[str]]:
        return [(place.job.job_uuid, place.wait) for place in ledger.queue.places(limit=99)], order(ledger)

    at_once = seen()
    assert [wait for _, wait in at_once[0]].count(Wait.TURN) == len(at_once[1]) == 9
    monkeypatch.setattr(queue, "MOST_NAMED", 3)
    assert seen() == at_once


def test_the_queue_is_as_many_statements_for_many_users_as_for_few(ledger: Ledger) -> None:
    ledger.limits.set(LimitScope.USER, "user7", "concurrent_jobs", 1, actor="test")
    counts = []
    for users in (8, 40):
        for number in range(users):
            add_song(ledger, 1000 * users + number, user_id=f"user{number}")
        with counted_statements(ledger) as statements:
            places = ledger.queue.places(limit=1000)
        counts.append(len(statements))
    assert [place.job.user_id for place in places if place.wait is Wait.LIMIT] == ["user7"]
    assert counts[0] == counts[1]


def test_the_queue_is_shown_in_the_order_in_which_it_is_worked_off(ledger: Ledger) -> None:
    for number in range(9):
        add_long(ledger, number, user_id="abc"[number % 3], seconds=10.0 * (number + 1), priority=number % 2)
    places = ledger.queue.places(limit=99)
    assert [place.position for place in places] == list(range(1, 10))
    assert [place.job.job_uuid for place in places] == order(ledger)
    assert [place.position for place in ledger.queue.places(limit=2, user_id="b")] == [
        place.position for place in places if place.job.user_id == "b"
    ][:2]


def test_pauses_of_everything_and_of_users_stop_dispatch_and_survive_a_restart(ledger: Ledger, url: str) -> None:
    """QUEUE-003."""
    mine, other = add_song(ledger, 1), add_song(ledger, 2, user_id="bob")
    ledger.pauses.set(PauseKind.USER, "ada", actor="test")
    assert order(ledger) == [other]
    again = Ledger(url)
    again.pauses.set(PauseKind.ALL, actor="test")
    assert order(ledger) == []
    assert [pause.kind for pause in again.pauses.all()] == [PauseKind.USER, PauseKind.ALL]
    assert again.pauses.of_work_for("bob") == again.pauses.of(PauseKind.ALL)
    ledger.pauses.lift(PauseKind.ALL, actor="test")
    ledger.pauses.lift(PauseKind.USER, "ada", actor="test")
    assert order(again) == [mine, other]
    again.close()


def test_thirty_held_jobs_come_back_in_the_order_in_which_they_were_submitted(ledger: Ledger) -> None:
    """QUEUE-003: no job lost or reordered, however they were held."""
    ids = [add_song(ledger, number, priority=number % 2) for number in range(30)]
    wanted = order(ledger)
    for job_uuid in reversed(ids):
        ledger.hold(job_uuid, PAUSED, actor="test")
    assert order(ledger) == []
    held = [job.job_uuid for job in ledger.attempts.held()]
    assert held == wanted
    batches = [list(group) for _, group in groupby(held, key=lambda one: held.index(one) // 7)]
    assert [ledger.attempts.release(batch, actor="test") for batch in batches] == [7, 7, 7, 7, 2]
    assert order(ledger) == wanted
    assert {job.attempt for job in ledger.jobs()} == {2}, "each under a new run key"
    assert ledger.attempts.release(ids, actor="test") == 0


def test_a_failure_for_now_waits_longer_each_time_and_ends_at_the_third(ledger: Ledger) -> None:
    """QUEUE-004."""
    job_uuid = add_song(ledger)
    for failures in (1, 2):
        ledger.begin_run("s1", run_id=f"r{failures}", worker=current_worker(), actor="run")
        job = ledger.attempts.later(job_uuid, FOR_NOW, actor="run")
        assert (job.state, job.failures, job.attempt, job.run_id) == (JobState.QUEUED, failures, failures + 1, None)
        assert job.error == FOR_NOW
        assert job.not_before is not None
        waits_s = (datetime.fromisoformat(job.not_before) - datetime.now(UTC)).total_seconds()
        assert waits_s <= 10.0 * 4 ** (failures - 1)
    ledger.begin_run("s1", run_id="r3", worker=current_worker(), actor="run")
    assert ledger.job(job_uuid).error is None
    failed = ledger.attempts.later(job_uuid, FOR_NOW, actor="run")
    assert (failed.state, failed.failures, failed.error) == (JobState.FAILED, 3, FOR_NOW)
    assert "attempt 3 of 3" in ledger.history(job_uuid)[-1].detail


def test_waits_are_spread_and_bounded() -> None:
    policy = RetryPolicy()
    assert [policy.longest_wait_s(failures) for failures in (1, 2, 3, 4, 99)] == [10.0, 40.0, 160.0, 600.0, 600.0]
    drawn = [policy.draw_wait_s(2) for _ in range(400)]
    assert 0.0 <= min(drawn) < 4.0
    assert 36.0 < max(drawn) <= 40.0


@pytest.mark.parametrize(
    ("away", "goes"),
    [
        (timedelta(seconds=-1), True),
        (timedelta(seconds=LONGEST_WAIT_S - 30), False),
        (timedelta(days=1), True),
        (timedelta(days=3650), True),
    ],
)
def test_a_wait_ends_in_time_also_when_the_clock_jumped(ledger: Ledger, away: timedelta, goes: bool) -> None:
    """A wait that was written by a clock ten years ahead is over."""
    job_uuid = add_song(ledger)
    until = (datetime.now(UTC) + away).isoformat(timespec="microseconds")
    with ledger._database.write() as connection:
        connection.execute(update(jobs).values(not_before=until))
    assert (order(ledger) == [job_uuid]) is goes
    assert ledger.queue.places(limit=1)[0].wait is (Wait.TURN if goes else Wait.LATER)


def test_failures_for_now_are_no_interruptions(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    for number in range(12):
        ledger.hold(job_uuid, FOR_NOW, actor="test")
        ledger.release(job_uuid, actor="test")
        ledger.queue.set_priority(job_uuid, number, actor="test")
    ledger.begin_run("s1", run_id="r", worker=current_worker(), actor="run")
    assert ledger.requeue_interrupted(job_uuid, actor="reconciler").state is JobState.QUEUED


def test_a_job_that_is_to_be_canceled_is_neither_held_nor_tried_again(ledger: Ledger) -> None:
    """JOB-002."""
    for number, settle in ((1, ledger.hold), (2, ledger.attempts.later)):
        job_uuid = add_song(ledger, number)
        ledger.begin_run(f"s{number}", run_id=f"r{number}", worker=current_worker(), actor="run")
        ledger.request_cancel(job_uuid, actor="test")
        assert settle(job_uuid, FOR_NOW, actor="run").state is JobState.CANCELED


def test_a_job_that_ended_is_not_tried_again_later(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    ledger.fail(job_uuid, ERROR, actor="run")
    with pytest.raises(IroncladError) as caught:
        ledger.attempts.later(job_uuid, FOR_NOW, actor="run")
    assert caught.value.code is ErrorCode.ILLEGAL_TRANSITION


def ahead(monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> None:
    """Let so many seconds have passed, as the queue sees it."""
    monkeypatch.setattr(queue, "utc_now", lambda: utc_time(seconds_ago=-seconds))


def test_runs_that_nobody_begins_are_told_from_a_queue_that_moves(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 15: songs that wait for a worker that never comes are seen."""
    first, second = (add_long(ledger, number, user_id="ada", seconds=100.0) for number in (1, 2))
    ahead(monkeypatch, seconds=300.0)
    assert ledger.queue.unattended_s() == 0.0, "no run was asked for yet"
    ledger.mark_dispatched([first, second])
    assert 299.0 < ledger.queue.unattended_s() < 330.0
    ledger.begin_run("s1", run_id="r1", worker=current_worker(), actor="run")
    assert ledger.queue.unattended_s() == 0.0, "the next one waits for this one"
    ledger.complete(first, actor="run")
    with ledger._database.write() as connection:
        connection.execute(
            update(jobs).where(jobs.c.job_uuid == second).values(dispatched_at=utc_time(seconds_ago=900))
        )
    assert 299.0 < ledger.queue.unattended_s() < 330.0, "the last one ended just now"
    ledger.request_cancel(second, actor="ada")
    assert ledger.queue.unattended_s() == 0.0


def test_a_run_that_is_asked_for_again_and_again_in_vain_counts_from_the_first_time(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_uuid = add_long(ledger, 1, user_id="ada", seconds=100.0)
    for _ in range(3):
        ledger.mark_dispatched([job_uuid])
        ledger.undispatch(job_uuid)
    told = [line for line in ledger.history(job_uuid) if line.detail == queue.LOST]
    assert len(told) == 1, "once, however often it is tried"
    with ledger._database.write() as connection:
        connection.execute(update(history).where(history.c.detail == queue.LOST).values(at=utc_time(seconds_ago=600)))
    ledger.mark_dispatched([job_uuid])
    assert 599.0 < ledger.queue.unattended_s() < 630.0
    ledger.begin_run("s1", run_id="r1", worker=current_worker(), actor="run")
    ledger.attempts.later(job_uuid, FOR_NOW, actor="run")
    ledger.mark_dispatched([job_uuid])
    ahead(monkeypatch, seconds=60.0)
    assert ledger.queue.unattended_s() < 90.0, "it was begun since, and waits anew"
