"""library preview and organise: what they show, change, refuse and count."""

import signal
from pathlib import Path

import pytest

from ironclad_assets.cli import library_commands
from ironclad_assets.cli.exits import Exit
from ironclad_assets.contracts.v1.job import SongIdentity
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline import rearrange
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store
from tests.filing import NewSong, song_maker, tree
from tests.unit.cli.conftest import Run, documents

FLAT = "{album_artist}/{album}/{title}.{ext}"


@pytest.fixture
def store(installed: Settings) -> Store:
    return Store(installed.store_root, reserve_bytes=1)


@pytest.fixture
def new_song(store: Store, tmp_path: Path) -> NewSong:
    return song_maker(store, tmp_path / "made")


@pytest.fixture
def queued(ledger: Ledger) -> SongIdentity:
    """A song with a job that waits."""
    song = SongIdentity(
        song="song-a", user_id="local", original_name="run.mp3", sha256="a" * 64, size_bytes=1,
        archive_path="archive/a", uploaded_at="2026-01-01", door="cli",
    )  # fmt: skip
    ledger.register(song, JobOptions(), actor="test")
    return song


def test_a_preview_shows_from_where_to_where_and_counts(run: Run, new_song: NewSong, store: Store) -> None:
    new_song("song-a").keep()
    before = tree(store)
    result = run("library", "preview", "--template", FLAT)
    assert result.exit_code == 0, result.output
    assert "output/Ann/Far (Instrumental)/03 - Run (Instrumental).flac" in result.stdout
    assert "-> output/Ann/Far (Instrumental)/Run (Instrumental).flac" in result.stdout
    assert "1 songs in the library; 3 files of 1 songs would move" in result.stdout
    assert tree(store) == before


def test_a_preview_in_json_has_every_move_and_every_file(run: Run, new_song: NewSong) -> None:
    new_song("song-a", cover=None).keep()
    shown = documents(run("library", "preview", "--template", FLAT, "--json"))
    assert (shown["template"], shown["stems_template"], shown["moved_files"]) == (FLAT, FLAT, 3)
    (entry,) = shown["entries"]
    assert entry["moves"][0] == {
        "role": "target",
        "name": "instrumental",
        "from": "output/Ann/Far (Instrumental)/03 - Run (Instrumental).flac",
        "to": "output/Ann/Far (Instrumental)/Run (Instrumental).flac",
    }
    assert len(entry["files"]) == 3


def test_stems_can_have_a_template_of_their_own(run: Run, new_song: NewSong) -> None:
    new_song("song-a", cover=None).keep()
    shown = documents(run("library", "preview", "--stems-template", FLAT, "--json"))
    assert {move["from"].partition("/")[0] for move in shown["entries"][0]["moves"]} == {"output-stems"}


def test_a_tree_shows_the_folders_as_they_would_be(run: Run, new_song: NewSong) -> None:
    new_song("song-a").keep()
    lines = run("library", "preview", "--tree", "--all").stdout
    for name in ("output", "Ann", "Far (Instrumental)", "03 - Run (Instrumental).flac", "output-stems"):
        assert name in lines


def test_what_stays_is_shown_on_request_only(run: Run, new_song: NewSong) -> None:
    new_song("song-a").keep()
    assert "03 - Run" not in run("library", "preview").stdout
    assert "03 - Run" in run("library", "preview", "--all").stdout


def test_long_lists_are_cut_with_a_word_about_it(run: Run, new_song: NewSong) -> None:
    for at in range(3):
        new_song(f"song-{at}", title=f"T{at}").keep()
    shown = run("library", "preview", "--template", FLAT, "--limit", "1").stdout
    assert "... and 2 more songs" in shown
    assert "more songs" not in run("library", "preview", "--template", FLAT, "--limit", "0").stdout


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{album_artist}/{album}/{titel}.{ext}", "{titel} is no placeholder"),
        ("../{album_artist}/{album}/{title}.{ext}", "'..' is no name for a folder"),
        ("{album}/{title}.{ext}", "a song needs a folder of its artist"),
    ],
)
def test_a_template_that_cannot_be_is_refused_with_the_placeholders_there_are(
    run: Run, installed: Settings, template: str, why: str
) -> None:
    result = run("library", "preview", "--template", template)
    assert result.exit_code == Exit.REFUSED
    assert result.stderr.startswith("bad_option: ")
    assert why in result.stderr
    assert "{album_artist}, {album}, {year}, {title}" in result.stderr


def test_a_bad_template_in_the_settings_is_refused_by_every_command(
    run: Run, installed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRONCLAD_LIBRARY_TEMPLATE", "{album}/{title}.{ext}")
    result = run("up")
    assert result.exit_code == Exit.REFUSED
    assert "IRONCLAD_LIBRARY_TEMPLATE '{album}/{title}.{ext}'" in result.stderr


def test_media_servers_are_told_where_organise_moved_something(
    run: Run, installed: Settings, new_song: NewSong, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_song("song-a").keep()
    monkeypatch.setenv("IRONCLAD_REFRESH_PLEX_URL", "http://nas:32400")
    monkeypatch.setenv("IRONCLAD_REFRESH_PLEX_TOKEN", "token")
    assert run("library", "organise").exit_code == 0
    assert not (installed.home_dir / "run" / "last-entry.json").exists()
    monkeypatch.setenv("IRONCLAD_LIBRARY_TEMPLATE", FLAT)
    assert run("library", "organise").exit_code == 0
    assert (installed.home_dir / "run" / "last-entry.json").exists()


def test_organise_moves_by_the_template_of_the_settings(
    run: Run, new_song: NewSong, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_song("song-a").keep()
    monkeypatch.setenv("IRONCLAD_LIBRARY_TEMPLATE", FLAT)
    result = run("library", "organise")
    assert result.exit_code == 0, result.output
    assert "3 files of 1 songs moved" in result.stdout
    assert "output/Ann/Far (Instrumental)/Run (Instrumental).flac" in tree(store)
    again = documents(run("library", "organise", "--json"))
    assert (again["moved_files"], again["interrupted"], again["entries"]) == (0, False, [])


def test_a_song_that_a_job_works_on_is_left_alone_and_named(
    run: Run, new_song: NewSong, store: Store, queued: SongIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_song(queued.song).keep()
    before = tree(store)
    monkeypatch.setenv("IRONCLAD_LIBRARY_TEMPLATE", FLAT)
    result = run("library", "organise")
    assert result.exit_code == 0
    assert "is queued" in result.stdout
    assert "1 songs left alone" in result.stdout
    assert tree(store) == before


def test_songs_can_be_chosen_by_job_and_by_user(run: Run, new_song: NewSong, queued: SongIdentity) -> None:
    new_song(queued.song).keep()
    new_song("song-b", title="Hop").keep(user_id="bob")
    chosen = documents(run("library", "preview", queued.song, "--template", FLAT, "--json"))
    assert [entry["song"] for entry in chosen["entries"]] == [queued.song]
    of_bob = documents(run("library", "preview", "--user", "bob", "--template", FLAT, "--json"))
    assert [entry["song"] for entry in of_bob["entries"]] == ["song-b"]
    assert run("library", "preview", "nobody").exit_code == Exit.NOT_FOUND


def test_ctrl_c_stops_after_the_song_at_hand(
    run: Run, new_song: NewSong, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(3):
        new_song(f"song-{at}", title=f"T{at}", cover=None).keep()
    monkeypatch.setenv("IRONCLAD_LIBRARY_TEMPLATE", FLAT)
    monkeypatch.setattr(rearrange, "BATCH", 1)
    monkeypatch.setattr(library_commands._Tally, "add", lambda self, one, **_: signal.raise_signal(signal.SIGINT))
    result = run("library", "organise")
    assert result.exit_code == Exit.INTERRUPTED
    assert "run it again to go on" in result.stderr
    assert len([path for path in tree(store) if "03 - " in path]) == 6


def test_titles_cannot_steer_the_terminal(run: Run, new_song: NewSong) -> None:
    new_song("song-a", title="\x1b[2J[red]Run").keep()
    shown = run("library", "preview", "--all").stdout
    assert "\x1b" not in shown
    assert "[2J[red]Run" in shown


def test_progress_without_a_terminal_is_a_line_now_and_then(
    run: Run, new_song: NewSong, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_song("song-a").keep()
    monkeypatch.setattr(library_commands, "TELL_S", 0.0)
    assert "looking: 1 of 1 songs" in run("library", "preview").stderr


def test_the_original_is_asked_for_by_job_and_by_default(run: Run, ledger: Ledger, song: Path) -> None:
    run("defaults", "set", "--user", "ada", "--original")
    assert ledger.user_defaults("ada").original
    assert "original" in run("defaults", "show", "--user", "ada").stdout
    run("submit", song, "--user", "ada", "--no-original")
    assert ledger.jobs()[0].options.named() == {"original": False}


def test_a_preview_shows_what_other_options_would_leave(run: Run, new_song: NewSong, store: Store) -> None:
    new_song("song-a", cover=None).keep()
    before = tree(store)
    arguments = ("--targets", "instrumental,vocals", "--stem", "drums", "--original", "--format", "mp3")
    (entry,) = documents(run("library", "preview", *arguments, "--json"))["entries"]
    assert sorted(entry["files"]) == [
        "output-stems/Ann/Far (Stems)/03 - Run (Drums).mp3",
        "output/Ann/Far (A Cappella)/03 - Run (A Cappella).mp3",
        "output/Ann/Far (Instrumental)/03 - Run (Instrumental).mp3",
        "output/Ann/Far/03 - Run.audio",
    ]
    gone = [move["from"] for move in entry["moves"] if move["to"] is None]
    assert gone == ["output-stems/Ann/Far (Stems)/03 - Run (Vocals).flac"]
    assert tree(store) == before
    (more,) = documents(run("library", "preview", "--targets", "instrumental,drums", "--json"))["entries"]
    assert [move["to"] for move in more["moves"]] == ["output/Ann/Far (Drums)/03 - Run (Drums).flac"]
    (same,) = documents(run("library", "preview", "--stem", "all", "--no-original", "--all", "--json"))["entries"]
    assert same["moves"] == []
    assert "unknown_format" in run("library", "preview", "--format", "tape").stderr


def test_a_preview_of_one_stem_keeps_what_is_left_over(run: Run, new_song: NewSong) -> None:
    song = new_song("song-a", cover=None)
    song.stems = ("vocals", "drums", "residual")
    song.keep()
    (entry,) = documents(run("library", "preview", "--stem", "drums", "--json"))["entries"]
    gone = [move["from"] for move in entry["moves"] if move["to"] is None]
    assert gone == ["output-stems/Ann/Far (Stems)/03 - Run (Vocals).flac"]
