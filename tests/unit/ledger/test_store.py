"""Jobs as users and the dispatcher change them."""

import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.transitions import FOLLOWERS, check_transition
from ironclad_assets.ledger.worker import current_worker
from tests.unit.ledger.conftest import ERROR, add_song, make_song


def refusal(caught: pytest.ExceptionInfo[IroncladError]) -> ErrorCode:
    return caught.value.code


def test_a_registered_song_has_a_queued_job_with_its_options(ledger: Ledger) -> None:
    options = JobOptions(engine="spectral", targets=("vocals", "drums+bass"), parameters={"sharpness": 0.5})
    registration = ledger.register(make_song(), options, actor="cli:ada", priority=3)
    job = ledger.job(registration.job.job_uuid)
    assert not registration.duplicate
    assert (job.state, job.attempt, job.priority, job.options) == (JobState.QUEUED, 1, 3, options)
    assert (job.original_name, job.user_id, job.fraction, job.stages) == ("song 1.mp3", "ada", 0.0, ())
    assert ledger.song("s1") == make_song()


def test_the_same_bytes_of_the_same_user_are_one_song(ledger: Ledger) -> None:
    """DUP-001."""
    first = ledger.register(make_song(), JobOptions(), actor="test")
    again = make_song().model_copy(update={"song": "s2", "original_name": "other name.mp3"})
    second = ledger.register(again, JobOptions(engine="other"), actor="test")
    assert second.duplicate
    assert second.job == first.job
    assert len(ledger.jobs()) == 1
    with pytest.raises(IroncladError) as caught:
        ledger.song("s2")
    assert refusal(caught) is ErrorCode.UNKNOWN_SONG


def test_the_same_bytes_of_another_user_are_a_song_of_their_own(ledger: Ledger) -> None:
    add_song(ledger)
    other = make_song().model_copy(update={"song": "s2", "user_id": "bob"})
    assert not ledger.register(other, JobOptions(), actor="test").duplicate
    found = ledger.find_song("bob", other.sha256)
    assert found is not None
    assert found.song == "s2"
    assert ledger.find_song("eve", other.sha256) is None


def test_a_duplicate_shows_the_latest_job_of_its_song(ledger: Ledger) -> None:
    first = add_song(ledger)
    ledger.request_cancel(first, actor="test")
    latest = ledger.retry(first, actor="test")
    assert ledger.register(make_song(), JobOptions(), actor="test").job.job_uuid == latest.job_uuid


def test_a_file_refused_unread_is_a_failed_job_that_tells_why(ledger: Ledger) -> None:
    """CAT-003."""
    refused = make_song().model_copy(update={"sha256": ""})
    job = ledger.register(refused, JobOptions(), actor="watcher", error=ERROR).job
    assert (job.state, job.error) == (JobState.FAILED, ERROR)
    assert ledger.song("s1").sha256 == ""
    other = refused.model_copy(update={"song": "s2"})
    assert not ledger.register(other, JobOptions(), actor="watcher", error=ERROR).duplicate
    assert ledger.register(refused, JobOptions(), actor="watcher", error=ERROR).duplicate
    assert ledger.usage.of("ada").stored_bytes == 0


def test_a_file_refused_unread_cannot_be_retried(ledger: Ledger) -> None:
    refused = make_song().model_copy(update={"sha256": ""})
    job = ledger.register(refused, JobOptions(), actor="watcher", error=ERROR).job
    with pytest.raises(IroncladError, match="upload it again") as caught:
        ledger.retry(job.job_uuid, actor="test")
    assert refusal(caught) is ErrorCode.NOT_AUDIO


def test_unknown_ids_are_refused_by_name(ledger: Ledger) -> None:
    for question in (ledger.job, ledger.resolve, lambda text: ledger.retry(text, actor="test")):
        with pytest.raises(IroncladError, match="nothing") as caught:
            question("nothing")
        assert refusal(caught) is ErrorCode.UNKNOWN_JOB
    assert ledger.latest_job("nothing") is None
    assert ledger.active_job("nothing") is None
    assert ledger.history("nothing") == []
    assert not ledger.cancel_requested("nothing")


def test_a_job_is_found_by_id_by_song_and_by_the_start_of_its_id(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    for text in (job_uuid, "s1", job_uuid[:8]):
        assert ledger.resolve(text).job_uuid == job_uuid
    for text in (job_uuid[:3], "%", "____"):
        with pytest.raises(IroncladError):
            ledger.resolve(text)


def test_a_start_that_fits_several_jobs_is_refused(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    from ironclad_assets.ledger import rows

    ids = iter(["aaaa1", "trace1", "aaaa2", "trace2"])

    class Fixed(str):
        @property
        def hex(self) -> str:
            return str(self)

    monkeypatch.setattr(rows.uuid, "uuid4", lambda: Fixed(next(ids)))
    add_song(ledger, 1)
    add_song(ledger, 2)
    with pytest.raises(IroncladError, match="several"):
        ledger.resolve("aaaa")
    assert ledger.resolve("aaaa2").song == "s2"


def test_jobs_are_listed_newest_first_and_filtered(ledger: Ledger) -> None:
    first, second, third = add_song(ledger, 1), add_song(ledger, 2, user_id="bob"), add_song(ledger, 3)
    ledger.request_cancel(third, actor="test")
    assert [job.job_uuid for job in ledger.jobs()] == [third, second, first]
    assert [job.job_uuid for job in ledger.jobs(user_id="ada")] == [third, first]
    assert [job.job_uuid for job in ledger.jobs(states=[JobState.QUEUED], limit=1)] == [second]
    counts = ledger.count_by_state()
    assert set(counts) == set(JobState)
    assert (counts[JobState.QUEUED], counts[JobState.CANCELED], counts[JobState.RUNNING]) == (2, 1, 0)
    assert ledger.usage.of("ada").stored_bytes == 101 + 103


def test_users_take_turns_and_priority_goes_first(ledger: Ledger) -> None:
    a1, a2, a3 = (add_song(ledger, number, user_id="ada") for number in (1, 2, 3))
    b1 = add_song(ledger, 4, user_id="bob")
    urgent = add_song(ledger, 5, user_id="ada", priority=1)
    assert [job.job_uuid for job in ledger.dispatchable(limit=10)] == [urgent, b1, a1, a2, a3]
    assert [job.job_uuid for job in ledger.dispatchable(limit=2)] == [urgent, b1]


def test_noting_that_nothing_was_dispatched_takes_no_write_lock(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: Database) -> None:
        raise AssertionError("the write lock was taken")

    monkeypatch.setattr(Database, "write", write)
    ledger.mark_dispatched([])
    with pytest.raises(AssertionError):
        ledger.mark_dispatched(["a job"])


def test_a_dispatched_job_is_not_dispatched_again_until_that_is_taken_back(ledger: Ledger) -> None:
    first, second = add_song(ledger, 1), add_song(ledger, 2)
    assert ledger.seconds_since_dispatch(first) == 0.0
    ledger.mark_dispatched([first])
    assert 0.0 <= ledger.seconds_since_dispatch(first) < 60.0
    assert [job.job_uuid for job in ledger.dispatchable(limit=10)] == [second]
    assert [job.job_uuid for job in ledger.dispatched_not_started()] == [first]
    assert ledger.dispatched_not_started(older_than_s=60.0) == []
    ledger.undispatch(first)
    assert [job.job_uuid for job in ledger.dispatchable(limit=10)] == [first, second]
    assert ledger.job(first).attempt == 1
    ledger.request_cancel(first, actor="test")
    with pytest.raises(IroncladError) as caught:
        ledger.undispatch(first)
    assert refusal(caught) is ErrorCode.ILLEGAL_TRANSITION


def test_a_waiting_job_is_canceled_at_once(ledger: Ledger) -> None:
    """JOB-002."""
    job_uuid = add_song(ledger)
    assert ledger.request_cancel(job_uuid, actor="test").state is JobState.CANCELED
    assert ledger.cancel_requested(job_uuid)
    with pytest.raises(IroncladError, match="canceled and cannot become canceled") as caught:
        ledger.request_cancel(job_uuid, actor="test")
    assert refusal(caught) is ErrorCode.ILLEGAL_TRANSITION


def test_a_running_job_is_asked_to_stop_once(ledger: Ledger) -> None:
    """JOB-002."""
    job_uuid = add_song(ledger)
    ledger.begin_run("s1", run_id="r1", worker=current_worker(), actor="run")
    assert not ledger.cancel_requested(job_uuid)
    job = ledger.request_cancel(job_uuid, actor="test")
    assert (job.state, job.cancel_requested) == (JobState.RUNNING, True)
    assert ledger.cancel_requested(job_uuid)
    before = ledger.history(job_uuid)
    assert ledger.request_cancel(job_uuid, actor="test") == job
    assert ledger.history(job_uuid) == before
    assert ledger.canceled(job_uuid, actor="run").state is JobState.CANCELED


def test_a_held_job_comes_back_as_a_new_attempt_without_its_reason(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    ledger.mark_dispatched([job_uuid])
    held = ledger.hold(job_uuid, ERROR, actor="dispatcher")
    assert (held.state, held.error) == (JobState.HELD, ERROR)
    assert ledger.dispatchable(limit=1) == []
    released = ledger.release(job_uuid, actor="dispatcher")
    assert (released.state, released.error, released.attempt) == (JobState.QUEUED, None, 2)
    assert [job.job_uuid for job in ledger.dispatchable(limit=1)] == [job_uuid]
    with pytest.raises(IroncladError, match="not held") as caught:
        ledger.release(job_uuid, actor="dispatcher")
    assert refusal(caught) is ErrorCode.ILLEGAL_TRANSITION


def test_a_song_has_one_active_job(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    with pytest.raises(IroncladError, match="queued") as caught:
        ledger.retry(job_uuid, actor="test")
    assert refusal(caught) is ErrorCode.JOB_ACTIVE


def test_the_database_itself_refuses_a_second_active_job(ledger: Ledger) -> None:
    """QUEUE-002."""
    from sqlalchemy import insert
    from sqlalchemy.exc import IntegrityError

    from ironclad_assets.ledger.rows import new_job_values
    from ironclad_assets.ledger.tables import jobs

    add_song(ledger)
    values = new_job_values(make_song(), options=JobOptions(), attempt=2, state=JobState.HELD, priority=0)
    with pytest.raises(IntegrityError), ledger._database.write() as connection:
        connection.execute(insert(jobs).values(values))


def test_a_retry_is_a_new_job_with_new_or_inherited_options(ledger: Ledger) -> None:
    """QUEUE-004."""
    song = make_song()
    first = ledger.register(song, JobOptions(engine="spectral"), actor="test", priority=2).job
    ledger.fail(first.job_uuid, ERROR, actor="run")
    second = ledger.retry(first.job_uuid, actor="test")
    assert (second.attempt, second.options, second.priority) == (2, first.options, 2)
    assert (second.error, second.state) == (None, JobState.QUEUED)
    ledger.request_cancel(second.job_uuid, actor="test")
    third = ledger.retry(first.job_uuid, actor="test", options=JobOptions(engine="other"))
    assert (third.attempt, third.options.engine) == (3, "other")
    assert ledger.job(first.job_uuid).error == ERROR


def test_history_tells_who_did_what_in_order(ledger: Ledger) -> None:
    """WATCH-003: wall clock in UTC and a monotonic stamp."""
    job_uuid = add_song(ledger)
    ledger.hold(job_uuid, ERROR, actor="dispatcher")
    ledger.release(job_uuid, actor="operator")
    ledger.request_cancel(job_uuid, actor="cli:ada")
    lines = ledger.history(job_uuid)
    assert [(line.actor, line.from_state, line.to_state) for line in lines] == [
        ("test", None, "queued"),
        ("dispatcher", "queued", "held"),
        ("operator", "held", "queued"),
        ("cli:ada", "queued", "canceled"),
    ]
    assert lines[1].detail == "not_audio: a zip"
    assert all(line.at.endswith("+00:00") for line in lines)
    assert [line.monotonic_ns for line in lines] == sorted(line.monotonic_ns for line in lines)


@pytest.mark.parametrize("before", [None, *JobState])
@pytest.mark.parametrize("after", JobState)
def test_a_transition_is_legal_only_where_the_table_says_so(before: JobState | None, after: JobState) -> None:
    """QUEUE-002, JOB-001."""
    if after in FOLLOWERS[before]:
        check_transition(before, after=after, subject="job x")
    else:
        with pytest.raises(IroncladError, match="job x") as caught:
            check_transition(before, after=after, subject="job x")
        assert refusal(caught) is ErrorCode.ILLEGAL_TRANSITION


def test_a_job_that_ended_never_changes_again() -> None:
    assert all(FOLLOWERS[state] == () for state in JobState if not state.active)


def test_an_upload_that_loses_the_race_to_the_same_bytes_is_their_duplicate(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DUP-001: also where the database lets two writers look at the same time."""
    from ironclad_assets.ledger import registration

    first = add_song(ledger)
    monkeypatch.setattr(registration, "find_registration", lambda connection, song: None)
    again = ledger.register(make_song().model_copy(update={"song": "s9"}), JobOptions(), actor="test")
    assert (again.job.job_uuid, again.duplicate) == (first, True)


def test_an_id_that_is_taken_is_never_given_to_other_bytes(ledger: Ledger) -> None:
    from sqlalchemy.exc import IntegrityError

    add_song(ledger)
    with pytest.raises(IntegrityError):
        ledger.register(make_song(2).model_copy(update={"song": "s1"}), JobOptions(), actor="test")
    assert len(ledger.jobs()) == 1


def test_a_running_job_without_a_worker_is_not_reported_as_one_with(ledger: Ledger) -> None:
    from sqlalchemy import update

    from ironclad_assets.ledger.tables import jobs

    add_song(ledger)
    with ledger._database.write() as connection:
        connection.execute(update(jobs).values(state="running"))
    assert ledger.running_jobs() == []


def test_a_closed_ledger_opens_again_when_it_is_asked(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    ledger.close()
    ledger.close()
    assert ledger.job(job_uuid).song == "s1"
