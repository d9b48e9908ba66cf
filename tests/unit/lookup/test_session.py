"""A session over the real child, against a fake of the sources that answers well, badly, late or never."""

import contextlib
import inspect
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import musicbrainzngs
import pytest

from ironclad_assets.errors import JobCanceled
from ironclad_assets.lookup import session as session_module
from ironclad_assets.lookup.health import source_health
from ironclad_assets.lookup.session import LookupSession
from ironclad_assets.lookup.state import FILE_NAME, SharedState, read_states
from ironclad_assets.sandbox.watch import SilentWatch
from tests.fakes.lookup_server import LookupServer, Misbehaviour, Recording, Release, jpeg, mbid
from tests.unit.lookup.conftest import OpenSession, settings_for

ALBUM = Release(1, "Album", track=4, tracks=12)
RUN = Recording(10, "Run & Hide", "Ann Lee", 200.5, disambiguation="original", releases=(ALBUM,))
HTML = b"<html><body>Bad gateway</body></html>"


@pytest.fixture(autouse=True)
def known(server: LookupServer) -> None:
    server.recordings = [RUN]


def test_a_search_brings_recordings_with_their_releases(server: LookupServer, open_session: OpenSession) -> None:
    """META-001"""
    with open_session() as session:
        (found,) = session.search(title="Run", artist="Ann", album="Album").recordings
    assert (found.id, found.title, found.artist, found.duration_s) == (RUN.id, "Run & Hide", "Ann Lee", 200.5)
    assert found.disambiguation == "original"
    assert found.artists[0].sort_name == "Lee, Ann"
    (release,) = found.releases
    assert (release.title, release.primary_type, release.status, release.date) == (
        "Album", "Album", "Official", "2001-02-03",
    )  # fmt: skip
    assert (release.track_number, release.track_total, release.disc_number, release.track_id) == (
        4, 12, 1, ALBUM.track_id,
    )  # fmt: skip


def test_words_with_the_signs_of_the_query_language_are_only_words(
    server: LookupServer, open_session: OpenSession
) -> None:
    with open_session() as session:
        session.search(title='Run" OR artist:(x) AND *', artist="AC/DC")
    assert "AND" not in server.asked[0]
    assert "artist%5C%3A" in server.asked[0]


def test_a_recording_and_a_release_are_found_by_id(server: LookupServer, open_session: OpenSession) -> None:
    """META-001"""
    old = mbid(99)
    server.merged[old] = RUN.id
    with open_session() as session:
        (by_recording,) = session.recording(old).recordings
        (by_release,) = session.release(ALBUM.id).recordings
    assert (by_recording.id, by_recording.releases[0].title) == (RUN.id, "Album")
    assert by_release.id == RUN.id
    place = by_release.releases[0]
    assert (place.track_number, place.disc_number, place.disc_total, place.group_id) == (4, 1, 1, ALBUM.group_id)


def test_we_say_who_we_are_and_whom_to_write_to(server: LookupServer, open_session: OpenSession) -> None:
    with open_session() as session:
        session.search(title="Run")
    assert server.agents[0].startswith("ironclad/")
    assert server.agents[0].endswith(" ( music@example.org )")


def test_an_answer_in_the_cache_makes_no_request(server: LookupServer, open_session: OpenSession) -> None:
    for _ in range(2):
        with open_session() as session:
            reply = session.search(title="Run")
            assert reply.recordings[0].id == RUN.id
            assert not reply.stale
    assert len(server.asked) == 1


def test_that_nothing_is_known_is_kept_too_but_not_as_long(server: LookupServer, open_session: OpenSession) -> None:
    server.recordings = []
    for _ in range(2):
        with open_session() as session:
            assert session.search(title="Run").recordings == ()
            assert session.recording(mbid(5)).recordings == ()
    assert len(server.asked) == 2
    with open_session(lookup_cache_days=0) as session:
        session.recording(mbid(5))
    assert len(server.asked) == 3


def test_an_expired_answer_is_asked_for_again_and_used_where_nobody_answers(
    server: LookupServer, open_session: OpenSession
) -> None:
    """META-001"""
    with open_session(lookup_cache_days=0) as session:
        session.search(title="Run")
        session.search(title="Run")
        assert len(server.asked) == 2
        server.always_wrong = Misbehaviour(status=500)
        reply = session.search(title="Run")
    assert reply.stale
    assert reply.recordings[0].id == RUN.id
    assert reply.problem == "MusicBrainz refused (HTTP 500)"


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (Misbehaviour(body=HTML), "MusicBrainz answered something else than was asked for: no"),
        (
            Misbehaviour(body=b"<metadata><recording-list"),
            "MusicBrainz answered something else than was asked for: no XML",
        ),
        (Misbehaviour(body=b"<a/>"), "MusicBrainz answered something else than was asked for: no answer of the web"),
        (Misbehaviour(body=b""), "MusicBrainz answered something else than was asked for: no XML"),
        (Misbehaviour(body=b"<?xml", claimed=5000), "MusicBrainz broke off its answer"),
        (Misbehaviour(status=500, body=HTML), "MusicBrainz refused (HTTP 500)"),
        (Misbehaviour(status=403, body=HTML), "MusicBrainz refused (HTTP 403)"),
        (Misbehaviour(status=302, headers={"Location": "ftp://127.0.0.1/x"}), "MusicBrainz"),
        (Misbehaviour(status=302, headers={"Location": "file:///etc/passwd"}), "MusicBrainz"),
        (Misbehaviour(status=302, headers={"Location": "http://127.0.0.2:1/x"}), "MusicBrainz cannot be reached: it"),
        (Misbehaviour(status=503, headers={"Retry-After": "900"}), "MusicBrainz is too busy (HTTP 503)"),
    ],
)
def test_an_answer_that_is_none_is_a_problem_and_is_not_kept(
    server: LookupServer, open_session: OpenSession, wrong: Misbehaviour, problem: str
) -> None:
    """META-003: the song goes on."""
    server.wrong = [wrong]
    with open_session() as session:
        reply = session.search(title="Run")
    assert reply.recordings == ()
    assert reply.problem is not None
    assert reply.problem.startswith(problem)


NONSENSE = (
    b'<metadata xmlns="http://musicbrainz.org/ns/mmd-2.0#"><recording-list count="1">'
    b'<recording id="../../etc"><title>\x1f</title></recording></recording-list></metadata>',
    b'<metadata xmlns="http://musicbrainz.org/ns/mmd-2.0#"><recording-list count="many">'
    b'<recording id="x"/></recording-list></metadata>',
    b'<metadata xmlns="http://musicbrainz.org/ns/mmd-2.0#"><recording-list count="1">'
    b'<recording id="00000000-0000-0000-0000-000000000000"><length>long</length><title>a</title></recording>'
    b"</recording-list></metadata>",
    b'<!DOCTYPE m [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    b'<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;">'
    b'<!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;"><!ENTITY f "&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;">'
    b'<!ENTITY g "&f;&f;&f;&f;&f;&f;&f;&f;&f;&f;"><!ENTITY h "&g;&g;&g;&g;&g;&g;&g;&g;&g;&g;">]>'
    b'<metadata xmlns="http://musicbrainz.org/ns/mmd-2.0#"><recording-list><recording id="x"><title>&h;</title>'
    b"</recording></recording-list></metadata>",
)


@pytest.mark.parametrize("body", NONSENSE, ids=["id", "count", "length", "entities"])
def test_nonsense_in_good_xml_yields_no_recording_and_no_crash(
    server: LookupServer, open_session: OpenSession, body: bytes
) -> None:
    server.wrong = [Misbehaviour(body=body)]
    with open_session() as session:
        assert session.search(title="Run").recordings == ()
        assert session.search(title="Other").recordings[0].id == RUN.id


def test_a_server_that_never_answers_costs_no_more_than_its_time(
    server: LookupServer, open_session: OpenSession
) -> None:
    server.always_wrong = Misbehaviour(silent_s=60.0)
    started = time.monotonic()
    with open_session(lookup_request_s=0.3) as session:
        reply = session.search(title="Run")
    assert reply.problem == "MusicBrainz gave no answer in time"
    assert time.monotonic() - started < 30.0, "it took as long as the server"


def test_a_server_that_trickles_is_ended_like_a_silent_one(server: LookupServer, open_session: OpenSession) -> None:
    server.always_wrong = Misbehaviour(body=b"x" * 10_000, trickle_s=0.05)
    with open_session(lookup_request_s=0.4) as session:
        assert session.search(title="Run").problem == "MusicBrainz gave no answer in time"


def test_the_time_for_a_song_bounds_all_its_questions(
    server: LookupServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """META-003: whatever the child waits for, it is ended, and the source's failure is known to all."""
    monkeypatch.setattr(session_module, "GRACE_S", -0.3)  # as where the child cannot time out by itself
    server.always_wrong = Misbehaviour(silent_s=60.0)
    with open_session(lookup_request_s=50.0, lookup_total_s=0.8) as session:
        assert session.search(title="Run").problem == "the time for lookups of this song was up"
        assert session.recording(RUN.id).problem == "the time for lookups of this song was up"
        assert len(server.asked) <= 1
        state = read_states(session._policy.state)["musicbrainz"]
    assert (state.failures, state.last_error) == (1, "the time for lookups of this song was up")


def test_a_child_that_dies_is_told_and_is_no_failure_of_the_song(
    open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_BOOTSTRAP", "raise SystemExit(3)")
    with open_session() as session:
        assert session.search(title="Run").problem == "the lookup ended unexpectedly"
        assert session.cover(kind="release", mbid=ALBUM.id)[0] is None


def test_a_child_that_answers_nonsense_is_ended(open_session: OpenSession, monkeypatch: pytest.MonkeyPatch) -> None:
    for nonsense in ("[]", "{"):
        talk = f"import os, sys; os.write(int(sys.argv[1]), b'{nonsense}\\n'); import time; time.sleep(60)"
        monkeypatch.setattr(session_module, "_BOOTSTRAP", talk)
        with open_session() as session:
            assert session.search(title="Run").problem == "the lookup ended unexpectedly"


def test_what_cannot_be_started_is_a_problem(open_session: OpenSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module.sys, "executable", "/nonexistent/python")
    with open_session() as session:
        problem = session.search(title="Run").problem
    assert problem is not None
    assert problem.startswith("the lookup could not be started")


def test_the_library_still_has_the_seam_that_our_courier_stands_in() -> None:
    parameters = inspect.signature(musicbrainzngs.musicbrainz._safe_read).parameters
    assert list(parameters)[:3] == ["opener", "req", "body"]


def test_a_run_loads_no_client_library() -> None:
    program = "import sys, ironclad_assets.lookup.session; print('musicbrainzngs' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_a_refused_connection_is_a_problem(server: LookupServer, open_session: OpenSession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open_session(lookup_musicbrainz_url=f"http://127.0.0.1:{port}") as session:
        assert session.search(title="Run").problem == "MusicBrainz refused the connection"


def test_a_name_that_leads_nowhere_is_a_problem(open_session: OpenSession) -> None:
    with open_session(lookup_musicbrainz_url="http://nobody.invalid") as session:
        problem = session.search(title="Run").problem
    assert problem is not None
    assert problem.startswith("MusicBrainz cannot be reached: ")


def test_a_busy_server_is_left_alone_for_as_long_as_it_says(server: LookupServer, open_session: OpenSession) -> None:
    server.wrong = [Misbehaviour(status=503, headers={"Retry-After": "1"})]
    with open_session() as session:
        reply = session.search(title="Run")
    assert reply.recordings[0].id == RUN.id
    assert server.at[1] - server.at[0] >= 1.0


def test_what_one_process_was_told_every_process_heeds(server: LookupServer, open_session: OpenSession) -> None:
    server.wrong = [Misbehaviour(status=503, headers={"Retry-After": "600"})]
    for _ in range(2):
        with open_session(lookup_total_s=3) as session:
            assert session.search(title="Run").recordings == ()
    assert len(server.asked) == 1


def end_rests(session: LookupSession) -> None:
    """Let the time pass for which sources are left alone."""
    with contextlib.closing(sqlite3.connect(session._policy.state)) as connection, connection:
        connection.execute("update sources set rest_until = 1 where rest_until > 0")


def test_after_failures_in_a_row_a_source_rests_and_is_tried_again(
    server: LookupServer, open_session: OpenSession
) -> None:
    """META-003: the circuit opens and closes."""
    server.always_wrong = Misbehaviour(status=500)
    with open_session(lookup_failures=2) as session:
        for title in ("a", "b", "c", "d"):
            reply = session.search(title=title)
        assert reply.problem == "MusicBrainz was not asked: it gave no answer several times in a row"
        assert len(server.asked) == 2
        assert session.cover(kind="release", mbid=ALBUM.id)[1].problem is not None
        assert len(server.asked) == 3, "the others are not to blame"
        server.always_wrong = None
        end_rests(session)
        assert session.search(title="e").recordings[0].id == RUN.id
        assert session.search(title="f").recordings[0].id == RUN.id
        assert read_states(session._policy.state)["musicbrainz"].failures == 0


def test_a_source_that_still_fails_after_its_rest_is_asked_once_and_rests_again(
    server: LookupServer, open_session: OpenSession
) -> None:
    server.always_wrong = Misbehaviour(status=500)
    with open_session(lookup_failures=2) as session:
        for title in ("a", "b", "c"):
            session.search(title=title)
        end_rests(session)
        for title in ("d", "e"):
            session.search(title=title)
    assert len(server.asked) == 3


ASK = """
import sys
from pathlib import Path
from ironclad_assets.lookup.state import SharedState
state = SharedState(Path(sys.argv[1]))
for _ in range(50):
    state.take_turn("h", interval_s=0.25, patience_s=600)
"""


def test_two_processes_share_one_rate(tmp_path: Path) -> None:
    """META-003: one request per interval, however many ask."""
    SharedState(tmp_path / FILE_NAME).close()
    started = time.time()
    command = [sys.executable, "-c", ASK, str(tmp_path / FILE_NAME)]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [one.wait(timeout=120) for one in both] == [0, 0]
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        ((next_at,),) = connection.execute("select next_at from turns").fetchall()
    assert next_at - started >= 100 * 0.25, "a turn was taken twice"


def test_the_interval_holds_between_sessions(server: LookupServer, open_session: OpenSession) -> None:
    for title in ("a", "b"):
        with open_session(lookup_interval_s=1.5) as session:
            session.search(title=title)
    assert server.at[1] - server.at[0] >= 1.0


def test_a_cancel_is_heard_while_a_source_is_silent(server: LookupServer, open_session: OpenSession) -> None:
    class Canceling(SilentWatch):
        def canceled(self) -> bool:
            return bool(server.asked)

    server.always_wrong = Misbehaviour(silent_s=60.0)
    with open_session(watch=Canceling()) as session, pytest.raises(JobCanceled):
        session.search(title="Run")


def test_without_a_place_for_the_shared_memory_nobody_is_asked(
    server: LookupServer, open_session: OpenSession, tmp_path: Path
) -> None:
    (tmp_path / "home" / FILE_NAME).mkdir(parents=True)
    with open_session() as session:
        problem = session.search(title="Run").problem
    assert problem is not None
    assert "so nobody was asked" in problem
    assert server.asked == []


def test_a_damaged_memory_is_begun_anew(server: LookupServer, open_session: OpenSession, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / FILE_NAME).write_bytes(b"no database at all" * 100)
    assert source_health(settings_for(server, tmp_path / "home"))[0].standing == "unasked"
    with open_session() as session:
        assert session.search(title="Run").recordings[0].id == RUN.id


def test_a_cover_is_fetched_made_presentable_and_kept(
    server: LookupServer, open_session: OpenSession, tmp_path: Path
) -> None:
    """META-001"""
    server.covers[f"release-{ALBUM.id}"] = jpeg(size_px=120)
    for _ in range(2):
        with open_session() as session:
            cover, reply = session.cover(kind="release", mbid=ALBUM.id)
        assert cover is not None
        assert (cover.width_px, cover.height_px, cover.data[:3]) == (120, 120, b"\xff\xd8\xff")
        assert not reply.stale
    assert [path.split("/")[1] for path in server.asked] == ["release", "images"]
    assert [path.name for path in (tmp_path / "covers").iterdir()] == [f"release-{ALBUM.id}-120x120.jpg"]


def test_a_kept_cover_serves_where_the_archive_is_away(server: LookupServer, open_session: OpenSession) -> None:
    server.covers[f"release-{ALBUM.id}"] = jpeg(size_px=120)
    with open_session(lookup_cache_days=0) as session:
        session.cover(kind="release", mbid=ALBUM.id)
        server.always_wrong = Misbehaviour(status=500)
        cover, reply = session.cover(kind="release", mbid=ALBUM.id)
    assert cover is not None
    assert reply.stale


@pytest.mark.parametrize(
    ("picture", "problem"),
    [
        (HTML, "the Cover Art Archive answered something else than was asked for: neither JPEG nor PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "the Cover Art Archive answered something else"),
        (b"", "the Cover Art Archive answered something else"),
        (jpeg()[:300], "the picture from the Cover Art Archive cannot be used"),
        (b"\xff\xd8\xff" + b"x" * 11 * 1024 * 1024, "the Cover Art Archive sent more than"),
    ],
    ids=["html", "svg", "empty", "damaged", "large"],
)
def test_a_cover_that_is_none_is_a_problem(
    server: LookupServer, open_session: OpenSession, tmp_path: Path, picture: bytes, problem: str
) -> None:
    server.covers[f"release-{ALBUM.id}"] = picture
    with open_session() as session:
        cover, reply = session.cover(kind="release", mbid=ALBUM.id)
    assert cover is None
    assert reply.problem is not None
    assert reply.problem.startswith(problem)
    assert "/" not in reply.problem, "a path would make the stage's key another one every time"
    assert not (tmp_path / "covers").exists()


def test_an_album_without_a_cover_is_no_problem(server: LookupServer, open_session: OpenSession) -> None:
    with open_session() as session:
        cover, reply = session.cover(kind="release-group", mbid=mbid(3))
    assert (cover, reply.problem) == (None, None)


def test_sources_that_fail_are_told_with_their_last_error(
    server: LookupServer, open_session: OpenSession, tmp_path: Path
) -> None:
    """META-003"""
    settings = settings_for(server, tmp_path / "home", lookup_failures=1)
    assert {one.standing for one in source_health(settings)} == {"unasked", "off"}
    server.wrong = [Misbehaviour(status=500)]
    with open_session(lookup_failures=1) as session:
        session.search(title="Run")
        session.cover(kind="release", mbid=ALBUM.id)
    musicbrainz, covers, acoustid = source_health(settings)
    assert (musicbrainz.standing, musicbrainz.last_error) == ("resting", "MusicBrainz refused (HTTP 500)")
    assert musicbrainz.resting_until is not None
    assert covers.standing == "answering"
    assert "IRONCLAD_LOOKUP_ACOUSTID_KEY" in acoustid.detail
