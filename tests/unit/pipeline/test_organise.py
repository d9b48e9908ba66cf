"""The library: whose file is where, what a second run does, and what two songs do to each other."""

import errno
import multiprocessing
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.errors import ErrorCode, PermanentFailure, StorageUnavailable
from ironclad_assets.pipeline import hands, ownership, shelf, shelving
from ironclad_assets.pipeline.organise import check_entry, organise, original_extension
from ironclad_assets.storage.hashing import record_file
from ironclad_assets.storage.store import Store
from tests.filing import NewSong, Song, audio_paths, folders, song_maker, tree


@pytest.fixture
def new_song(store: Store, tmp_path: Path) -> NewSong:
    return song_maker(store, tmp_path / "made")


def test_the_instrumental_is_an_album_and_stems_have_a_root_of_their_own(store: Store, new_song: NewSong) -> None:
    """ORG-001"""
    entry = new_song().organise()
    assert list(tree(store)) == [
        "output/Ann/Far (Instrumental)/03 - Run (Instrumental).flac",
        "output/Ann/Far (Instrumental)/cover.jpg",
        "output-stems/Ann/Far (Stems)/03 - Run (Drums).flac",
        "output-stems/Ann/Far (Stems)/03 - Run (Vocals).flac",
        "output-stems/Ann/Far (Stems)/cover.jpg",
    ]
    assert {f"{item.root}/{item.file.path}" for item in entry.files} == set(tree(store))
    assert entry.replaced == ()
    assert all(check.passed for check in check_entry(entry, store=store))


def test_a_second_run_changes_nothing(store: Store, new_song: NewSong) -> None:
    song = new_song()
    first = song.organise()
    before = {path: (store.root / path).stat().st_ino for path in tree(store)}
    assert song.organise() == first
    assert {path: (store.root / path).stat().st_ino for path in tree(store)} == before


def test_a_run_that_was_killed_before_its_entry_was_kept_is_repeated_in_place(store: Store, new_song: NewSong) -> None:
    song = new_song()
    first = song.organise()
    song.entry = None
    assert song.organise() == first
    assert len(tree(store)) == 5


@pytest.mark.parametrize("marks", [True, False], ids=["with-marks", "without-marks"])
def test_strays_of_a_killed_run_are_moved_too(
    store: Store, new_song: NewSong, monkeypatch: pytest.MonkeyPatch, marks: bool
) -> None:
    if not marks:
        forbid_marks(monkeypatch)
    song = new_song()
    song.organise()
    song.entry = None
    entry = song.organise(title="Walk")
    assert "output/Ann/Far (Instrumental)/03 - Run (Instrumental).flac" in entry.replaced
    assert not [path for path in tree(store) if "Run" in path]


def test_new_content_replaces_the_songs_own_files(store: Store, new_song: NewSong) -> None:
    song = new_song()
    song.organise()
    song.content = "better engine"
    song.organise()
    assert len(tree(store)) == 5
    assert tree(store)["output/Ann/Far (Instrumental)/03 - Run (Instrumental).flac"].startswith(b"better engine")


def test_a_changed_tag_moves_the_entry_and_leaves_no_empty_folder(store: Store, new_song: NewSong) -> None:
    song = new_song()
    song.organise()
    entry = song.organise(artist="Bob", album="Near")
    assert all("/Bob/Near" in path for path in tree(store))
    assert folders(store) == {
        "output/Bob", "output/Bob/Near (Instrumental)", "output-stems/Bob", "output-stems/Bob/Near (Stems)",
    }  # fmt: skip
    assert len(entry.replaced) == 5


def test_fewer_targets_and_stems_remove_what_is_no_longer_made(store: Store, new_song: NewSong) -> None:
    song = new_song()
    song.targets = ("instrumental", "vocals")
    song.organise()
    song.targets, song.stems = ("instrumental",), ("vocals",)
    song.organise()
    assert [path for path in tree(store) if path.endswith(".flac")] == [
        "output/Ann/Far (Instrumental)/03 - Run (Instrumental).flac",
        "output-stems/Ann/Far (Stems)/03 - Run (Vocals).flac",
    ]


def test_two_songs_of_one_name_get_different_paths_and_keep_them(store: Store, new_song: NewSong) -> None:
    one, two = new_song("song-a"), new_song("song-b")
    first, second = one.organise(), two.organise()
    assert "output/Ann/Far (Instrumental)/03 - Run (Instrumental) (2).flac" in audio_paths(second)
    assert not set(audio_paths(first)) & set(audio_paths(second))
    assert (one.organise(), two.organise()) == (first, second)
    one.organise(title="Walk")
    assert audio_paths(two.organise()) == audio_paths(second)


@pytest.mark.parametrize("marks", [True, False], ids=["with-marks", "without-marks"])
def test_a_strangers_file_is_never_replaced(
    store: Store, new_song: NewSong, monkeypatch: pytest.MonkeyPatch, marks: bool
) -> None:
    if not marks:
        forbid_marks(monkeypatch)
    path = store.library("output") / "Ann" / "Far (Instrumental)" / "03 - Run (Instrumental).flac"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"bought in a shop")
    song = new_song()
    song.organise()
    song.content = "again"
    song.organise()
    assert path.read_bytes() == b"bought in a shop"
    assert len([name for name in tree(store) if name.startswith("output/")]) == 3


def test_two_users_with_the_same_bytes_do_not_share_a_file(store: Store, new_song: NewSong) -> None:
    first = new_song("song-a", content="same").organise()
    second = new_song("song-b", content="same").organise()
    assert not set(audio_paths(first)) & set(audio_paths(second))


def test_a_file_that_somebody_changed_is_not_removed_where_marks_are_unknown(
    store: Store, new_song: NewSong, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_marks(monkeypatch)
    song = new_song(cover=None)
    song.organise()
    path = store.library("output") / "Ann" / "Far (Instrumental)" / "03 - Run (Instrumental).flac"
    path.write_bytes(b"edited by hand")
    song.organise(title="Walk")
    assert path.read_bytes() == b"edited by hand"


def test_a_restored_library_is_recognised_by_its_bytes(
    store: Store, new_song: NewSong, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = new_song()
    with monkeypatch.context() as patch:
        forbid_marks(patch)
        first = song.organise()
    (store.stage("library_entry", song.key).path / "claims.json").unlink()
    song.entry = None
    assert audio_paths(song.organise()) == audio_paths(first)


def test_the_cover_of_an_album_is_written_once_and_stays_while_the_album_does(store: Store, new_song: NewSong) -> None:
    one, two = new_song("song-a", cover=b"one"), new_song("song-b", title="Hop", cover=b"two")
    one.organise()
    entry = two.organise()
    cover = "output/Ann/Far (Instrumental)/cover.jpg"
    assert tree(store)[cover] == b"one"
    assert not [item for item in entry.files if item.role == "cover"]
    one.organise(album="Near")
    assert tree(store)[cover] == b"one"


@pytest.mark.parametrize("name", ["cover.jpg", "Folder.JPG", "front.png"])
def test_a_cover_that_is_there_already_is_left_alone(store: Store, new_song: NewSong, name: str) -> None:
    folder = store.library("output") / "Ann" / "Far (Instrumental)"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"mine")
    new_song().organise()
    assert (folder / name).read_bytes() == b"mine"
    assert len([path for path in folder.iterdir() if path.suffix != ".flac"]) == 1


def test_a_better_cover_replaces_the_songs_own(store: Store, new_song: NewSong) -> None:
    song = new_song(cover=b"small")
    song.organise()
    song.cover = b"large"
    song.organise()
    assert tree(store)["output/Ann/Far (Instrumental)/cover.jpg"] == b"large"


def test_a_folder_that_exists_in_another_spelling_is_used(store: Store, new_song: NewSong) -> None:
    existing = unicodedata.normalize("NFD", "BJÖRK")
    (store.library("output") / existing).mkdir()
    new_song(artist="Björk").organise()
    assert [path.name for path in store.library("output").iterdir()] == [existing]


def test_a_title_that_changes_its_case_only_moves_the_file(store: Store, new_song: NewSong) -> None:
    song = new_song()
    song.organise()
    song.organise(title="RUN")
    assert [path for path in tree(store) if "output/" in path and path.endswith(".flac")] == [
        "output/Ann/Far (Instrumental)/03 - RUN (Instrumental).flac"
    ]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_folders_name_that_is_no_folder_is_walked_around(
    store: Store, new_song: NewSong, tmp_path: Path, kind: str
) -> None:
    """ORG-001: not even a symbolic link in the library leads out of it."""
    taken = store.library("output") / "Ann"
    if kind == "file":
        taken.write_bytes(b"not a folder")
    else:
        taken.symlink_to(tmp_path)
    entry = new_song().organise()
    assert (store.library("output") / "Ann (2)" / "Far (Instrumental)").is_dir()
    assert all(check.passed for check in check_entry(entry, store=store))


def test_tags_cannot_lead_out_of_the_library(store: Store, new_song: NewSong) -> None:
    """ORG-001"""
    song = new_song(artist="../../..", album="..", title="/etc/../passwd\0", album_artist="..\\..")
    before = {path for path in store.root.parent.rglob("*") if not path.is_relative_to(store.root)}
    entry = song.organise()
    assert {path for path in store.root.parent.rglob("*") if not path.is_relative_to(store.root)} == before
    assert all(check.passed for check in check_entry(entry, store=store))


def test_a_full_disk_leaves_nothing_behind_and_holds_the_job(
    store: Store, new_song: NewSong, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def fill_up(_descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise OSError(errno.ENOSPC, "no space")

    song = new_song()
    with monkeypatch.context() as patch:
        patch.setattr(shelving.os, "fsync", fill_up)
        with pytest.raises(StorageUnavailable) as caught:
            song.organise()
    assert caught.value.code is ErrorCode.STORAGE_FULL
    assert tree(store) == {}
    assert folders(store) == set()
    song.organise()
    assert len(tree(store)) == 5


def test_a_missing_sentinel_pauses_before_anything_is_touched(store: Store, new_song: NewSong) -> None:
    song = new_song()
    store.sentinel.unlink()
    with pytest.raises(StorageUnavailable) as caught:
        song.organise()
    assert caught.value.code is ErrorCode.STORAGE_AWAY


def test_a_delivered_file_that_changed_since_is_refused(store: Store, new_song: NewSong) -> None:
    song = new_song(cover=None)
    track = song.track()
    (song.folder / "stem-drums.flac").write_bytes(b"bit rot")
    with pytest.raises(PermanentFailure) as caught:
        organise(
            track, track_folder=song.folder, metadata=song.metadata, metadata_folder=song.folder,
            previous=None, store=store, song=song.key,
        )  # fmt: skip
    assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED
    assert tree(store) == {}


def test_leftovers_of_a_killed_copy_are_cleared(store: Store, new_song: NewSong) -> None:
    song = new_song()
    leftover = store.library("output") / f".{song.key}.part"
    leftover.mkdir()
    (leftover / "half").write_bytes(b"half a file")
    song.organise()
    assert not leftover.exists()


def test_leftovers_are_cleared_where_nothing_is_left_to_copy(store: Store, new_song: NewSong) -> None:
    song = new_song()
    song.organise()
    for root in ("output", "output-stems"):
        (store.library(root) / f".{song.key}.part").mkdir()
    song.organise()
    assert not list(store.root.rglob(".*.part"))


def test_an_entry_with_a_damaged_or_missing_file_fails_its_check(store: Store, new_song: NewSong) -> None:
    entry = new_song().organise()
    (store.root / audio_paths(entry)[0]).write_bytes(b"bit rot")
    (store.root / audio_paths(entry)[1]).unlink()
    inside, whole = check_entry(entry, store=store)
    assert inside.passed
    assert not whole.passed
    assert "Instrumental" in whole.detail
    assert "Vocals" in whole.detail


def test_an_entry_that_points_through_a_link_fails_its_check(store: Store, new_song: NewSong, tmp_path: Path) -> None:
    entry = new_song().organise()
    file = store.root / audio_paths(entry)[0]
    (tmp_path / "elsewhere.flac").write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere.flac")
    assert not check_entry(entry, store=store)[0].passed


def test_songs_organised_at_once_by_many_processes_do_not_overwrite_each_other(store: Store, new_song: NewSong) -> None:
    """ORG-001: the last word on a path is the file system's, not a look before the leap."""
    songs = [new_song(f"song-{number}", cover=str(number).encode()) for number in range(8)]
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(songs))

    def work(song: Song) -> None:
        barrier.wait(20)
        song.organise()
        os._exit(0)

    children = [context.Process(target=work, args=(song,)) for song in songs]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * len(songs)
    contents = [data for path, data in tree(store).items() if path.endswith("flac")]
    assert sorted(contents) == sorted(
        f"{song.key}:{kind}".encode() for song in songs for kind in ("target:instrumental", "stem:vocals", "stem:drums")
    )
    assert len(tree(store)) == 8 * 3 + 2


@pytest.mark.parametrize("file", ["03 - Run (Instrumental).flac", "cover.jpg"])
def test_a_name_that_is_taken_at_the_last_moment_is_left_to_the_faster_song(
    store: Store, new_song: NewSong, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    path = store.library("output") / "Ann" / "Far (Instrumental)" / file

    def give_name_late(copy: Path, *, destination: Path, replace: bool) -> None:
        if destination == path and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"faster")
        shelving.give_name(copy, destination=destination, replace=replace)

    monkeypatch.setattr(hands, "give_name", give_name_late)
    entry = new_song().organise()
    assert path.read_bytes() == b"faster"
    assert f"output/{path.relative_to(store.library('output')).as_posix()}" not in ownership.keys(entry.files)
    assert len(audio_paths(entry)) == 3
    assert all(check.passed for check in check_entry(entry, store=store))


def test_two_targets_of_one_name_get_different_paths(store: Store, new_song: NewSong) -> None:
    song = new_song()
    song.targets = ("vocals", "lead_vocals")  # an a cappella each
    first = song.organise()
    assert song.organise() == first
    assert len(set(audio_paths(first))) == 4


def test_a_name_that_everybody_has_is_refused(store: Store, new_song: NewSong, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "MAX_COPIES", 2)
    new_song("song-a").organise()
    with pytest.raises(PermanentFailure, match="other tags"):
        new_song("song-b").organise()


@pytest.mark.parametrize("taken", [False, True])
def test_a_file_system_without_links_is_served_too(
    store: Store, new_song: NewSong, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    forbid_marks(monkeypatch)
    monkeypatch.setattr(shelving.os, "link", refuse)
    path = store.library("output") / "Ann" / "Far (Instrumental)" / "03 - Run (Instrumental).flac"
    song = new_song()
    if taken:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"a stranger's")
    first = song.organise()
    assert all(check.passed for check in check_entry(first, store=store))
    assert (path.read_bytes() == b"a stranger's") == taken
    assert song.organise() == first


def test_a_name_reserved_by_a_killed_run_is_taken_up_again(
    store: Store, new_song: NewSong, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_marks(monkeypatch)
    song = new_song()
    first = song.organise()
    (store.root / audio_paths(first)[0]).write_bytes(b"")
    song.entry = None
    assert audio_paths(song.organise()) == audio_paths(first)


def forbid_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the library's file system one without extended attributes."""

    def refuse(*_args: object, **_kwargs: object) -> Any:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(ownership.os, "setxattr", refuse)
    monkeypatch.setattr(ownership.os, "getxattr", refuse)


def test_records_in_the_entry_are_those_of_the_files(store: Store, new_song: NewSong) -> None:
    for item in new_song().organise().files:
        found = record_file(store.library(item.root) / item.file.path, base=store.library(item.root))
        assert found == FileRecord.model_validate(item.file)


@pytest.mark.parametrize(
    ("name", "container", "extension"),
    [
        ("Run.FLAC", "flac", "flac"),
        ("Run.mp4", "mp4", "m4a"),
        ("Run", "ogg", "ogg"),
        ("Run.", "wav", "wav"),
        ("Run.../../x", "mp3", "mp3"),
        ("Run.c'd", "matroska,webm", "audio"),
        ("Run.tar gz", "MP4", "m4a"),
        ("Run.mp3", "flac", "flac"),
        ("Run.exe", "mp3", "mp3"),
        ("Run", "wavpack", "wv"),
        ("Run.opus", "ogg", "opus"),
    ],
)
def test_an_original_keeps_its_extension_where_it_fits_and_servers_take_it_for_music(
    name: str, container: str, extension: str
) -> None:
    """Rule 7: `.mp4` is not music to Jellyfin."""
    assert original_extension(name, container=container) == extension


def test_the_original_is_an_album_beside_its_instrumental_byte_for_byte(store: Store, new_song: NewSong) -> None:
    song = new_song()
    song.original = b"as it was uploaded"
    entry = song.organise()
    assert tree(store)["output/Ann/Far/03 - Run.mp3"] == b"as it was uploaded"
    assert tree(store)["output/Ann/Far/cover.jpg"] == b"jpeg"
    assert all(check.passed for check in check_entry(entry, store=store))
    song.original = None
    song.organise()
    assert not [path for path in tree(store) if path.startswith("output/Ann/Far/")]


def test_an_upload_that_is_called_instrumental_already_gets_no_second_label(store: Store, new_song: NewSong) -> None:
    """Rule 11: no `(Instrumental) (Instrumental)`; the derived one is the copy (2) where the original is filed too."""
    song = new_song(title="Run (Instrumental)", album="Far (Instrumental)", cover=None)
    song.original, song.stems = b"as it was uploaded", ()
    first = song.organise()
    assert sorted(tree(store)) == [
        "output/Ann/Far (Instrumental)/03 - Run (Instrumental).flac",
        "output/Ann/Far (Instrumental)/03 - Run (Instrumental).mp3",
    ]
    assert song.organise() == first


def test_lyrics_lie_beside_every_song_but_the_stems(store: Store, new_song: NewSong) -> None:
    song = new_song()
    song.lyrics, song.targets = "[00:01.00]la", ("instrumental", "vocals")
    song.organise()
    assert [path for path in tree(store) if path.endswith(".lrc")] == [
        "output/Ann/Far (A Cappella)/03 - Run (A Cappella).lrc",
        "output/Ann/Far (Instrumental)/03 - Run (Instrumental).lrc",
    ]
    song.organise(title="Walk")
    assert {path.rpartition("/")[2] for path in tree(store) if path.endswith(".lrc")} == {
        "03 - Walk (A Cappella).lrc", "03 - Walk (Instrumental).lrc",
    }  # fmt: skip
    song.lyrics = ""
    song.organise()
    assert not [path for path in tree(store) if path.endswith(".lrc")]


def test_a_copy_has_lyrics_of_its_own_name(store: Store, new_song: NewSong) -> None:
    for key in ("song-a", "song-b"):
        song = new_song(key)
        song.lyrics = f"words of {key}"
        song.organise()
    found = {path.rpartition("/")[2]: data for path, data in tree(store).items() if path.endswith(".txt")}
    assert found == {
        "03 - Run (Instrumental).txt": b"words of song-a\n",
        "03 - Run (Instrumental) (2).txt": b"words of song-b\n",
    }


def test_lyrics_of_a_strangers_are_left_alone_with_a_warning(store: Store, new_song: NewSong) -> None:
    path = store.library("output") / "Ann" / "Far (Instrumental)" / "03 - Run (Instrumental).txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"typed by hand")
    song = new_song()
    song.lyrics = "la"
    entry = song.organise()
    assert path.read_bytes() == b"typed by hand"
    assert "somebody else's file is there" in entry.warnings[0]


@pytest.mark.parametrize("twin", [unicodedata.normalize("NFD", "Björk"), "BJÖRK"], ids=["NFD", "case"])
def test_twins_of_a_name_share_folders_and_not_files(store: Store, new_song: NewSong, twin: str) -> None:
    """Rules 5 and 6 of paths: one artist, whatever the spelling."""
    one, two = new_song("song-a", artist="Björk"), new_song("song-b", artist=twin)
    first, second = one.organise(), two.organise()
    assert len(list(store.library("output").iterdir())) == 1
    assert not set(audio_paths(first)) & set(audio_paths(second))
    assert (one.organise(), two.organise()) == (first, second)


def test_moving_an_entry_reads_no_new_room_from_the_disk(store: Store, new_song: NewSong) -> None:
    """The same bytes under other tags are renamed, not copied."""
    song = new_song(cover=None)
    song.organise()
    before = {path.stat().st_ino for path in store.root.rglob("*.flac")}
    song.organise(album="Near")
    assert {path.stat().st_ino for path in store.root.rglob("*.flac")} == before


def test_two_targets_that_change_places_keep_their_bytes(store: Store, new_song: NewSong) -> None:
    song = new_song(cover=None)
    song.stems, song.targets = (), ("lead_vocals",)
    song.organise()
    song.targets = ("vocals", "lead_vocals")  # both are an a cappella; the first takes the name
    entry = song.organise()
    assert all(check.passed for check in check_entry(entry, store=store))
    assert sorted(tree(store).values()) == [b"song-a:target:lead_vocals", b"song-a:target:vocals"]


def test_a_damaged_cover_is_left_out_and_fails_nothing(
    store: Store, new_song: NewSong, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = new_song()
    metadata = song._with_cover()
    (song.folder / "cover.jpg").write_bytes(b"bit rot")
    entry = organise(
        song.track(), track_folder=song.folder, metadata=metadata, metadata_folder=song.folder,
        previous=None, store=store, song=song.key,
    )  # fmt: skip
    assert not [path for path in tree(store) if path.endswith("cover.jpg")]
    assert len(audio_paths(entry)) == 3
