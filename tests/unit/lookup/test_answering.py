"""The child's work, done in the test's own process: how questions are carried, and answers told in our form."""

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from musicbrainzngs import musicbrainz as transport

from ironclad_assets.lookup import courier as courier_module
from ironclad_assets.lookup.child import _Answering
from ironclad_assets.lookup.courier import Courier, Manners
from ironclad_assets.lookup.state import SharedState
from tests.fakes.lookup_server import LookupServer, Misbehaviour, Recording, Release, jpeg, mbid

MANNERS = Manners(
    agent="ironclad/0 ( me@example.org )", request_s=5.0, interval_s=0.0, cache_days=30.0, absent_days=3.0,
    failures=100, rest_s=60.0,
)  # fmt: skip
RUN = Recording(10, "Run", releases=(Release(1, "Album", secondary=("Live",), discs=2, disc=2),))
METADATA = '<metadata xmlns="http://musicbrainz.org/ns/mmd-2.0#">{}</metadata>'


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SharedState]:
    state = SharedState(tmp_path / "lookup.db")
    yield state
    state.close()


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give musicbrainzngs its own transport back afterwards."""
    monkeypatch.setattr(transport, "_safe_read", transport._safe_read)


def answering(server: LookupServer, state: SharedState, *, left_s: float = 20.0, **manners: Any) -> _Answering:
    courier = Courier(state, manners=replace(MANNERS, **manners), deadline=time.monotonic() + left_s)
    urls = dict.fromkeys(("musicbrainz_url", "cover_art_url", "acoustid_url"), server.url)
    return _Answering(courier, setup={**urls, "acoustid_key": "key"})


def search(title: str = "Run") -> dict[str, Any]:
    return {"ask": "search", "title": title, "artist": "", "album": "", "recording": ""}


def test_a_recording_is_told_with_everything_about_its_releases(server: LookupServer, state: SharedState) -> None:
    """META-001"""
    server.recordings = [RUN]
    (told,) = answering(server, state).answer(search())["recordings"]
    (release,) = told["releases"]
    assert told["artists"] == [{"name": "Ann", "id": mbid(901), "sort_name": "Ann"}]
    assert release["secondary_types"] == ["Live"]
    assert (release["disc_number"], release["track_number"], release["track_total"]) == (2, 3, 10)
    assert release["album_artist"] == "Ann"


def test_the_tracks_of_a_release_are_told_one_by_one(server: LookupServer, state: SharedState) -> None:
    server.recordings = [RUN, Recording(11, "Walk", releases=(replace(RUN.releases[0], track=4),))]
    told = answering(server, state).answer({"ask": "release", "mbid": mbid(1)})["recordings"]
    assert [(one["title"], one["releases"][0]["track_number"]) for one in told] == [("Run", 3), ("Walk", 4)]
    assert told[0]["releases"][0]["disc_total"] == 2
    assert answering(server, state).answer({"ask": "release", "mbid": mbid(9)}) == {"recordings": []}


def test_a_track_title_and_credit_of_its_own_win_over_the_recordings(server: LookupServer, state: SharedState) -> None:
    credit = (
        '<artist-credit><name-credit joinphrase=" &amp; "><name>Annie</name><artist id="{a}"><name>Ann</name></artist>'
    )
    credit += '</name-credit><name-credit><artist id="{b}"><name>Bob</name></artist></name-credit></artist-credit>'
    track = (
        f'<track id="{mbid(5)}"><number>A1</number><title>Run!</title><length>61000</length>'
        f"{credit.format(a=mbid(901), b=mbid(902))}"
        f'<recording id="{mbid(10)}"><title>Run</title><length>60000</length></recording></track>'
    )
    body = METADATA.format(
        f'<release id="{mbid(1)}"><title>Album</title><date>2001-13-99x</date><medium-list count="1"><medium>'
        f'<position>1</position><track-list count="1">{track}</track-list></medium></medium-list></release>'
    )
    server.wrong = [Misbehaviour(body=body.encode())]
    (told,) = answering(server, state).answer({"ask": "release", "mbid": mbid(1)})["recordings"]
    assert (told["title"], told["artist"], told["duration_s"]) == ("Run!", "Annie & Bob", 61.0)
    assert [one["name"] for one in told["artists"]] == ["Annie", "Bob"]
    assert (told["releases"][0]["track_number"], told["releases"][0]["date"]) == (None, None)


def test_hostile_texts_are_clean_when_they_arrive(server: LookupServer, state: SharedState) -> None:
    server.recordings = [Recording(10, "Ru\u202en\u0085 \u009b31m" + "x" * 9000)]
    (told,) = answering(server, state).answer(search())["recordings"]
    assert not set("\u202e\u0085\u009b\n") & set(told["title"])
    assert len(told["title"].encode()) <= 4096


def test_every_kind_of_failure_is_a_problem_in_words(server: LookupServer, state: SharedState) -> None:
    """META-003"""
    asked = answering(server, state)
    server.wrong = [
        Misbehaviour(status=500),
        Misbehaviour(body=b"<html/>"),
        Misbehaviour(body=b"x", claimed=100),
        Misbehaviour(body=b"x" * 9 * 1024 * 1024),
        Misbehaviour(body=METADATA.format('<recording-list count="1"><recording/></recording-list>').encode()),
        Misbehaviour(status=302, headers={"Location": "http://127.0.0.2:9/"}),
    ]
    problems = [asked.answer(search())["problem"] for _ in range(6)]
    assert problems == [
        "MusicBrainz refused (HTTP 500)",
        "MusicBrainz answered something else than was asked for: no answer of the web service",
        "MusicBrainz broke off its answer",
        "MusicBrainz sent more than 8388608 bytes",
        "MusicBrainz answered something that makes no sense (KeyError)",
        "MusicBrainz cannot be reached: it redirects to a http address",
    ]
    assert "recordings" in asked.answer(search()), "none of them was kept"


def test_a_bug_of_ours_is_a_problem_too(server: LookupServer, state: SharedState, capfd: Any) -> None:
    assert answering(server, state).answer({"ask": "nothing"}) == {"problem": "the lookup failed (KeyError)"}
    assert "Traceback" in capfd.readouterr().err


def test_a_memory_that_breaks_in_between_is_a_problem(server: LookupServer, state: SharedState) -> None:
    asked = answering(server, state)
    state.close()
    assert "memory cannot be used" in asked.answer(search())["problem"]
    assert server.asked == []
    with pytest.raises(sqlite3.ProgrammingError):
        state.answer("x")


def test_a_busy_server_is_asked_again_after_its_pause_if_there_is_time(
    server: LookupServer, state: SharedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(courier_module.time, "sleep", slept.append)
    monkeypatch.setattr(state, "blocked_s", lambda host: 0.0)
    server.wrong = [Misbehaviour(status=429, headers={"Retry-After": "7"})]
    assert answering(server, state).answer(search()) == {"recordings": []}
    assert slept[1] == pytest.approx(7.0, abs=0.5)
    server.wrong = [Misbehaviour(status=503), Misbehaviour(status=503)]
    assert answering(server, state).answer(search("b"))["problem"] == "MusicBrainz is too busy (HTTP 503)"


def test_who_has_no_time_left_does_not_ask_and_blames_nobody(server: LookupServer, state: SharedState) -> None:
    state.take_turn(server.url.removeprefix("http://"), interval_s=100.0, patience_s=0.0)
    problem = answering(server, state, left_s=1.0).answer(search())["problem"]
    assert problem == "MusicBrainz was not asked: the time for this song was up before its turn"
    state.block(server.url.removeprefix("http://"), seconds=100.0)
    problem = answering(server, state, left_s=1.0).answer(search())["problem"]
    assert problem == "MusicBrainz was not asked: it is too busy and wants to be left alone for a while"
    assert server.asked == []
    assert state.may_ask("musicbrainz")


@pytest.mark.parametrize(
    ("given", "pause_s"),
    [
        (None, 2.0),
        ("5", 5.0),
        ("soon", 2.0),
        ("", 2.0),
    ],
)
def test_retry_after_is_seconds(given: str | None, pause_s: float) -> None:
    assert courier_module._retry_after(given) == pause_s


@pytest.mark.parametrize(("ahead_s", "pause_s"), [(1000.0, 1000.0), (-1000.0, 0.0)])
def test_retry_after_may_be_a_date(ahead_s: float, pause_s: float) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead_s))
    assert courier_module._retry_after(date) == pytest.approx(pause_s, abs=60.0)


@pytest.mark.parametrize(
    ("host", "interval_s"),
    [("musicbrainz.org", 1.0), ("MusicBrainz.org:443", 1.0), ("api.acoustid.org", 1.0), ("mirror.example", 0.2)],
)
def test_no_setting_hurries_the_public_servers(host: str, interval_s: float) -> None:
    """META-003"""
    assert replace(MANNERS, interval_s=0.2).interval_for(host) == interval_s


def test_an_old_answer_serves_with_an_excuse(server: LookupServer, state: SharedState) -> None:
    server.recordings = [RUN]
    asked = answering(server, state, cache_days=0.0)
    asked.answer(search())
    server.always_wrong = Misbehaviour(status=500)
    reply = asked.answer(search())
    assert (reply["stale"], reply["problem"]) == (True, "MusicBrainz refused (HTTP 500)")
    server.always_wrong = None
    assert "stale" not in asked.answer(search())


def test_a_source_at_rest_is_not_asked(server: LookupServer, state: SharedState) -> None:
    server.always_wrong = Misbehaviour(status=500)
    asked = answering(server, state, failures=1)
    asked.answer(search())
    assert asked.answer(search())["problem"] == "MusicBrainz was not asked: it gave no answer several times in a row"
    assert len(server.asked) == 1


def test_a_cover_is_brought_where_it_was_wanted(server: LookupServer, state: SharedState, tmp_path: Path) -> None:
    server.covers[f"release-group-{mbid(1)}"] = jpeg(size_px=20)
    wanted = {"ask": "cover", "kind": "release-group", "destination": str(tmp_path / "cover")}
    asked = answering(server, state)
    assert asked.answer({**wanted, "mbid": mbid(1)}) == {"picture": True}
    assert (tmp_path / "cover").read_bytes() == jpeg(size_px=20)
    assert asked.answer({**wanted, "mbid": mbid(2)}) == {"picture": False}
    server.wrong = [Misbehaviour(body=b"<svg/>")]
    assert "neither JPEG nor PNG" in asked.answer({**wanted, "mbid": mbid(1)})["problem"]


def test_a_sound_is_told_with_its_score(server: LookupServer, state: SharedState) -> None:
    server.fingerprints = [(0.5, RUN), (0.97, RUN), (0.9, Recording(11, "", artist="x"))]
    sound = {"ask": "fingerprint", "fingerprint": "AQ", "duration_s": 200.4}
    (told,) = answering(server, state).answer(dict(sound))["recordings"]
    assert (told["id"], told["fingerprint_score"], told["artist"], told["duration_s"]) == (RUN.id, 0.97, "Ann", 200.0)
    for body in (b'{"status": "ok", "results": [{}]}', b"[" * 200_000, b'{"status": "error"}'):
        server.wrong = [Misbehaviour(body=body)]
        assert "problem" in answering(server, state).answer({**sound, "fingerprint": "other"})
    server.wrong = [Misbehaviour(status=404)]
    assert answering(server, state).answer({**sound, "fingerprint": "third"}) == {"recordings": []}
