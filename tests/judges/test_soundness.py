"""Every delivered file is whole in the eyes of others, as long as its source to the sample, and in step with it."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests import synth
from tests.judges.album import COVER_PX
from tests.judges.delivery import Library
from tests.judges.programs import require, run
from tests.judges.soundness import COMPLAIN, CUT_AT, OWN_DECODERS, WATCHERS, decode_ffmpeg

FORMATS = tuple(WATCHERS)
PAIRS = [(output, watcher) for output, watchers in WATCHERS.items() for watcher in watchers]


@pytest.mark.parametrize(("output", "watcher"), PAIRS)
def test_nobody_has_anything_against_a_delivered_file(library: Library, output: str, watcher: str) -> None:
    """RECON-001"""
    require(watcher)
    files = library.of_format(output)
    assert files
    assert {str(file): COMPLAIN[watcher](file.path) for file in files} == {str(file): "" for file in files}


@pytest.mark.parametrize(("output", "watcher"), PAIRS)
def test_a_cut_file_is_noticed(library: Library, output: str, watcher: str, tmp_path: Path) -> None:
    require(watcher)
    whole = library.of_format(output)[0].path
    cut = tmp_path / f"cut.{output}"
    cut.write_bytes(whole.read_bytes())
    synth.cut_file(cut, share=CUT_AT[output])
    assert COMPLAIN[watcher](cut)


@pytest.mark.parametrize("output", ["mp3", "opus"])
def test_a_cut_stream_is_shorter_once_it_is_decoded(library: Library, output: str, tmp_path: Path) -> None:
    """FFmpeg may say nothing of it, and the header of an MP3 claims the full length."""
    require("ffmpeg")
    whole = library.of_format(output)[0]
    cut = tmp_path / f"cut.{output}"
    cut.write_bytes(whole.path.read_bytes())
    synth.cut_file(cut, share=CUT_AT[output])
    assert decode_ffmpeg(cut).shape[1] < whole.frames - 1000


@pytest.mark.parametrize("output", FORMATS)
def test_the_decoded_length_is_the_sources_to_the_sample(library: Library, output: str) -> None:
    """STEM-001: counted by FFmpeg, and by the format's own decoder where it has one."""
    require("ffmpeg")
    for file in library.of_format(output):
        assert decode_ffmpeg(file.path).shape[1] == file.frames, file


@pytest.mark.parametrize("output", OWN_DECODERS)
def test_the_formats_own_decoder_counts_the_same(library: Library, output: str) -> None:
    """STEM-001"""
    require(OWN_DECODERS[output].program)
    for file in library.of_format(output):
        assert OWN_DECODERS[output].count(file.path) == file.frames, file


@pytest.mark.parametrize("output", [output for output in FORMATS if output != "opus"])
def test_instrumental_and_vocals_are_in_step_and_add_up_to_the_upload(library: Library, output: str) -> None:
    """STEM-001: no codec's delay is left in a file that others decode."""
    require("ffmpeg")
    files = {(file.kind, file.name): file for file in library.of_format(output) if not file.song.compilation}
    song = files["target", "instrumental"].song
    source = decode_ffmpeg(library.uploads / f"{song.name}.flac")
    total = sum(decode_ffmpeg(files[key].path) for key in (("target", "instrumental"), ("stem", "vocals")))
    middle = slice(4_800, -4_800)
    error_db = synth.rms_db((np.asarray(total) - source)[:, middle]) - synth.rms_db(source[:, middle])
    assert error_db < (-70 if output in ("flac", "wav") else -20)


def test_the_original_in_the_library_is_the_upload_byte_for_byte(library: Library) -> None:
    for file in library.originals:
        assert file.path.read_bytes() == (library.uploads / f"{file.song.name}.flac").read_bytes()


def test_covers_beside_the_songs_decode(library: Library) -> None:
    """ORG-001"""
    require("jpeginfo")
    covers = sorted({file.cover for file in library.files})
    assert covers
    for cover in covers:
        answer = run("jpeginfo", "-c", cover).stdout.decode()
        assert re.search(rf"\b{COVER_PX} x +{COVER_PX} 24bit .* OK\b", answer), answer
