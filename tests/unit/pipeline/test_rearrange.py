"""Entries moved to where tags and templates want them: the same decisions in a preview as in the real thing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.pipeline import hands, ownership
from ironclad_assets.pipeline import rearrange as rearrange_module
from ironclad_assets.pipeline.filed import songs_in_library
from ironclad_assets.pipeline.organise import check_entry
from ironclad_assets.pipeline.rearrange import Rearranged, Rearrangement
from ironclad_assets.pipeline.sidecars import sidecar_folder
from ironclad_assets.pipeline.templates import DEFAULT, Layout, read_layout
from ironclad_assets.storage.store import Store
from tests.filing import NewSong, Song, folders, song_maker, tree

FLAT = read_layout("{album_artist}/{album}/{title}.{ext}")
BY_YEAR = read_layout("Music/{album_artist}/<{year} - >{album}/<{disc}-><{track}. >{title}.{ext}")


@pytest.fixture
def new_song(store: Store, tmp_path: Path) -> NewSong:
    return song_maker(store, tmp_path / "made")


@pytest.fixture(params=["with-marks", "without-marks"])
def marks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system of the library keeps extended attributes."""
    if request.param == "without-marks":

        def refuse(*_args: object, **_kwargs: object) -> None:
            raise OSError(95, "not supported")

        monkeypatch.setattr(ownership.os, "setxattr", refuse)
        monkeypatch.setattr(ownership.os, "getxattr", refuse)
    return request.param == "with-marks"


def rearrange(store: Store, layout: Layout = FLAT, *, pretend: bool = False, **others: object) -> list[Rearranged]:
    work = Rearrangement(store=store, layout=layout, pretend=pretend, **others)  # type: ignore[arg-type]
    return list(work.run(songs_in_library(store)))


def moved(found: list[Rearranged]) -> dict[str | None, str | None]:
    return {
        move.before and f"{move.root}/{move.before}": move.after and f"{move.root}/{move.after}"
        for one in found
        for move in one.moves
    }


def sound(song: Song) -> bool:
    return all(check.passed for check in check_entry(song.kept(), store=song.store))


def test_a_preview_touches_nothing_and_tells_what_organising_then_does(
    store: Store, new_song: NewSong, marks: bool
) -> None:
    songs = [new_song(f"song-{at}", title=f"T{at}", track_number=at, cover=b"art") for at in range(1, 4)]
    for song in songs:
        song.lyrics, song.original = "[00:01.00]la", b"as uploaded"
        song.keep()
    before, made = tree(store), folders(store)
    told = moved(rearrange(store, BY_YEAR, pretend=True))
    assert (tree(store), folders(store)) == (before, made)
    assert moved(rearrange(store, BY_YEAR)) == told
    assert tree(store) == {told.get(path, path): before[path] for path in before}
    assert all(sound(song) for song in songs)
    assert "output/Music/Ann/Far/02. T2.mp3" in tree(store)


def test_organising_twice_changes_nothing_the_second_time(store: Store, new_song: NewSong, marks: bool) -> None:
    """Rule 11 of the media library: every run is idempotent."""
    for at in range(3):
        new_song(f"song-{at}").keep()  # three of one name
    rearrange(store)
    state = {path: (store.root / path).stat().st_ino for path in tree(store)}
    assert moved(rearrange(store)) == {}
    assert {path: (store.root / path).stat().st_ino for path in tree(store)} == state


def test_there_and_back_leaves_the_library_as_it_was(store: Store, new_song: NewSong, marks: bool) -> None:
    songs = [new_song(f"song-{at}", album=("Far", "Near")[at % 2], title=f"T{at}") for at in range(4)]
    for song in songs:
        song.keep()
    before, made = tree(store), folders(store)
    rearrange(store, BY_YEAR)
    assert not set(before) & set(tree(store))
    rearrange(store, DEFAULT)
    assert (tree(store), folders(store)) == (before, made)


def test_a_changed_tag_moves_the_entry_and_leaves_nothing_behind(store: Store, new_song: NewSong, marks: bool) -> None:
    song = new_song()
    song.lyrics = "la la"
    song.keep()
    song.retag(artist="Bob", title="Walk")
    rearrange(store, DEFAULT)
    assert all("/Bob/" in path for path in tree(store))
    assert all("/Bob" in folder for folder in folders(store))
    assert "output/Bob/Far (Instrumental)/03 - Walk (Instrumental).txt" in tree(store)
    assert sound(song)


def test_lyrics_that_were_dropped_since_are_filed_in_place_of_those_from_the_tags(
    store: Store, new_song: NewSong, marks: bool
) -> None:
    song = new_song()
    song.lyrics = "without times"
    song.keep()
    folder = sidecar_folder(store, song=song.key)
    folder.mkdir(parents=True)
    (folder / "lyrics.lrc").write_bytes(b"[00:01.00]la")
    (move,) = moved(rearrange(store, DEFAULT, pretend=True)).items()
    assert [path and path[-4:] for path in move] == [".txt", ".lrc"]
    rearrange(store, DEFAULT)
    names = [path.rpartition("/")[2] for path in tree(store) if path.startswith("output/")]
    assert names == ["03 - Run (Instrumental).flac", "03 - Run (Instrumental).lrc", "cover.jpg"]
    assert moved(rearrange(store, DEFAULT)) == {}
    assert sound(song)


def test_the_cover_stays_with_the_album_until_its_last_song_leaves(
    store: Store, new_song: NewSong, marks: bool
) -> None:
    one, two = new_song("song-a", cover=b"art"), new_song("song-b", title="Hop", cover=b"other art")
    one.keep()
    two.keep()
    one.retag(album="Near")
    rearrange(store, DEFAULT)
    assert tree(store)["output/Ann/Near (Instrumental)/cover.jpg"] == b"art"
    assert tree(store)["output/Ann/Far (Instrumental)/cover.jpg"] == b"art"
    two.retag(album="Near")
    found = rearrange(store, DEFAULT)
    assert found
    if marks:  # else nobody can tell whose cover it is
        assert not [path for path in tree(store) if "/Far " in path]
    assert sound(one)
    assert sound(two)


def test_a_whole_album_moves_with_its_cover(store: Store, new_song: NewSong, marks: bool) -> None:
    for at in range(3):
        new_song(f"song-{at}", title=f"T{at}", cover=b"art").keep()
    rearrange(store, BY_YEAR)
    assert folders(store) == {
        "output/Music", "output/Music/Ann", "output/Music/Ann/Far (Instrumental)",
        "output-stems/Music", "output-stems/Music/Ann", "output-stems/Music/Ann/Far (Stems)",
    }  # fmt: skip
    assert len([path for path in tree(store) if path.endswith("cover.jpg")]) == 2


def test_a_strangers_file_is_neither_moved_nor_replaced(store: Store, new_song: NewSong, marks: bool) -> None:
    song = new_song()
    song.keep()
    taken = store.library("output") / "Ann" / "Far (Instrumental)" / "Run (Instrumental).flac"
    taken.write_bytes(b"bought in a shop")
    rearrange(store)
    assert taken.read_bytes() == b"bought in a shop"
    assert taken.with_name("Run (Instrumental) (2).flac").is_file()
    assert sound(song)


def test_a_file_that_a_stranger_put_in_its_place_is_left_and_named(store: Store, new_song: NewSong) -> None:
    song = new_song(cover=None)
    entry = song.keep()
    path = store.library("output") / entry.files[0].file.path
    path.unlink()
    path.write_bytes(b"bought in a shop")
    (found,) = rearrange(store)
    assert path.read_bytes() == b"bought in a shop"
    assert found.missing == (f"output/{entry.files[0].file.path}",)
    assert len(found.moves) == 2


def test_a_name_that_another_song_is_about_to_leave_is_waited_for(store: Store, new_song: NewSong) -> None:
    first, second = new_song("song-a", title="Run", cover=None), new_song("song-b", title="Hop", cover=None)
    first.keep()
    second.keep()
    first.retag(title="Hop")
    second.retag(title="Leap")
    rearrange(store, DEFAULT)
    titles = [path.rpartition("/")[2] for path in tree(store) if path.startswith("output/")]
    assert sorted(titles) == ["03 - Hop (Instrumental).flac", "03 - Leap (Instrumental).flac"]


def test_a_song_that_a_job_works_on_is_left_alone(store: Store, new_song: NewSong) -> None:
    new_song().keep()
    before = tree(store)
    (found,) = rearrange(store, busy=lambda song: "job 1 is running")
    assert (found.reason, found.moves) == ("job 1 is running", ())
    assert tree(store) == before


def test_an_entry_whose_tags_are_gone_is_left_alone_and_named(store: Store, new_song: NewSong) -> None:
    song = new_song()
    song.keep()
    store.stage("song_metadata", song.key).manifest.unlink()
    (found,) = rearrange(store)
    assert found.reason.startswith("artifact_missing")


def test_songs_of_other_users_are_passed_over(store: Store, new_song: NewSong) -> None:
    new_song("song-a").keep(user_id="ada")
    new_song("song-b", title="Hop").keep(user_id="bob")
    found = rearrange(store, user_id="ada")
    assert [one.song for one in found] == ["song-a"]
    assert any("03 - Hop" in path for path in tree(store))


def test_a_stop_is_heard_between_two_batches_and_the_next_pass_goes_on(
    store: Store, new_song: NewSong, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs = [new_song(f"song-{at}", title=f"T{at}") for at in range(3)]
    for song in songs:
        song.keep()
    monkeypatch.setattr(rearrange_module, "BATCH", 1)
    asked = iter([False, True])
    assert len(rearrange(store, stop=lambda: next(asked))) == 1
    assert all(sound(song) for song in songs)
    rearrange(store)
    assert not [path for path in tree(store) if "03 - " in path]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", range(8))
def test_a_pass_that_is_killed_anywhere_is_mended_by_the_next(
    store: Store, new_song: NewSong, monkeypatch: pytest.MonkeyPatch, after: int, marks: bool
) -> None:
    song = new_song()
    song.lyrics = "la"
    song.keep()
    before = sorted(tree(store).values())
    calls: Iterator[int] = iter(range(100))

    def die(function: object) -> object:
        def call(*args: object, **kwargs: object) -> object:
            if next(calls) == after:
                raise Killed
            return function(*args, **kwargs)  # type: ignore[operator]

        return call

    with monkeypatch.context() as patch:
        for module, name in ((hands, "give_name"), (hands, "remove_empty"), (rearrange_module, "sync_folders")):
            patch.setattr(module, name, die(getattr(module, name)))
        patch.setattr(ownership.Claims, "announce", die(ownership.Claims.announce))
        try:
            rearrange(store, BY_YEAR)
        except Killed:
            assert sorted(tree(store).values()) == before
    rearrange(store, BY_YEAR)
    assert sorted(tree(store).values()) == before
    assert all("/Music/" in path for path in tree(store))
    assert all("/Music" in folder for folder in folders(store))
    assert sound(song)


def test_a_file_that_a_killed_pass_left_with_two_names_keeps_the_new_one(store: Store, new_song: NewSong) -> None:
    song = new_song(cover=None)
    entry = song.keep()
    for item in entry.files:
        old = store.library(item.root) / item.file.path
        old.with_name(old.name.removeprefix("03 - ")).hardlink_to(old)
    rearrange(store)
    assert len(tree(store)) == len(entry.files)
    assert not [path for path in tree(store) if "03 - " in path]
    assert sound(song)


def test_a_store_that_is_away_stops_the_pass(store: Store, new_song: NewSong) -> None:
    new_song().keep()
    store.sentinel.unlink()
    with pytest.raises(StorageUnavailable) as caught:
        rearrange(store)
    assert caught.value.code is ErrorCode.STORAGE_AWAY


def test_progress_counts_every_song(store: Store, new_song: NewSong) -> None:
    for at in range(3):
        new_song(f"song-{at}", title=f"T{at}").keep()
    told: list[tuple[int, int]] = []
    rearrange(store, pretend=True, tell=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_record_of_a_song_names_the_new_paths(store: Store, new_song: NewSong) -> None:
    """OUT-001"""
    song = new_song()
    song.keep()
    rearrange(store)
    kept = song.kept()
    folder = store.stage("library_entry", song.key).files("a" * 64)
    text = (folder / "metadata.json").read_text(encoding="utf-8")
    assert all(item.file.path in text for item in kept.files)


def test_a_name_that_is_taken_at_the_last_moment_is_left_to_the_stranger(
    store: Store, new_song: NewSong, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs = [new_song(f"song-{at}", title=f"T{at}") for at in range(2)]
    for song in songs:
        song.keep()
    taken = store.library("output") / "Ann" / "Far (Instrumental)" / "T0 (Instrumental).flac"
    give_name = hands.give_name

    def give_name_late(file: Path, *, destination: Path, replace: bool) -> None:
        if destination == taken and not taken.exists():
            taken.write_bytes(b"faster")
        give_name(file, destination=destination, replace=replace)

    monkeypatch.setattr(hands, "give_name", give_name_late)
    found = rearrange(store)
    assert taken.read_bytes() == b"faster"
    assert moved(found)["output/Ann/Far (Instrumental)/03 - T0 (Instrumental).flac"] == (
        "output/Ann/Far (Instrumental)/T0 (Instrumental) (2).flac"
    )
    assert all(sound(song) for song in songs)
    assert moved(rearrange(store)) == {}


def test_an_entry_that_a_job_has_just_filed_is_left_to_the_next_pass(store: Store, new_song: NewSong) -> None:
    song = new_song()
    song.keep()

    def file_again(_song: str) -> None:
        song.content = "better engine"
        song.keep()

    (found,) = rearrange(store, busy=file_again)
    assert "just filed" in found.reason
    assert sound(song)
    rearrange(store)
    assert sound(song)


def test_a_disk_that_fails_under_a_pass_keeps_what_was_moved(
    store: Store, new_song: NewSong, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs = [new_song(f"song-{at}", title=f"T{at}", cover=None) for at in range(3)]
    for song in songs:
        song.keep()
    before = sorted(tree(store).values())
    calls = iter(range(100))
    give_name = hands.give_name

    def fail_later(file: Path, *, destination: Path, replace: bool) -> None:
        if next(calls) == 4:
            raise StorageUnavailable("the disk is gone", code=ErrorCode.STORAGE_AWAY)
        give_name(file, destination=destination, replace=replace)

    with monkeypatch.context() as patch:
        patch.setattr(hands, "give_name", fail_later)
        with pytest.raises(StorageUnavailable):
            rearrange(store)
    assert sorted(tree(store).values()) == before
    assert sound(songs[0])
    rearrange(store)
    assert sorted(tree(store).values()) == before
    assert all(sound(song) for song in songs)
