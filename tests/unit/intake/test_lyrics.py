"""Lyrics in the upload folder: they find their song, wait for it, and are never lost."""

import os
import socket
import time
from pathlib import Path

import pytest

from ironclad_assets.intake import inbox as inbox_module
from ironclad_assets.intake.inbox import Collected, Inbox
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.sidecars import MAX_LYRICS_BYTES, find_lyrics, sidecar_folder
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store
from tests.fakes.clamd import eicar, fake_clamd, read_stream, running_clamd

TIMED = b"[00:01.00]la la\n"


def drop(store: Store, name: str, content: bytes = TIMED) -> Path:
    path = store.input / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(content)
    return path


def collect(inbox: Inbox) -> Collected:
    """Look, wait for what must settle, and look twice more; say what the last look left."""
    found = Collected()
    for _ in range(3):
        one = inbox.collect(budget_s=5.0)
        found = Collected(found.taken + one.taken, found.lyrics + one.lyrics, one.waiting, one.ignored)
        time.sleep(0.25)
    return found


def kept(store: Store, song: str) -> bytes | None:
    lyrics = find_lyrics(store, song=song)
    return None if lyrics is None else lyrics.source.read_bytes()


@pytest.mark.parametrize("extension", ["lrc", "LRC", "elrc", "txt"])
def test_lyrics_beside_a_song_are_kept_for_it(inbox: Inbox, store: Store, extension: str) -> None:
    drop(store, "Run.mp3", b"audio")
    drop(store, f"run.{extension}")
    done = collect(inbox)
    (taken,) = done.taken
    assert done.lyrics == [(f"run.{extension}", taken.job.song)]
    assert kept(store, taken.job.song) == TIMED
    assert not any(path.is_file() for path in store.input.rglob("*"))


def test_lyrics_that_come_first_wait_for_their_song_and_say_so(inbox: Inbox, store: Store, ledger: Ledger) -> None:
    path = drop(store, "Run.lrc")
    done = collect(inbox)
    assert done.taken == []
    assert "no song of that name has come" in done.ignored[0][1]
    assert path.read_bytes() == TIMED
    drop(store, "Run.flac", b"audio")
    done = collect(inbox)
    (taken,) = done.taken
    assert done.lyrics == [("Run.lrc", taken.job.song)]
    assert kept(store, taken.job.song) == TIMED
    assert ledger.jobs() == [taken.job]


def test_lyrics_that_come_later_find_their_song_after_a_restart(
    inbox: Inbox, store: Store, ledger: Ledger, settings: Settings
) -> None:
    drop(store, "ada/Run.flac", b"audio")
    drop(store, "bob/Run.flac", b"other audio")
    songs = {one.job.user_id: one.job.song for one in collect(inbox).taken}
    inbox.close()
    later = Inbox(ledger=ledger, store=store, settings=settings)
    drop(store, "bob/Run.lrc")
    assert collect(later).lyrics == [("Run.lrc", songs["bob"])]
    later.close()
    assert kept(store, songs["bob"]) == TIMED
    assert kept(store, songs["ada"]) is None


def test_lyrics_that_two_songs_could_own_stay_where_they_are(
    inbox: Inbox, store: Store, ledger: Ledger, settings: Settings
) -> None:
    drop(store, "ada/one/Intro.flac", b"one")
    drop(store, "ada/two/Intro.flac", b"two")
    assert len(collect(inbox).taken) == 2
    path = drop(store, "ada/three/Intro.lrc")
    assert "2 songs are called so" in collect(inbox).ignored[0][1]
    assert path.exists()
    drop(store, "ada/two/Intro.lrc")
    assert len(collect(inbox).lyrics) == 1


def test_a_text_without_a_song_is_refused_as_before(inbox: Inbox, store: Store) -> None:
    """CAT-003: what is no audio becomes a job that says so."""
    drop(store, "notes.txt", b"not lyrics")
    assert [one.job.original_name for one in collect(inbox).taken] == ["notes.txt"]


@pytest.mark.parametrize("content", [b"\0\1\2", b"x" * (MAX_LYRICS_BYTES + 1)], ids=["binary", "too-large"])
def test_what_is_no_lyrics_stays_and_is_named(inbox: Inbox, store: Store, content: bytes) -> None:
    drop(store, "Run.mp3", b"audio")
    path = drop(store, "Run.lrc", content)
    done = collect(inbox)
    assert path.read_bytes() == content
    assert "Run.lrc" in str(done.ignored)


def test_lyrics_without_a_song_are_not_looked_up_at_every_look(
    inbox: Inbox, store: Store, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    drop(store, "Run.lrc")
    collect(inbox)
    monkeypatch.setattr(type(ledger), "songs_named", lambda *_: pytest.fail("asked again"))
    collect(inbox)
    assert inbox_module.RETRY_S > 1


def test_newer_lyrics_replace_the_older(inbox: Inbox, store: Store) -> None:
    drop(store, "Run.mp3", b"audio")
    drop(store, "Run.lrc")
    song = collect(inbox).taken[0].job.song
    drop(store, "Run.lrc", b"[00:02.00]better\n")
    collect(inbox)
    assert kept(store, song) == b"[00:02.00]better\n"


def test_a_store_that_is_full_keeps_them_in_the_upload_folder(
    inbox: Inbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(store, "Run.mp3", b"audio")
    song = collect(inbox).taken[0].job.song
    path = drop(store, "Run.lrc")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        done = collect(inbox)
    assert path.exists()
    assert "storage_full" in str(done.waiting)
    assert not list(sidecar_folder(store, song=song).glob("lyrics.*"))


@pytest.mark.parametrize("gone", [False, True], ids=["requested", "done"])
def test_lyrics_of_a_deleted_song_stay_and_go_to_none(inbox: Inbox, store: Store, ledger: Ledger, gone: bool) -> None:
    drop(store, "Run.mp3", b"audio")
    song = collect(inbox).taken[0].job.song
    deletion = ledger.deletions.request_song(song, actor="test")
    if gone:
        ledger.deletions.forget_songs([song], receipt=deletion.receipt, removed={})
    path = drop(store, "Run.lrc")
    done = collect(inbox)
    assert (done.lyrics, path.read_bytes()) == ([], TIMED)
    assert "no song of that name has come" in done.ignored[0][1]
    assert kept(store, song) is None
    drop(store, "Run.mp3", b"audio")
    assert collect(inbox).lyrics == [("Run.lrc", ledger.songs_named("local", "Run")[0].song)]


def test_lyrics_of_a_disabled_user_stay_until_the_user_is_served_again(
    inbox: Inbox, store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "RETRY_S", 0.0)
    drop(store, "Run.mp3", b"audio")
    song = collect(inbox).taken[0].job.song
    ledger.users.set_disabled("local", True, actor="test")
    path = drop(store, "Run.lrc")
    done = collect(inbox)
    assert (done.lyrics, path.read_bytes()) == ([], TIMED)
    assert done.waiting == [("Run.lrc", "user_disabled: user 'local' is disabled; ask the operator")]
    ledger.users.set_disabled("local", False, actor="test")
    assert collect(inbox).lyrics == [("Run.lrc", song)]


def test_lyrics_that_come_with_another_song_of_the_name_wait_for_that_one(inbox: Inbox, store: Store) -> None:
    drop(store, "Run.mp3", b"audio")
    first = collect(inbox).taken[0].job.song
    writer = drop(store, "Run.flac", b"still being written").open("ab")
    drop(store, "Run.lrc")
    done = collect(inbox)
    assert ("Run.lrc", "lyrics, waiting for their song to be taken") in done.waiting
    writer.close()
    done = collect(inbox)
    assert done.lyrics == [("Run.lrc", done.taken[0].job.song)]
    assert kept(store, first) is None


@pytest.mark.parametrize("found", [False, True])
def test_lyrics_are_scanned_before_they_are_kept(ledger: Ledger, store: Store, settings: Settings, found: bool) -> None:
    """SPLIT-020: the library gets them as they are; what is found in them is refused as it is in a song."""

    def answer(command: bytes, connection: socket.socket) -> None:
        content = b"" if command == b"VERSION" else read_stream(connection)
        trial = content.startswith(b"PK")
        said = b"Heuristics.Limits.Exceeded FOUND" if trial else b"Eicar FOUND" if found else b"OK"
        connection.sendall(b"ClamAV 1\0" if command == b"VERSION" else b"stream: " + said + b"\0")

    with fake_clamd(answer) as address:
        inbox = Inbox(ledger=ledger, store=store, settings=settings.model_copy(update={"clamd_address": address}))
        inbox.collect(budget_s=1.0)
        drop(store, "Run.mp3", b"audio")
        path = drop(store, "Run.lrc")
        done = collect(inbox)
        inbox.close()
    song, *refused = [one.job for one in done.taken]
    assert kept(store, song.song) == (None if found else TIMED)
    assert [job.error and job.error.code for job in refused] == (["malware"] if found else [])
    assert not path.exists()
    assert [(store.quarantine(job.song) / "original").read_bytes() for job in refused] == [TIMED] * found


def test_clamd_itself_finds_malware_in_lyrics_and_nothing_in_others(
    ledger: Ledger, store: Store, settings: Settings
) -> None:
    with running_clamd() as scanner:
        settings = settings.model_copy(update={"clamd_address": scanner.address})
        inbox = Inbox(ledger=ledger, store=store, settings=settings)
        inbox.collect(budget_s=1.0)
        for name in ("Run.mp3", "Walk.mp3"):
            drop(store, name, name.encode())
        drop(store, "Run.txt", TIMED + eicar())
        drop(store, "Walk.lrc")
        jobs = {one.job.original_name: one.job for one in collect(inbox).taken}
        inbox.close()
    assert kept(store, jobs["Run.mp3"].song) is None
    assert kept(store, jobs["Walk.mp3"].song) == TIMED
    error = jobs["Run.txt"].error
    assert error is not None
    assert error.code == "malware"


def test_lyrics_wait_for_a_scanner_that_does_not_answer(
    ledger: Ledger, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the inbox asks it once, not for each file: everybody's intake would wait."""
    asked = []

    def hang(command: bytes, connection: socket.socket) -> None:
        asked.append(command)
        connection.recv(1)

    monkeypatch.setattr(inbox_module, "SCAN_S", 0.3)
    with fake_clamd(hang) as address:
        inbox = Inbox(ledger=ledger, store=store, settings=settings.model_copy(update={"clamd_address": address}))
        inbox.collect(budget_s=1.0)
        paths = []
        for name in ("Run", "Walk"):
            drop(store, f"{name}.mp3", name.encode())
            paths.append(drop(store, f"{name}.lrc"))
        done = collect(inbox)
        inbox.close()
    assert (len(done.taken), done.lyrics, asked) == (2, [], [b"VERSION"])
    assert [path.read_bytes() for path in paths] == [TIMED, TIMED]
    assert {name: why.partition(":")[0] for name, why in done.waiting} == dict.fromkeys(
        ("Run.lrc", "Walk.lrc"), "scanner_away"
    )
