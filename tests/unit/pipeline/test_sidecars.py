"""Lyrics as files: what they are called, what is in them, and which are found."""

from pathlib import Path

import pytest

from ironclad_assets.pipeline.sidecars import MAX_LYRICS_BYTES, find_lyrics, sidecar_folder, write_lyrics
from ironclad_assets.storage.store import Store


@pytest.mark.parametrize(
    ("text", "extension"),
    [
        ("[00:12.00]la\n[00:13.50]la", "lrc"),
        ("[ar:Ann]\n[1:02]la", "lrc"),
        ("[00:12.00]<00:12.00>la <00:12.50>la", "elrc"),
        ("la la\n[Chorus]\nla", "txt"),
        ("see 00:12", "txt"),
    ],
)
def test_the_extension_says_how_the_text_is_read(tmp_path: Path, text: str, extension: str) -> None:
    lyrics = write_lyrics(text, folder=tmp_path)
    assert lyrics is not None
    assert (lyrics.extension, lyrics.source.name) == (extension, f"lyrics.{extension}")
    assert lyrics.source.read_text(encoding="utf-8") == f"{text}\n"


@pytest.mark.parametrize("text", ["", " \r\n\t", "\x00\x1b\u202e"])
def test_nothing_to_read_makes_no_file(tmp_path: Path, text: str) -> None:
    assert write_lyrics(text, folder=tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_control_characters_and_odd_line_ends_do_not_reach_the_file(tmp_path: Path) -> None:
    lyrics = write_lyrics("\ufeffla\r\nla\x1b[2J\x00\rla\u202e", folder=tmp_path)
    assert lyrics is not None
    assert lyrics.source.read_text(encoding="utf-8") == "la\nla[2J\nla\n"


def test_endless_lyrics_are_cut_at_a_character(tmp_path: Path) -> None:
    lyrics = write_lyrics("x" + "é" * MAX_LYRICS_BYTES, folder=tmp_path)
    assert lyrics is not None
    assert len(lyrics.source.read_text(encoding="utf-8").encode()) <= MAX_LYRICS_BYTES


def test_the_same_text_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_lyrics("la", folder=tmp_path)
    assert first == write_lyrics("la", folder=tmp_path)


def test_the_best_of_what_was_dropped_is_found(store: Store) -> None:
    assert find_lyrics(store, song="song-a") is None
    folder = sidecar_folder(store, song="song-a")
    folder.mkdir(parents=True)
    for extension in ("txt", "elrc", "lrc"):
        (folder / f"lyrics.{extension}").write_text(extension, encoding="utf-8")
        found = find_lyrics(store, song="song-a")
        assert found is not None
        assert found.extension == extension
        assert found.record.size_bytes == len(extension)
