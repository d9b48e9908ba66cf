"""A song without any name is known by its sound: fpcalc in its cage, then AcoustID."""

import json
from pathlib import Path

import pytest

from ironclad_assets.lookup import fingerprint
from ironclad_assets.lookup import session as session_module
from ironclad_assets.lookup.fingerprint import find_fpcalc, make_fingerprint
from ironclad_assets.lookup.health import source_health
from ironclad_assets.sandbox.watch import SilentWatch
from tests import synth
from tests.fakes.lookup_server import LookupServer, Misbehaviour, Recording
from tests.unit.lookup.conftest import OpenSession, settings_for

RUN = Recording(10, "Run")
SCRIPT = """#!/bin/sh
{body}
"""


@pytest.fixture
def song(tmp_path: Path) -> Path:
    return synth.write_flac(tmp_path / "song.flac", synth.music(12.0))


def program(folder: Path, body: str) -> Path:
    """Return a program that stands in for fpcalc."""
    path = folder / "fpcalc"
    path.write_text(SCRIPT.format(body=body), encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.skipif(find_fpcalc() is None, reason="fpcalc (libchromaprint-tools) is not installed")
def test_fpcalc_works_in_the_cage(song: Path) -> None:
    """META-001"""
    fpcalc = find_fpcalc()
    assert fpcalc is not None
    made = make_fingerprint(song, fpcalc=fpcalc, within_s=60.0, watch=SilentWatch())
    assert made is not None
    assert made.startswith("AQ")
    assert made == make_fingerprint(song, fpcalc=fpcalc, within_s=60.0, watch=SilentWatch())


@pytest.mark.skipif(find_fpcalc() is None, reason="fpcalc (libchromaprint-tools) is not installed")
def test_what_cannot_be_decoded_has_no_fingerprint(tmp_path: Path) -> None:
    fpcalc = find_fpcalc()
    assert fpcalc is not None
    for bad in (synth.zero_bytes(tmp_path / "a.mp3"), synth.random_bytes(tmp_path / "b.mp3"), tmp_path / "gone"):
        assert make_fingerprint(bad, fpcalc=fpcalc, within_s=60.0, watch=SilentWatch()) is None


@pytest.mark.parametrize(
    "body", ["exit 3", "echo not json", "echo '{\"duration\": 1}'", 'echo \'{"fingerprint": ""}\'', "echo '[]'"]
)
def test_a_program_that_says_something_else_makes_none(tmp_path: Path, song: Path, body: str) -> None:
    assert make_fingerprint(song, fpcalc=program(tmp_path, body), within_s=60.0, watch=SilentWatch()) is None


def heard(monkeypatch: pytest.MonkeyPatch, made: str | None = "AQADtMkS") -> None:
    """Let the session hear without fpcalc."""
    monkeypatch.setattr(session_module, "find_fpcalc", lambda: Path("/usr/bin/fpcalc"))
    monkeypatch.setattr(session_module, "make_fingerprint", lambda audio, **more: made)


def test_acoustid_names_recordings_best_first_and_is_asked_once(
    server: LookupServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch, song: Path
) -> None:
    """META-001"""
    heard(monkeypatch)
    server.fingerprints = [(0.5, Recording(11, "Walk")), (0.97, RUN), (0.6, RUN), (0.9, Recording(12, ""))]
    for _ in range(2):
        with open_session(lookup_acoustid_key="key") as session:
            reply = session.by_fingerprint(song, duration_s=12.3)
        assert reply is not None
        assert [(one.title, one.fingerprint_score) for one in reply.recordings] == [("Run", 0.97), ("Walk", 0.5)]
    (form,) = server.forms
    assert form == {
        "client": ["key"], "duration": ["12"], "fingerprint": ["AQADtMkS"], "format": ["json"], "meta": ["recordings"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (Misbehaviour(status=400, body=b'{"status": "error"}'), "AcoustID refused (HTTP 400)"),
        (Misbehaviour(body=b'{"status": "error"}'), "AcoustID answered something else"),
        (Misbehaviour(body=b'{"status": "ok", "results": ['), "AcoustID answered something else"),
        (Misbehaviour(body=b"[[[" * 100_000), "AcoustID answered something else"),
        (
            Misbehaviour(body=json.dumps({"status": "ok", "results": [{"id": 1}]}).encode()),
            "AcoustID answered something",
        ),
        (Misbehaviour(body=json.dumps({"status": "ok", "results": "x"}).encode()), "AcoustID answered something that"),
        (Misbehaviour(body=b"<html>"), "AcoustID answered something else"),
    ],
)
def test_an_answer_of_acoustid_that_is_none_is_a_problem(
    server: LookupServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch, song: Path,
    wrong: Misbehaviour, problem: str,
) -> None:  # fmt: skip
    """META-003"""
    heard(monkeypatch)
    server.wrong = [wrong]
    with open_session(lookup_acoustid_key="key") as session:
        reply = session.by_fingerprint(song, duration_s=12.0)
        assert reply is not None
        assert reply.problem is not None
        assert reply.problem.startswith(problem)
        again = session.by_fingerprint(song, duration_s=12.0)
        assert again is not None
        assert again.problem is None, "nothing bad was kept"


def test_a_sound_that_nobody_knows_is_no_problem(
    server: LookupServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch, song: Path
) -> None:
    heard(monkeypatch)
    with open_session(lookup_acoustid_key="key") as session:
        reply = session.by_fingerprint(song, duration_s=12.0)
    assert reply is not None
    assert (reply.recordings, reply.problem) == ((), None)


def test_a_song_that_cannot_be_listened_to_asks_nobody(
    server: LookupServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch, song: Path
) -> None:
    heard(monkeypatch, made=None)
    with open_session(lookup_acoustid_key="key") as session:
        reply = session.by_fingerprint(song, duration_s=12.0)
    assert reply is not None
    assert reply.problem == "fpcalc makes no fingerprint of this file"
    assert server.asked == []


def test_without_key_or_program_acoustid_is_off(
    server: LookupServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch, song: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(fingerprint.shutil, "which", lambda name: None)
    with open_session(lookup_acoustid_key="key") as session:
        assert session.by_fingerprint(song, duration_s=12.0) is None
    with open_session() as session:
        assert session.by_fingerprint(song, duration_s=12.0) is None
    off = source_health(settings_for(server, tmp_path / "home", lookup_acoustid_key="key"))[2]
    assert (off.standing, off.detail) == ("off", "not asked: fpcalc (Chromaprint) is not installed")
