"""Deletions in the ledger: what a request changes at once, what is forgotten, and what stays as proof."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import select

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.contracts.v1.limits import LimitScope
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.ledger import deletions, rows
from ironclad_assets.ledger.forget import forget_songs
from ironclad_assets.ledger.reads import lock_jobs, require_song
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.tables import metadata, tombstones
from ironclad_assets.ledger.tombstones import add_tombstones, digest_of
from ironclad_assets.ledger.usage import ORIGINAL, record_stored
from ironclad_assets.ledger.worker import current_worker
from tests.unit.ledger.conftest import ERROR, add_song, counted_statements, make_song


def code_of(raised: pytest.ExceptionInfo[IroncladError]) -> ErrorCode:
    return raised.value.code


def everything(ledger: Ledger) -> str:
    """Return all rows of all tables as text."""
    with ledger._database.read() as connection:
        return json.dumps([[str(row) for row in connection.execute(select(table))] for table in metadata.sorted_tables])


def test_a_request_cancels_what_waits_and_asks_what_runs_to_stop(ledger: Ledger) -> None:
    waiting, running = add_song(ledger, 1), add_song(ledger, 2)
    ledger.begin_run("s2", run_id="r", worker=current_worker(), actor="test")
    for song in ("s1", "s2"):
        ledger.deletions.request_song(song, actor="test")
    assert ledger.job(waiting).state is JobState.CANCELED
    assert (ledger.job(running).state, ledger.job(running).cancel_requested) == (JobState.RUNNING, True)


def test_asking_twice_is_one_deletion(ledger: Ledger) -> None:
    add_song(ledger)
    first = ledger.deletions.request_song("s1", actor="test")
    assert ledger.deletions.request_song("s1", actor="another") == first
    assert ledger.deletions.open() == [first]


def test_a_song_that_is_being_deleted_begins_nothing_and_is_nobodys_duplicate(ledger: Ledger) -> None:
    job = add_song(ledger)
    ledger.deletions.request_song("s1", actor="test")
    with pytest.raises(IroncladError) as raised:
        ledger.retry(job, actor="test")
    assert code_of(raised) is ErrorCode.DELETED
    with pytest.raises(IroncladError) as raised:
        ledger.begin_run("s1", run_id="new", worker=current_worker(), actor="test")
    assert code_of(raised) is ErrorCode.DELETED
    again = make_song().model_copy(update={"song": "s9"})
    assert not ledger.register(again, JobOptions(), actor="test").duplicate


def test_a_song_is_there_until_its_deletion_is_asked_for(ledger: Ledger) -> None:
    add_song(ledger)
    assert (ledger.has_song("s1"), ledger.has_song("s2")) == (True, False)
    deletion = ledger.deletions.request_song("s1", actor="test")
    assert not ledger.has_song("s1")
    ledger.deletions.forget_songs(["s1"], receipt=deletion.receipt, removed={})
    assert not ledger.has_song("s1")


def test_nothing_names_a_song_after_it_was_forgotten_but_its_tombstone(ledger: Ledger) -> None:
    """GLOBAL-004: no row of the ledger tells of it."""
    add_song(ledger, 7)
    other = add_song(ledger, 8, user_id="bob")
    ledger.audit.write("note", "s7", actor="test", detail="song 7.mp3")
    deletion = ledger.deletions.request_song("s7", actor="test")
    (traces,) = ledger.deletions.traces(deletion)
    ledger.deletions.forget_songs(["s7"], receipt=deletion.receipt, removed={})
    ledger.deletions.forget_subject(deletion.receipt, removed={"archive": {"count": 1, "bytes": 107}})
    done = ledger.deletions.finish(deletion.receipt)
    assert ledger.deletions.finish(deletion.receipt) == done
    left = everything(ledger)
    assert not [name for name in (*traces.ids, "'s7'", "song 7.mp3") if name in left]
    assert (done.done, done.subject) == (True, None)
    removed = dict(done.removed or {})
    assert removed.pop("records")["count"] >= 4
    assert removed == {"archive": {"count": 1, "bytes": 107}}
    assert ledger.job(other).song == "s8"
    for question in (lambda: ledger.song("s7"), lambda: ledger.resolve("s7"), lambda: ledger.job(traces.job_uuids[0])):
        with pytest.raises(IroncladError) as raised:
            question()
        assert code_of(raised) is ErrorCode.DELETED


def test_what_was_never_here_is_unknown_and_not_deleted(ledger: Ledger) -> None:
    for song, code in (("s1", ErrorCode.UNKNOWN_SONG),):
        with pytest.raises(IroncladError) as raised:
            ledger.deletions.request_song(song, actor="test")
        assert code_of(raised) is code
    with pytest.raises(IroncladError) as raised:
        ledger.deletions.request_user("nobody", actor="test")
    assert code_of(raised) is ErrorCode.UNKNOWN_USER


def test_a_user_goes_with_all_songs_and_may_come_back(ledger: Ledger) -> None:
    add_song(ledger, 1)
    add_song(ledger, 2)
    add_song(ledger, 3, user_id="bob")
    ledger.set_user_defaults("ada", JobOptions(engine="demucs"))
    ledger.audit.write("limit", "user ada", actor="cli:ada")
    deletion = ledger.deletions.request_user("ada", actor="cli:ada")
    assert [traces.song for traces in ledger.deletions.traces(deletion)] == ["s1", "s2"]
    late = make_song(4).model_copy(update={"uploaded_at": "2999-01-01T00:00:00.000000+00:00"})
    ledger.register(late, JobOptions(), actor="test")
    assert [traces.song for traces in ledger.deletions.traces(deletion)] == ["s1", "s2"], "the new one is a new user's"
    ledger.deletions.forget_songs(["s1", "s2"], receipt=deletion.receipt, removed={})
    ledger.deletions.forget_user("ada", before=deletion.requested_at, receipt=deletion.receipt)
    ledger.deletions.finish(deletion.receipt)
    assert ledger.user_defaults("ada") == JobOptions()
    assert [song.song for song in (ledger.song("s4"), ledger.song("s3"))] == ["s4", "s3"]
    with ledger._database.read() as connection:
        said = [line for line in ledger.audit.lines() if "ada" in f"{line.actor} {line.object} {line.detail}"]
        assert not said
        assert connection.execute(select(tombstones.c.digest)).scalars().all().count(digest_of("user", "ada")) == 1


def test_what_comes_after_the_request_is_the_new_users_whatever_the_clocks_say(ledger: Ledger) -> None:
    """Promise 1: the clock was ahead and was set right, or is another machine's."""
    ledger.register(make_song(1), JobOptions(), actor="test")
    deletion = ledger.deletions.request_user("ada", actor="test")
    early = make_song(2).model_copy(update={"uploaded_at": "2000-01-01T00:00:00.000000+00:00"})
    ledger.register(early, JobOptions(), actor="test")
    assert [one.song for one in ledger.deletions.traces(deletion)] == [make_song(1).song]
    assert not ledger.deletions.is_deleted(early.song)


def test_a_request_is_as_many_statements_for_many_songs_as_for_few(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it writes nobody else does on SQLite."""
    monkeypatch.setattr(rows, "MOST_NAMED", 50)
    counts = []
    for user_id, first, songs in (("ada", 100, 10), ("bob", 200, 40)):
        for number in range(first, first + songs):
            add_song(ledger, number, user_id=user_id)
        ledger.begin_run(f"s{first}", run_id=f"r{first}", worker=current_worker(), actor="test")
        with counted_statements(ledger) as statements:
            ledger.deletions.request_user(user_id, actor="test")
        counts.append(len(statements))
        assert len(ledger.jobs(user_id=user_id, states=[JobState.CANCELED], limit=1000)) == songs - 1
    assert counts[0] == counts[1]


def test_a_user_with_more_songs_than_a_statement_may_name_goes_whole(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_NAMED", 3)
    for number in range(10):
        add_song(ledger, number)
        with ledger._database.write() as connection:
            record_stored(connection, f"s{number}", "stems", size_bytes=1000)
    kept = add_song(ledger, 99, user_id="bob")
    ledger.begin_run("s5", run_id="r", worker=current_worker(), actor="test")
    first = ledger.deletions.request_song("s7", actor="test")
    whole = ledger.deletions.request_user("ada", actor="test")
    jobs = {job.song: job for job in ledger.jobs(user_id="ada", limit=100)}
    assert {song for song, job in jobs.items() if job.state is JobState.CANCELED} == {*jobs} - {"s5"}
    assert (jobs["s5"].state, jobs["s5"].cancel_requested) == (JobState.RUNNING, True)
    lines = [line for job in jobs.values() for line in ledger.history(job.job_uuid) if "deleted" in line.detail]
    assert [(line.to_state, line.actor) for line in lines].count(("canceled", "test")) == 9
    assert ledger.usage.stored("s5") == {}
    stones = {stone.digest: stone for stone in ledger.deletions.tombstones()}
    for song, job in jobs.items():
        for digest in (digest_of("song", song), digest_of("job", job.job_uuid)):
            assert stones.pop(digest).receipt == whole.receipt
    assert set(stones) == {digest_of("user", "ada")}, f"those of {first.receipt} are the later request's now"
    assert len(ledger.deletions.traces(whole)) == 10
    ledger.deletions.forget_songs(sorted(jobs), receipt=whole.receipt, removed={})
    assert ledger.deletions.traces(whole) == []
    assert ledger.job(kept).state is JobState.QUEUED


@pytest.mark.parametrize("forgetting", [False, True])
def test_a_stage_of_the_user_and_a_deletion_wait_for_each_other_in_one_order(ledger: Ledger, forgetting: bool) -> None:
    """On Postgres both lock songs before they take the user's turn; else each would wait for the other for ever."""
    for number in range(3):
        add_song(ledger, number)
    locked, asked = Event(), Event()

    def write_a_stage() -> None:
        with ledger._database.write() as connection:
            require_song(connection, "s1", lock=True)
            locked.set()
            asked.wait(1.0)  # on Postgres the request has begun by then
            if forgetting:
                forget_songs(connection, ["s1"], receipt="r")
            else:
                record_stored(connection, "s1", "stems", size_bytes=1)

    with ThreadPoolExecutor(1) as pool:
        stage = pool.submit(write_a_stage)
        assert locked.wait(10.0)
        deletion = ledger.deletions.request_user("ada", actor="test")
        asked.set()
        stage.result(30.0)
    left = {"s0", "s2"} if forgetting else {"s0", "s1", "s2"}
    assert {traces.song for traces in ledger.deletions.traces(deletion)} == left


@pytest.mark.parametrize("work", ["release", "dispatch"])
def test_whoever_changes_several_jobs_waits_for_a_deletion_in_one_order(ledger: Ledger, work: str) -> None:
    """On Postgres all lock jobs from the oldest to the newest; else each would wait for the other for ever."""
    oldest, newest = add_song(ledger, 1), add_song(ledger, 2)
    if work == "release":
        for job in (oldest, newest):
            ledger.hold(job, ERROR, actor="test")
    else:  # a row that was written lies behind the others, where a statement about several comes by last
        ledger.queue.set_priority(oldest, 1, actor="test")
    locked, asked = Event(), Event()

    def delete() -> None:
        with ledger._database.write() as connection:
            lock_jobs(connection, [oldest])
            locked.set()
            asked.wait(1.0)  # on Postgres the other one waits by then
            lock_jobs(connection, [newest])

    def change() -> None:
        if work == "release":
            assert ledger.attempts.release([newest, oldest], actor="test") == 2
        else:
            ledger.mark_dispatched([newest, oldest])

    with ThreadPoolExecutor(1) as pool:
        deletion = pool.submit(delete)
        assert locked.wait(10.0)
        change()
        asked.set()
        deletion.result(30.0)
    assert [ledger.job(job).state for job in (oldest, newest)] == [JobState.QUEUED] * 2


@pytest.mark.parametrize("name", ["ada", "operator", "limit_set", "concurrent_jobs", "index.db"])
def test_a_song_called_like_a_word_of_the_audit_falsifies_no_line_of_it(ledger: Ledger, name: str) -> None:
    ledger.register(make_song(1).model_copy(update={"original_name": name}), JobOptions(), actor="test")
    ledger.limits.set(LimitScope.USER, "ada", "concurrent_jobs", 2, actor="operator")
    before = ledger.audit.latest(limit=9)
    deletion = ledger.deletions.request_song("s1", actor="test")
    ledger.deletions.forget_songs(["s1"], receipt=deletion.receipt, removed={})
    assert ledger.audit.latest(limit=9)[: len(before)] == before


def test_tombstones_of_a_second_deletion_move_forward_and_never_back(ledger: Ledger) -> None:
    with ledger._database.write() as connection:
        add_tombstones(connection, "song", ["s1"], at="2026-02", receipt="second")
        add_tombstones(connection, "song", ["s1", "s2"], at="2026-01", receipt="first")
        add_tombstones(connection, "song", ["s2"], at="2026-03", receipt="third")
    found = {stone.digest: (stone.at, stone.receipt) for stone in ledger.deletions.tombstones()}
    assert found == {digest_of("song", "s1"): ("2026-02", "second"), digest_of("song", "s2"): ("2026-03", "third")}


def test_a_job_that_was_asked_to_stop_is_not_asked_again(ledger: Ledger) -> None:
    job = add_song(ledger)
    ledger.begin_run("s1", run_id="r", worker=current_worker(), actor="test")
    ledger.deletions.request_song("s1", actor="test")
    before = ledger.history(job)
    ledger.deletions.request_user("ada", actor="test")
    assert ledger.history(job) == before


def test_a_restored_ledger_deletes_again_what_the_tombstones_cover(ledger: Ledger, tmp_path: Path) -> None:
    """Promise 16: a restore re-applies the deletion list."""
    add_song(ledger, 1)
    add_song(ledger, 2, user_id="bob")
    deletion = ledger.deletions.request_song("s1", actor="test")
    whole = ledger.deletions.request_user("bob", actor="test")
    stones = ledger.deletions.tombstones()
    restored = Ledger(f"sqlite:///{tmp_path / 'restored.db'}")
    restored.migrate()
    add_song(restored, 1)
    add_song(restored, 2, user_id="bob")
    add_song(restored, 3, user_id="bob")
    assert restored.deletions.adopt(stones) >= 2
    assert restored.deletions.adopt(stones) >= 2, "doing it twice is harmless"
    opened = {one.receipt: one for one in restored.deletions.open()}
    assert opened[deletion.receipt].subject == "s1"
    assert opened[whole.receipt].subject == "bob"
    assert [one.song for one in restored.deletions.traces(opened[whole.receipt])] == ["s2", "s3"]
    assert restored.deletions.adopt([replace(stones[0], digest="0" * 64)]) == 0
    restored.close()


def test_user_who_came_back_before_the_backup_is_not_deleted_again(ledger: Ledger, monkeypatch) -> None:
    """The clock was ahead when the user was deleted, so that everything since is older than the tombstone."""
    add_song(ledger, 1)
    with monkeypatch.context() as ahead:
        ahead.setattr(deletions, "utc_now", lambda: rows.utc_time(seconds_ago=-1e8))
        deletion = ledger.deletions.request_user("ada", actor="test")
    ledger.deletions.forget_songs(["s1"], receipt=deletion.receipt, removed={})
    ledger.deletions.forget_subject(deletion.receipt, removed={})
    ledger.deletions.finish(deletion.receipt)
    back = add_song(ledger, 2)
    assert ledger.deletions.adopt(ledger.deletions.tombstones()) == 0
    assert ledger.deletions.open() == []
    assert ledger.job(back).state is JobState.QUEUED


def test_user_who_was_deleted_again_after_the_backup_stays_deleted(ledger: Ledger, monkeypatch, tmp_path: Path) -> None:
    """Promise 16: also where the clock had been ahead when the user was deleted for the first time."""
    ledger.limits.set(LimitScope.USER, "ada", "concurrent_jobs", 1, actor="test")
    with monkeypatch.context() as ahead:
        ahead.setattr(deletions, "utc_now", lambda: rows.utc_time(seconds_ago=-1e8))
        ledger.deletions.request_user("ada", actor="test")
    for one in ledger.deletions.open():
        ledger.deletions.finish(one.receipt)
    ledger.limits.set(LimitScope.USER, "ada", "concurrent_jobs", 2, actor="test")
    with (tmp_path / "backup").open("wb") as stream:
        ledger.dump.write(stream)
    again = ledger.deletions.request_user("ada", actor="test")
    restored = Ledger(f"sqlite:///{tmp_path / 'restored.db'}")
    with (tmp_path / "backup").open("rb") as stream:
        restored.dump.load(stream)
    assert restored.deletions.adopt(ledger.deletions.tombstones()) == 1
    assert [(one.subject, one.receipt) for one in restored.deletions.open()] == [("ada", again.receipt)]
    assert restored.deletions.adopt(ledger.deletions.tombstones()) == 0
    restored.close()


def test_compacting_leaves_no_byte_of_a_deleted_song(ledger: Ledger) -> None:
    """Promise 16: not in the database either, nor in its write-ahead log."""
    add_song(ledger, 7)
    deletion = ledger.deletions.request_song("s7", actor="test")
    (traces,) = ledger.deletions.traces(deletion)
    ledger.deletions.forget_songs(["s7"], receipt=deletion.receipt, removed={})
    ledger.deletions.compact()
    file = ledger._database.file
    if file is None:
        return
    for path in file.parent.glob(f"{file.name}*"):
        content = path.read_bytes()
        assert not [name for name in (*traces.ids[1:], "song 7.mp3") if name.encode() in content], path


def test_one_at_a_time_carries_out_deletions_of_a_shared_ledger(ledger: Ledger) -> None:
    another = Ledger(str(ledger._database.url.render_as_string(hide_password=False)))
    shared = ledger._database.file is None
    with ledger.deletions.take_turn() as mine, another.deletions.take_turn() as theirs:
        assert (mine, theirs) == (True, not shared)
        ledger.deletions.compact()
    with another.deletions.take_turn() as theirs:
        assert theirs
    another.close()


def test_what_is_deleted_leaves_the_account_and_a_user_who_comes_back_begins_with_none(ledger: Ledger) -> None:
    add_song(ledger, 1)
    add_song(ledger, 2)
    with ledger._database.write() as connection:
        record_stored(connection, "s1", "stems", size_bytes=1000)
        record_stored(connection, "s2", "stems", size_bytes=10)
    before = ledger.usage.of("ada").stored_bytes
    deletion = ledger.deletions.request_song("s1", actor="test")
    assert before - ledger.usage.of("ada").stored_bytes >= 1000
    ledger.deletions.forget_songs(["s1"], receipt=deletion.receipt, removed={})
    whole = ledger.deletions.request_user("ada", actor="test")
    add_song(ledger, 3)
    anew = ledger.usage.of("ada").stored_bytes
    ledger.deletions.forget_songs(["s2"], receipt=whole.receipt, removed={})
    assert ledger.usage.of("ada").stored_bytes == anew == 103


def test_what_a_deleted_users_job_still_writes_gives_nobody_room(ledger: Ledger) -> None:
    """Once it was added to no row and taken off that of the next user of the name, whose sum went below zero."""
    add_song(ledger, 1)
    ledger.begin_run("s1", run_id="r", worker=current_worker(), actor="test")
    whole = ledger.deletions.request_user("ada", actor="test")
    ledger.usage.record("s1", "stems", size_bytes=100_000)
    add_song(ledger, 2)
    ledger.usage.record("s1", "recombined_track", size_bytes=50_000)
    assert ledger.usage.of("ada").stored_bytes == ledger.usage.system().stored_bytes == 102
    assert ledger.usage.replace([("s1", {"stems": 100_000}), ("s2", {ORIGINAL: 102})]) == 0
    ledger.deletions.forget_songs(["s1"], receipt=whole.receipt, removed={})
    assert ledger.usage.of("ada").stored_bytes == ledger.usage.system().stored_bytes == 102
    assert ledger.users.list()[0].stored_bytes == 102, "the row itself, too"
