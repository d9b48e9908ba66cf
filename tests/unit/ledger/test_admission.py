"""Quotas and rates where songs are registered, and the account of what is stored."""

import itertools
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, event, func, select, update

from ironclad_assets.contracts.v1.job import JobError, SongIdentity
from ironclad_assets.contracts.v1.limits import LimitScope
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError, PermanentFailure
from ironclad_assets.ledger import changes, usage
from ironclad_assets.ledger.admission import LimitReached, Wish
from ironclad_assets.ledger.forget import forget_songs
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.tables import forgotten_songs, songs, stage_timings, stored_artifacts, users
from ironclad_assets.ledger.usage import ORIGINAL, forget_stored, forget_stored_of, has_reserved
from ironclad_assets.ledger.worker import current_worker
from tests.unit.ledger.conftest import DEAD, ERROR, make_song

YEAR_S = 365 * 24 * 3600.0
AHEAD = (datetime.now(UTC) + timedelta(seconds=YEAR_S)).isoformat(timespec="microseconds")
LONG_AGO = dict.fromkeys(("uploaded_at", "minutes_at"), "2020-01-01T00:00:00.000000+00:00")


def fresh(number: int, *, user_id: str = "ada", seconds_ago: float = 0.0, **values: object) -> SongIdentity:
    at = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat(timespec="microseconds")
    return make_song(number, user_id=user_id).model_copy(update={"uploaded_at": at, **values})


def bring(ledger: Ledger, number: int, **values: object) -> str:
    return ledger.register(fresh(number, **values), JobOptions(), actor="test").job.job_uuid  # type: ignore[arg-type]


def begin(ledger: Ledger, number: int, *, size_bytes: int) -> str:
    """Bring a song and begin its run ``rN``; return the id of its job."""
    job = bring(ledger, number, size_bytes=size_bytes)
    ledger.begin_run(f"s{number}", run_id=f"r{number}", worker=current_worker(), actor="run")
    return job


def limit(ledger: Ledger, name: str, value: float | None, *, user_id: str = "ada") -> None:
    ledger.limits.set(LimitScope.USER, user_id, name, value, actor="test")


def refused(ledger: Ledger, number: int, **values: object) -> LimitReached:
    """Register a song that must be refused, late and early alike; return why."""
    song = fresh(number, **values)  # type: ignore[arg-type]
    with pytest.raises(LimitReached) as early:
        ledger.admission.check(Wish(song.user_id, song.size_bytes, song.expected_s))
    with pytest.raises(LimitReached) as late:
        ledger.register(song, JobOptions(), actor="test")
    assert early.value.code is late.value.code
    assert ledger.find_song(song.user_id, song.sha256) is None, "nothing was written"
    return late.value


@pytest.mark.parametrize("name", ["songs_per_day", "stored_bytes", "submissions_per_minute"])
def test_of_fifty_uploads_at_one_time_exactly_ten_are_taken(ledger: Ledger, name: str) -> None:
    """Promise 13: quotas hold under a race: 50 parallel uploads against 10: exactly 10 stored."""
    limit(ledger, name, 10 * 100 if name == "stored_bytes" else 10)
    gate, told = threading.Barrier(50), Counter[str]()

    def upload(number: int) -> None:
        gate.wait(30)
        try:
            ledger.register(fresh(number, size_bytes=100), JobOptions(), actor="test")
            told["taken"] += 1
        except LimitReached as error:
            told[error.code.code] += 1

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert told["taken"] == 10
    assert told.total() == 50
    assert len(told) == 2, told
    assert ledger.usage.of("ada").stored_bytes == 1000
    assert len(ledger.jobs(limit=99)) == 10


@pytest.mark.parametrize("name", ["songs_per_day", "audio_minutes_per_day", "submissions_per_minute"])
@pytest.mark.parametrize("gone", [False, True])
def test_what_came_under_a_clock_a_year_ahead_keeps_nobody_out_for_a_year(
    ledger: Ledger, name: str, gone: bool
) -> None:
    """What a clock that was half an hour ahead let in still counts, so that setting it back gives no second helping."""
    bring(ledger, 1, seconds_ago=-YEAR_S, expected_s=90.0)
    if gone:
        with ledger._database.write() as connection:
            connection.execute(update(songs).values(uploaded_at=fresh(1).uploaded_at))
            forget_songs(connection, ["s1"], receipt="r")
            connection.execute(update(forgotten_songs).values(uploaded_at=AHEAD, minutes_at=AHEAD))
    limit(ledger, name, 1)
    assert getattr(ledger.usage.of("ada"), name) == 0
    bring(ledger, 2, seconds_ago=-20 if name == "submissions_per_minute" else -1800, expected_s=90.0)
    assert 0 < (refused(ledger, 3, expected_s=90.0).retry_after_s or 0) < 2 * 24 * 3600


def test_work_that_began_under_a_clock_a_year_ahead_counts_for_no_day(ledger: Ledger) -> None:
    job = begin(ledger, 1, size_bytes=0)
    ledger.admission.measure("s1", duration_s=600.0, job_uuid=job)
    with ledger._database.write() as connection:
        connection.execute(update(songs).values(uploaded_at=AHEAD))
        connection.execute(update(stage_timings).values(started_at=AHEAD))
    assert ledger.usage.of("ada").audio_minutes_per_day == 0.0


@pytest.mark.parametrize("name", ["stored_bytes", "audio_minutes_per_day"])
def test_of_fifty_runs_at_one_time_exactly_ten_go_on(ledger: Ledger, name: str) -> None:
    """SPLIT-021: neither room nor the minutes of a day are given twice to songs that are staged side by side."""
    began = [bring(ledger, number, size_bytes=0, seconds_ago=25 * 3600) for number in range(50)]
    for number, job in enumerate(began):
        ledger.begin_run(f"s{number}", run_id=job, worker=current_worker(), actor="test")
    limit(ledger, name, 100)
    gate, told = threading.Barrier(50), Counter[str]()

    def go_on(number: int) -> None:
        gate.wait(30)
        try:
            if name == "stored_bytes":
                ledger.reservations.take(f"s{number}", "stems", size_bytes=10, run_id=began[number])
            else:
                ledger.admission.measure(f"s{number}", duration_s=600.0, job_uuid=began[number])
            told["goes on"] += 1
        except LimitReached as error:
            told[error.code.code] += 1

    threads = [threading.Thread(target=go_on, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert told == {"goes on": 10, "quota_exceeded" if name == "stored_bytes" else "daily_limit": 40}
    assert getattr(ledger.usage.of("ada"), name) == 100


def test_of_many_users_at_one_time_the_installation_takes_what_it_may(ledger: Ledger) -> None:
    """GLOBAL-001: quotas system-wide, under a race of users who each have room."""
    ledger.limits.set(LimitScope.SYSTEM, "", "stored_bytes", 700, actor="test")
    gate, taken, refusals = threading.Barrier(20), [], []

    def upload(number: int) -> None:
        gate.wait(30)
        try:
            ledger.register(fresh(number, user_id=f"u{number % 5}", size_bytes=100), JobOptions(), actor="test")
            taken.append(number)
        except LimitReached as error:
            refusals.append(error.describe())

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(taken), len(refusals)) == (7, 13)
    assert all(said.startswith("quota_exceeded: the installation") for said in refusals)
    assert ledger.usage.system().stored_bytes == 700


def test_a_day_later_there_is_room_again(ledger: Ledger) -> None:
    limit(ledger, "songs_per_day", 2)
    bring(ledger, 1, seconds_ago=86_400 + 60)
    bring(ledger, 2, seconds_ago=86_400 - 9000)
    bring(ledger, 3)
    error = refused(ledger, 4)
    assert error.code is ErrorCode.DAILY_LIMIT
    assert error.retry_after_s == pytest.approx(9000, abs=60)
    assert "try again in 3 hours" in error.detail
    bring(ledger, 5, user_id="bob")


def test_who_comes_too_often_is_told_when_to_come_again(ledger: Ledger) -> None:
    """Promise 21: the refusal of a rate limit names the seconds to wait."""
    limit(ledger, "submissions_per_minute", 2)
    bring(ledger, 1, seconds_ago=50)
    bring(ledger, 2)
    error = refused(ledger, 3)
    assert error.code is ErrorCode.RATE_LIMITED
    assert error.retry_after_s == pytest.approx(10, abs=5)
    assert error.code.facts.http_status == 429
    ledger.limits.set(LimitScope.SYSTEM, "", "submissions_per_minute", 2, actor="test")
    assert "the installation" in refused(ledger, 4, user_id="bob").detail


def test_minutes_count_as_the_size_suggests_until_they_are_measured(ledger: Ledger) -> None:
    limit(ledger, "audio_minutes_per_day", 10)
    job = bring(ledger, 1, expected_s=600.0)
    assert refused(ledger, 2).code is ErrorCode.DAILY_LIMIT
    ledger.admission.measure(ledger.job(job).song, duration_s=120.0)
    bring(ledger, 2, expected_s=900.0)
    assert ledger.usage.of("ada").audio_minutes_per_day == pytest.approx(17)
    with pytest.raises(LimitReached, match=r"2\.0 minutes .* 9\.0 more exceed the limit of 10"):
        ledger.admission.measure("s2", duration_s=540.0)
    assert ledger.song("s2").duration_s == 540.0
    ledger.admission.measure("s2", duration_s=480.0)


def test_a_song_that_was_refused_for_the_minutes_uses_none(ledger: Ledger) -> None:
    limit(ledger, "audio_minutes_per_day", 10)
    job = bring(ledger, 1, expected_s=599.0)
    error = JobError(code="daily_limit", detail="", remedy="", stage="staged_chunks")
    ledger.fail(job, error, actor="test")
    assert ledger.usage.of("ada").audio_minutes_per_day == 0
    again = ledger.retry(job, actor="test")
    assert ledger.usage.of("ada").audio_minutes_per_day == pytest.approx(599 / 60)
    assert again.attempt == 2


def stage(ledger: Ledger, job_uuid: str, *, minutes: float) -> bool:
    """Work on a job as far as its song is measured; return whether it was taken, and end it."""
    job = ledger.begin_run(ledger.job(job_uuid).song, run_id=job_uuid, worker=current_worker(), actor="test")
    try:
        ledger.admission.measure(job.song, duration_s=60.0 * minutes)
    except LimitReached as error:
        refusal = JobError(code=error.code.code, detail=error.detail, remedy="", stage="staged_chunks")
        ledger.fail(job_uuid, refusal, actor="test")
        return False
    ledger.start_stage(job_uuid, "staged_chunks")
    ledger.complete(job_uuid, actor="test")
    return True


def test_minutes_of_a_song_count_for_the_day_on_which_it_is_worked_on(ledger: Ledger) -> None:
    """Songs that were refused on one day are not all free on the next."""
    limit(ledger, "audio_minutes_per_day", 120)
    brought = [bring(ledger, number, seconds_ago=25 * 3600) for number in range(8)]
    assert [stage(ledger, job, minutes=60) for job in brought] == [True, True, *[False] * 6]
    assert ledger.usage.of("ada").audio_minutes_per_day == 120
    error = refused(ledger, 9)
    assert (error.code, error.retry_after_s) == (ErrorCode.DAILY_LIMIT, pytest.approx(86_400, abs=60))
    for song in ("s0", "s7"):
        deletion = ledger.deletions.request_song(song, actor="test")
        ledger.deletions.forget_songs([song], receipt=deletion.receipt, removed={})
    assert ledger.usage.of("ada").audio_minutes_per_day == 120, "also where one was deleted; a refused one had none"
    with ledger._database.write() as connection:
        connection.execute(update(stage_timings).values(started_at=fresh(0, seconds_ago=86_401).uploaded_at))
        connection.execute(delete(forgotten_songs))
    again = [ledger.retry(job, actor="test").job_uuid for job in brought[1:7]]
    assert stage(ledger, again[0], minutes=60), "it had its day"
    assert ledger.usage.of("ada").audio_minutes_per_day == 0
    assert [stage(ledger, job, minutes=60) for job in again[1:]] == [True, True, False, False, False]


def test_songs_of_yesterday_that_are_measured_at_one_time_do_not_share_the_minutes_of_today(ledger: Ledger) -> None:
    limit(ledger, "audio_minutes_per_day", 120)
    began = []
    for number in range(3):
        job = bring(ledger, number, seconds_ago=25 * 3600)
        ledger.begin_run(f"s{number}", run_id=job, worker=current_worker(), actor="test")
        began.append(job)
    ledger.admission.measure("s0", duration_s=3600.0, job_uuid=began[0])
    ledger.admission.measure("s1", duration_s=3600.0, job_uuid=began[1])
    with pytest.raises(LimitReached, match=r"120\.0 minutes .* 60\.0 more exceed the limit of 120"):
        ledger.admission.measure("s2", duration_s=3600.0, job_uuid=began[2])
    assert [[timing.stage for timing in ledger.job(job).stages] for job in began] == [["staged_chunks"]] * 2 + [[]]


def test_a_duplicate_is_told_so_and_not_that_there_is_no_room(ledger: Ledger) -> None:
    first = bring(ledger, 1)
    limit(ledger, "stored_bytes", 0)
    again = ledger.register(fresh(1, song="s99"), JobOptions(), actor="test")
    assert (again.duplicate, again.job.job_uuid) == (True, first)


def test_an_original_that_comes_back_after_it_was_discarded_is_counted_again(ledger: Ledger) -> None:
    bring(ledger, 1, size_bytes=70)
    ledger.usage.forget("s1", ORIGINAL)
    for _ in range(2):
        assert ledger.register(fresh(1, song="s99", size_bytes=70), JobOptions(), actor="test").duplicate
        assert ledger.usage.stored("s1") == {ORIGINAL: 70}
        assert ledger.usage.of("ada").stored_bytes == 70


def test_near_a_limit_uploader_and_history_are_warned(ledger: Ledger) -> None:
    """ORG-003: warn near the limit, refuse above it."""
    limit(ledger, "stored_bytes", 1000)
    assert ledger.register(fresh(1, size_bytes=899), JobOptions(), actor="t").warnings == ()
    near = ledger.register(fresh(2, size_bytes=1), JobOptions(), actor="t")
    assert near.warnings == ("user 'ada' uses 90% of stored_bytes: 900 of 1000",)
    assert near.warnings[0] in [line.detail for line in ledger.history(near.job.job_uuid)]
    assert refused(ledger, 3, size_bytes=101).code is ErrorCode.QUOTA_EXCEEDED


def test_what_stages_store_counts_and_what_is_discarded_does_not(ledger: Ledger) -> None:
    """ORG-003: bytes stored are originals and the files of every stage."""
    bring(ledger, 1, size_bytes=10)
    ledger.usage.record("s1", "stems", size_bytes=100)
    ledger.usage.record("s1", "stems", size_bytes=60)
    ledger.usage.record("s1", "staged_chunks", size_bytes=7)
    assert ledger.usage.stored("s1") == {ORIGINAL: 10, "stems": 60, "staged_chunks": 7}
    assert ledger.usage.of("ada").stored_bytes == 77
    ledger.usage.forget("s1", "stems")
    ledger.usage.forget("s1", "stems")
    assert ledger.usage.of("ada").stored_bytes == 17
    ledger.usage.forget("s1")
    assert (ledger.usage.of("ada").stored_bytes, ledger.usage.system().stored_bytes) == (0, 0)


def test_reserved_room_is_nobody_elses_and_can_be_given_back(ledger: Ledger) -> None:
    """SPLIT-021: songs that are staged side by side share no room."""
    begin(ledger, 1, size_bytes=10)
    begin(ledger, 2, size_bytes=10)
    limit(ledger, "stored_bytes", 100)
    reservation = ledger.reservations.take("s1", "staged_chunks", size_bytes=70, run_id="r1")
    assert (reservation.used_bytes, reservation.quota_bytes) == (90, 100)
    with pytest.raises(LimitReached, match="90 bytes of 100; 70 more for staged_chunks do not fit") as caught:
        ledger.reservations.take("s2", "staged_chunks", size_bytes=70, run_id="r2")
    assert caught.value.code is ErrorCode.QUOTA_EXCEEDED
    again = ledger.reservations.take("s1", "staged_chunks", size_bytes=80, run_id="r1")
    assert again.used_bytes == 100, "its own room is its own"
    ledger.reservations.give_back("s1", "staged_chunks", run_id="r1")
    assert ledger.usage.of("ada").stored_bytes == 20
    ledger.limits.set(LimitScope.SYSTEM, "", "stored_bytes", 50, actor="test")
    with pytest.raises(LimitReached, match="the installation"):
        ledger.reservations.take("s2", "staged_chunks", size_bytes=70, run_id="r2")


def test_room_that_a_killed_run_had_reserved_goes_with_the_run(ledger: Ledger) -> None:
    """Crashes cost nobody's quota: not while the song waits for its next attempt, and not once it is given up."""
    job = bring(ledger, 1, size_bytes=10)
    ledger.usage.record("s1", "stems", size_bytes=50)
    ended = []
    for crash in range(3):
        ledger.begin_run("s1", run_id=f"r{crash}", worker=DEAD, actor="run")
        ledger.reservations.take("s1", "staged_chunks", size_bytes=70, run_id=f"r{crash}")
        ledger.reservations.take("s1", "stems", size_bytes=90, run_id=f"r{crash}")
        assert ledger.usage.of("ada").stored_bytes == 170
        ended.append(ledger.requeue_crashed(job, actor="reconciler").state)
        assert ledger.usage.of("ada").stored_bytes == 60
        assert ledger.usage.stored("s1") == {ORIGINAL: 10, "stems": 50}
    assert ended == ["queued", "queued", "failed"]


@pytest.mark.parametrize("end", ["fail", "hold", "later", "canceled", "complete", "requeue_interrupted"])
def test_room_that_was_reserved_and_not_used_goes_however_the_job_ends(ledger: Ledger, end: str) -> None:
    """Between making a stage's files and counting them, storing them may fail."""
    job = bring(ledger, 1, size_bytes=10)
    ledger.begin_run("s1", run_id="r", worker=current_worker(), actor="run")
    ledger.reservations.take("s1", "staged_chunks", size_bytes=70, run_id="r")
    ledger.usage.record("s1", "staged_chunks", size_bytes=60)
    ledger.reservations.take("s1", "stems", size_bytes=90, run_id="r")
    of = ledger.attempts if end == "later" else ledger
    error = () if end in ("canceled", "complete", "requeue_interrupted") else (ERROR,)
    getattr(of, end)(job, *error, actor="run")
    assert ledger.usage.of("ada").stored_bytes == 70
    assert ledger.usage.stored("s1") == {ORIGINAL: 10, "staged_chunks": 60}


def test_a_run_that_was_given_up_reserves_nothing_and_frees_nothing_of_the_run_that_took_over(ledger: Ledger) -> None:
    """A machine that was asleep goes on encoding; who knows no job of its own any more ends no reservation either."""
    job = begin(ledger, 1, size_bytes=10)
    for _ in range(2):
        ledger.requeue_crashed(job, actor="reconciler")
        with pytest.raises(PermanentFailure, match="run r1 was given up") as caught:
            ledger.reservations.take("s1", "stems", size_bytes=70, run_id="r1")
        assert caught.value.code is ErrorCode.SUPERSEDED
        assert ledger.usage.of("ada").stored_bytes == 10
        ledger.begin_run("s1", run_id="r2", worker=DEAD, actor="run")
    ledger.reservations.take("s1", "stems", size_bytes=50, run_id="r2")
    with pytest.raises(PermanentFailure, match="run r1 was given up"):
        ledger.reservations.take("s1", "stems", size_bytes=70, run_id="r1")
    ledger.reservations.give_back("s1", "stems", run_id="r1")
    assert ledger.usage.of("ada").stored_bytes == 60
    assert ledger.requeue_crashed(job, actor="reconciler").state == "failed"
    ledger.reservations.give_back("s1", "stems", run_id="r2")
    with pytest.raises(PermanentFailure, match="run r2 was given up"):
        ledger.reservations.take("s1", "stems", size_bytes=70, run_id="r2")
    assert ledger.usage.of("ada").stored_bytes == 10, "nothing stays of a song that was given up"


def test_what_a_run_that_was_given_up_stores_counts_and_frees_nothing_that_the_other_reserved(ledger: Ledger) -> None:
    job = begin(ledger, 1, size_bytes=10)
    ledger.requeue_crashed(job, actor="reconciler")
    ledger.begin_run("s1", run_id="r2", worker=current_worker(), actor="run")
    ledger.reservations.take("s1", "stems", size_bytes=50, run_id="r2")
    ledger.usage.record("s1", "stems", size_bytes=45, run_id="r1")
    assert (ledger.usage.stored("s1")["stems"], ledger.usage.of("ada").stored_bytes) == (45, 105)
    ledger.usage.record("s1", "stems", size_bytes=45, run_id="r2")
    assert ledger.usage.of("ada").stored_bytes == 55


def test_nothing_is_reserved_between_the_look_at_what_a_run_reserved_and_its_end(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, told = begin(ledger, 1, size_bytes=10), []

    def reserve() -> None:
        try:
            ledger.reservations.take("s1", "stems", size_bytes=70, run_id="r1")
        except PermanentFailure as error:
            told.append(error.code)

    late = threading.Thread(target=reserve)

    def look(*arguments: Any) -> bool:
        found = has_reserved(*arguments)
        late.start()
        late.join(1.0)
        return found

    monkeypatch.setattr(changes, "has_reserved", look)
    ledger.requeue_crashed(job, actor="reconciler")
    late.join(30)
    assert (told, ledger.usage.of("ada").stored_bytes) == ([ErrorCode.SUPERSEDED], 10)


def test_counting_again_leaves_the_room_that_a_run_writes_into(ledger: Ledger) -> None:
    """Else whoever counts while songs are worked on gives their room to others, and the user ends over the quota."""
    job = begin(ledger, 1, size_bytes=10)
    begin(ledger, 2, size_bytes=10)
    limit(ledger, "stored_bytes", 100)
    ledger.usage.record("s1", "stems", size_bytes=20)
    ledger.reservations.take("s1", "stems", size_bytes=70, run_id="r1")
    assert ledger.usage.replace([("s1", {ORIGINAL: 10, "stems": 20})]) == 0
    assert ledger.usage.replace([("s1", {ORIGINAL: 10, "stems": 25})]) == 1
    assert ledger.usage.of("ada").stored_bytes == 95
    with pytest.raises(LimitReached, match="95 bytes of 100"):
        ledger.reservations.take("s2", "stems", size_bytes=10, run_id="r2")
    ledger.fail(job, ERROR, actor="run")
    assert ledger.usage.of("ada").stored_bytes == 45


def test_who_stores_no_more_than_before_is_not_refused_and_who_is_over_a_quota_is_told(ledger: Ledger) -> None:
    """ORG-003: only what is added matters where a result replaces another."""
    begin(ledger, 1, size_bytes=10)
    ledger.usage.record("s1", "stems", size_bytes=50)
    limit(ledger, "stored_bytes", 40)
    assert ledger.reservations.take("s1", "stems", size_bytes=50, run_id="r1").used_bytes == 60
    with pytest.raises(LimitReached, match="10 bytes of 40; 51 more for stems"):
        ledger.reservations.take("s1", "stems", size_bytes=51, run_id="r1")
    assert ledger.reservations.take("s1", "stems", size_bytes=30, run_id="r1").used_bytes == 60, (
        "until they are replaced"
    )
    limit(ledger, "stored_bytes", None)
    ledger.limits.set(LimitScope.SYSTEM, "", "stored_bytes", 40, actor="test")
    with pytest.raises(LimitReached, match="the installation stores 10 bytes of 40"):
        ledger.reservations.take("s1", "stems", size_bytes=51, run_id="r1")
    assert ledger.usage.stored("s1") == {ORIGINAL: 10, "stems": 50}


def test_a_song_that_is_forgotten_leaves_its_users_account(ledger: Ledger) -> None:
    bring(ledger, 1, size_bytes=10)
    bring(ledger, 2, size_bytes=20)
    ledger.usage.record("s1", "stems", size_bytes=5)
    with ledger._database.write() as connection:
        assert forget_songs(connection, ["s1"], receipt="r") >= 2
    assert ledger.usage.of("ada").stored_bytes == 20


@pytest.mark.parametrize(
    ("name", "window_s"), [("songs_per_day", 86_400), ("audio_minutes_per_day", 86_400), ("submissions_per_minute", 60)]
)
def test_who_hands_in_and_deletes_has_had_his_share(ledger: Ledger, name: str, window_s: float) -> None:
    """Deleting makes room for bytes; it gives no second helping of songs, minutes or submissions."""
    bring(ledger, 1, seconds_ago=20)
    bring(ledger, 2)
    before = ledger.usage.of("ada")
    asked = [ledger.deletions.request_song(song, actor="test") for song in ("s1", "s2")]
    for forgotten in range(3):
        after = ledger.usage.of("ada")
        assert after.stored_bytes == 0 < before.stored_bytes
        assert after.model_copy(update={"stored_bytes": before.stored_bytes}) == before
        if forgotten < len(asked):
            song = asked[forgotten].subject
            ledger.deletions.forget_songs([str(song)], receipt=asked[forgotten].receipt, removed={})
    limit(ledger, name, getattr(before, name))
    error = refused(ledger, 3)
    assert error.code in (ErrorCode.DAILY_LIMIT, ErrorCode.RATE_LIMITED)
    assert error.retry_after_s == pytest.approx(window_s - 20, abs=10)


def test_a_song_of_yesterday_that_was_begun_today_counts_for_the_minutes_alone_when_it_was_deleted(
    ledger: Ledger,
) -> None:
    """What was not handed in today is no song of today, whatever became of it."""
    limit(ledger, "audio_minutes_per_day", 120)
    assert stage(ledger, bring(ledger, 1, seconds_ago=25 * 3600), minutes=60)
    before = ledger.usage.of("ada")
    assert (before.songs_per_day, before.submissions_per_minute, before.audio_minutes_per_day) == (0, 0, 60)
    deletion = ledger.deletions.request_song("s1", actor="test")
    ledger.deletions.forget_songs(["s1"], receipt=deletion.receipt, removed={})
    assert ledger.usage.of("ada") == before.model_copy(update={"stored_bytes": 0})
    limit(ledger, "audio_minutes_per_day", 60)
    assert refused(ledger, 2).retry_after_s == pytest.approx(86_400, abs=60)


def test_refused_files_that_are_deleted_have_been_handed_in_all_the_same(ledger: Ledger) -> None:
    limit(ledger, "submissions_per_minute", 2)
    ledger.limits.set(LimitScope.SYSTEM, "", "submissions_per_minute", 2, actor="test")
    error = JobError(code="too_large", detail="", remedy="")
    for number in (1, 2):
        song = fresh(number, sha256="", archive_path="error/s/original")
        ledger.register(song, JobOptions(), actor="t", error=error)
        deletion = ledger.deletions.request_song(song.song, actor="test")
        ledger.deletions.forget_songs([song.song], receipt=deletion.receipt, removed={})
    assert refused(ledger, 3).code is ErrorCode.RATE_LIMITED
    used = ledger.usage.of("ada")
    assert (used.songs_per_day, used.audio_minutes_per_day, used.submissions_per_minute) == (0, 0, 2)
    assert ledger.usage.system().submissions_per_minute == 0
    bring(ledger, 4, user_id="bob")


def test_a_share_that_counts_no_more_is_not_kept(ledger: Ledger) -> None:
    bring(ledger, 1)
    bring(ledger, 2, user_id="bob")
    with ledger._database.write() as connection:
        forget_songs(connection, ["s1"], receipt="r")
        connection.execute(update(forgotten_songs).values(LONG_AGO))
        forget_songs(connection, ["s2"], receipt="r")
        assert connection.execute(select(forgotten_songs.c.user_id)).scalars().all() == ["bob"]
        connection.execute(update(forgotten_songs).values(LONG_AGO))
    ledger.usage.drop_old_shares()
    with ledger._database.read() as connection:
        assert connection.execute(select(forgotten_songs)).all() == []


def test_counting_again_mends_an_account_that_is_wrong(ledger: Ledger) -> None:
    bring(ledger, 1, size_bytes=10)
    bring(ledger, 2, size_bytes=20, user_id="bob")
    ledger.usage.record("s1", "stems", size_bytes=5)
    with ledger._database.write() as connection:
        connection.execute(update(users).values(stored_bytes=99))
    found = [("s1", {ORIGINAL: 10}), ("s2", {ORIGINAL: 20, "stems": 7}), ("unknown", {"stems": 1})]
    assert ledger.usage.replace(found) == 2
    assert (ledger.usage.of("ada").stored_bytes, ledger.usage.of("bob").stored_bytes) == (10, 27)
    assert ledger.usage.replace(found) == 0


def test_a_refused_file_is_noted_and_counts_against_no_quota(ledger: Ledger) -> None:
    limit(ledger, "stored_bytes", 0)
    error = JobError(code="too_large", detail="", remedy="")
    ledger.register(fresh(1, sha256="", archive_path="error/s/quarantined"), JobOptions(), actor="t", error=error)
    assert [user.user_id for user in ledger.users.list()] == ["ada"]
    assert ledger.usage.of("ada").songs_per_day == 0
    ledger.users.set_disabled("ada", True, actor="t")
    with pytest.raises(IroncladError):
        ledger.register(fresh(2, sha256="", archive_path="error/s/quarantined"), JobOptions(), actor="t", error=error)


def test_files_refused_unread_count_for_their_users_rate_alone(ledger: Ledger) -> None:
    """Somebody's refused files neither come without end nor keep others out."""
    limit(ledger, "submissions_per_minute", 2)
    ledger.limits.set(LimitScope.SYSTEM, "", "submissions_per_minute", 2, actor="test")
    error = JobError(code="too_large", detail="", remedy="")

    def refuse(number: int) -> bool:
        song = fresh(number, seconds_ago=20, sha256="", archive_path="error/s/original")
        return ledger.register(song, JobOptions(), actor="t", error=error).duplicate

    assert [refuse(1), refuse(2), refuse(2)] == [False, False, True]
    with pytest.raises(LimitReached) as caught:
        refuse(3)
    assert caught.value.code is ErrorCode.RATE_LIMITED
    assert caught.value.retry_after_s == pytest.approx(40, abs=10)
    assert refused(ledger, 4).code is ErrorCode.RATE_LIMITED
    assert ledger.usage.system().submissions_per_minute == 0
    bring(ledger, 5, user_id="bob")
    bring(ledger, 6, user_id="bob")
    assert refused(ledger, 7, user_id="bob").retry_after_s == pytest.approx(60, abs=10)


def test_whoever_counts_at_one_time_neither_blocks_another_nor_loses_a_byte(ledger: Ledger) -> None:
    """Locks are taken in one order: first the song's, then its user's turn."""
    ledger.limits.set(LimitScope.SYSTEM, "", "stored_bytes", 10**15, actor="test")
    for number in range(8):
        bring(ledger, number, user_id=f"u{number % 3}")
    numbers, failed = itertools.count(100), []

    def forget_a_song(song: str, size_bytes: int) -> None:
        with ledger._database.write() as connection:
            connection.execute(select(songs.c.song).where(songs.c.song == song).with_for_update())
            forget_stored(connection, song, "stems")

    def crash_a_run(song: str) -> None:
        job = ledger.begin_run(song, run_id=uuid.uuid4().hex, worker=DEAD, actor="run")
        ledger.requeue_crashed(job.job_uuid, actor="reconciler", limit=10**6)

    def reserve_in_a_run(song: str, size_bytes: int) -> None:
        run_id = ledger.begin_run(song, run_id=uuid.uuid4().hex, worker=DEAD, actor="run").run_id or ""
        with suppress(PermanentFailure):  # another one took the song
            ledger.reservations.take(song, "staged_chunks", size_bytes=size_bytes, run_id=run_id)

    acts: list[Callable[[str, int], object]] = [
        forget_a_song,
        lambda song, _: crash_a_run(song),
        lambda song, size: ledger.usage.record(song, "stems", size_bytes=size),
        reserve_in_a_run,
        lambda song, size: ledger.admission.measure(song, duration_s=float(size)),
        lambda _, size: bring(ledger, next(numbers), user_id=f"u{size % 3}"),
        lambda *_: ledger.usage.replace([(f"s{number}", {ORIGINAL: 100 + number}) for number in range(8)]),
    ]

    def hammer(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(10):
            try:
                choose.choice(acts)(f"s{choose.randrange(8)}", choose.randrange(1000))
            except IroncladError as error:
                failed.append(error.describe())

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failed == []
    totals = {user.user_id: user.stored_bytes for user in ledger.users.list()}
    entries = select(songs.c.user_id, func.sum(stored_artifacts.c.size_bytes)).group_by(songs.c.user_id)
    with ledger._database.read() as connection:
        found = connection.execute(entries.join(stored_artifacts, stored_artifacts.c.song == songs.c.song))
        assert totals == {row[0]: row[1] for row in found}, "what is reserved included"
    for song in ledger.usage.songs():
        crash_a_run(song.song)
    counted = Counter[str]()
    for song in ledger.usage.songs():
        counted[song.user_id] += sum(ledger.usage.stored(song.song).values())
    assert {user.user_id: user.stored_bytes for user in ledger.users.list()} == counted


def test_an_original_of_several_users_goes_while_their_other_songs_are_counted(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users' turns are taken in one order too, whatever the order of their songs."""
    for number, user_id in enumerate(["bob", "ada", "ada", "bob"]):
        bring(ledger, number, user_id=user_id)
    corrected: list[int] = []
    counting = threading.Thread(target=lambda: corrected.append(ledger.usage.replace([("s2", {}), ("s3", {})])))

    def let_the_other_one_begin(connection: Connection, song: str, stage: str) -> None:
        forget_stored(connection, song, stage)
        if song == "s0":
            counting.start()
            counting.join(1.0)

    monkeypatch.setattr(usage, "forget_stored", let_the_other_one_begin)
    with ledger.sweeps.hold_idle(["s0", "s1"]) as (connection, _):
        forget_stored_of(connection, ["s0", "s1"], ORIGINAL)
    counting.join(60)
    assert corrected == [2]
    assert ledger.usage.system().stored_bytes == 0


def test_the_limits_of_one_user_are_found_without_reading_those_of_all(tmp_path: Path) -> None:
    """They are asked for several times for each upload, with the ledger's only writer waiting."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    asked: list[tuple[str, tuple[object, ...]]] = []
    engine = ledger._database._open()
    event.listen(engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
    ledger.limits.effective("ada")
    about = [one for one in asked if "FROM limits" in one[0]]
    with ledger._database.read() as connection:
        plans = [
            str(row.detail)
            for statement, values in about
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
    ledger.close()
    assert len(about) == 1
    assert [plan for plan in plans if plan.startswith("SCAN")] == []
    assert any(plan.startswith("SEARCH limits") for plan in plans)


def test_a_deletion_looks_at_its_own_songs_jobs_however_many_others_were_begun_today(tmp_path: Path) -> None:
    """Nobody else writes meanwhile: after a day with 40,000 songs each that was deleted had taken 150 ms."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    asked: list[tuple[str, tuple[object, ...]]] = []
    engine = ledger._database._open()
    event.listen(engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
    with ledger._database.write() as connection:
        forget_songs(connection, ["s1"], receipt="r")
        plans = [
            str(row.detail)
            for statement, values in asked
            if statement.startswith("INSERT INTO forgotten_songs")
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
    ledger.close()
    assert [plan for plan in plans if plan.startswith("SEARCH jobs ") and "(song=?)" not in plan] == []
    assert any(plan.startswith("SEARCH jobs ") for plan in plans)
