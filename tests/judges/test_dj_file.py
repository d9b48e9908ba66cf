"""The file for DJ programs, as programs see it that know nothing of it, and as its published layout says."""

import json
import re

import pytest

from tests import synth
from tests.judges.album import ALBUM
from tests.judges.delivery import Delivered, Library
from tests.judges.programs import require, text
from tests.judges.soundness import COMPLAIN, decode_ffmpeg

STREAMS = 5


@pytest.fixture(scope="module")
def file(library: Library) -> Delivered:
    (one,) = library.dj_files
    return one


def test_ffprobe_sees_five_streams_of_aac_of_which_the_first_is_played(file: Delivered) -> None:
    require("ffprobe")
    shown = "stream=codec_name,channels,sample_rate:stream_disposition=default,attached_pic"
    streams = json.loads(text("ffprobe", "-v", "error", "-show_entries", shown, "-of", "json", file.path))["streams"]
    audio = [stream for stream in streams if not stream["disposition"]["attached_pic"]]
    assert {(each["codec_name"], each["channels"], each["sample_rate"]) for each in audio} == {("aac", 2, "44100")}
    assert [each["disposition"]["default"] for each in audio] == [1, 0, 0, 0, 0]
    assert len(streams) - len(audio) == 1


def test_atomicparsley_sees_the_stem_atom_where_it_belongs(file: Delivered) -> None:
    require("AtomicParsley")
    tree = text("AtomicParsley", file.path, "-T", "1").replace("\ufeff", "")
    atoms = [(len(match[1]), match[2]) for match in re.finditer(r"^( *)Atom (....) @", tree, flags=re.MULTILINE)]
    (at,) = (number for number, (_, kind) in enumerate(atoms) if kind == "stem")
    path, depth = [], atoms[at][0] + 1
    for indent, kind in reversed(atoms[: at + 1]):
        if indent < depth:
            path.append(kind)
            depth = indent
    assert path == ["stem", "udta", "moov"]


def test_all_streams_are_as_long_as_the_song_and_the_stems_add_up_to_the_first(
    library: Library, file: Delivered
) -> None:
    """STEM-001"""
    require("ffmpeg")
    streams = [decode_ffmpeg(file.path, stream=number) for number in range(STREAMS)]
    assert {stream.shape[1] for stream in streams} == {file.frames}
    source = decode_ffmpeg(library.uploads / f"{file.song.name}.flac")
    for mix in (streams[0], sum(streams[1:])):
        assert synth.rms_db(mix - source) - synth.rms_db(source) < -15


def test_players_find_the_songs_own_title_among_the_stems(file: Delivered) -> None:
    """ORG-001: and no server takes it for music, by its extension; nobody has anything against it."""
    require("mediainfo", "exiftool")
    assert file.path.name.endswith(".stem.mp4")
    (general, *_) = json.loads(text("mediainfo", "--Output=JSON", file.path))["media"]["track"]
    assert (general["Title"], general["Album"]) == (file.song.title, f"{ALBUM} (Stems)")
    assert COMPLAIN["exiftool"](file.path) == ""
