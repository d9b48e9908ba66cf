"""Tags and covers in every container, as programs read them that share no code with what writes them."""

import functools
import re
import shutil
from pathlib import Path

import pytest

from ironclad_assets.audio.embed import read_back, write_tags
from ironclad_assets.audio.tag_formats.sheet import Cover
from tests.judges.album import COVER_PX, IDENTITIES, Fields, delivered_path
from tests.judges.delivery import Library
from tests.judges.programs import require, run
from tests.judges.readers import JUDGES, Judge, Reading
from tests.judges.soundness import COMPLAIN

PAIRS = [pytest.param(judge, output, id=f"{judge.program}-{output}")
         for judge in JUDGES.values() for output in judge.formats]  # fmt: skip
GONE = {*IDENTITIES, "MUSICBRAINZ_TRACKID", "MUSICBRAINZ_RELEASETRACKID"}
MEASURED = {"REPLAYGAIN_TRACK_GAIN", "REPLAYGAIN_TRACK_PEAK", "R128_TRACK_GAIN"}
REPLAYGAIN_LUFS, R128_LUFS = -18.0, -23.0
Q7_8 = 256
EXTENSIONS = {"flac": b"fLaC", "wav": b"RIFF", "mp3": b"ID3\x04", "m4a": b"ftypM4A ", "opus": b"OggS"}


@functools.cache
def reading(program: str, path: Path) -> Reading:
    """Ask a judge once about a file: the delivered ones do not change."""
    return JUDGES[program].read(path)


def strangers(fields: Fields) -> dict[str, tuple[str, ...]]:
    """Return what identifies the original or measures it, and so may not be in what was made from it."""
    values = set(IDENTITIES.values())
    return {
        name: found
        for name, found in fields.items()
        if (name in GONE - MEASURED or values & set(found)) and not name.startswith("ORIGINAL_")
    }


@pytest.mark.parametrize(("judge", "output"), PAIRS)
def test_every_judge_reads_what_the_contract_says(library: Library, judge: Judge, output: str) -> None:
    """META-001"""
    require(judge.program)
    files = library.of_format(output)
    assert files
    for file in files:
        expected = judge.should_see(file.expected, output=output)
        found = reading(judge.program, file.path)
        assert {name: found.fields.get(name) for name in expected} == expected, file
        assert strangers(found.fields) == {}
        assert ("LYRICS" in found.fields) == (file.name == "vocals"), file


@pytest.mark.parametrize(("judge", "output"), PAIRS)
def test_every_judge_finds_the_cover(library: Library, judge: Judge, output: str) -> None:
    """META-001, ORG-001"""
    require(judge.program)
    for file in library.of_format(output):
        found = reading(judge.program, file.path)
        if judge.program == "mediainfo":
            assert "Yes" in found.fields.get("COVER", ())
        elif found.picture_px is not None:
            assert found.picture_px == (COVER_PX, COVER_PX)
        else:
            assert found.picture == file.cover.read_bytes(), file


@pytest.mark.parametrize("output", EXTENSIONS)
def test_the_product_reads_back_what_the_judges_read(library: Library, output: str) -> None:
    """META-001: what our own reader says is the same contract."""
    for file in library.of_format(output):
        sheet = read_back(file.path)
        fields = {name: tuple(values) for name, values in sheet.fields.items()}
        assert {name: fields.get(name) for name in file.expected} == file.expected, file
        assert strangers(fields) == {}
        assert [picture.data for picture in sheet.pictures] == [file.cover.read_bytes()]


@pytest.mark.parametrize("output", EXTENSIONS)
def test_the_files_are_what_their_extension_says(library: Library, output: str) -> None:
    """ORG-001: no ID3 in front of FLAC, and AAC is an .m4a, which servers take for music."""
    for file in library.of_format(output):
        head = file.path.read_bytes()[:16]
        assert head.startswith(EXTENSIONS[output]) or head[4:].startswith(EXTENSIONS[output])


@pytest.mark.parametrize("output", ["mp3", "wav"])
def test_every_value_of_a_free_field_is_in_an_id3_tag(library: Library, output: str) -> None:
    """META-001: separated by NUL (ID3v2.4, 4.2.6); the judges show the first value alone, servers read all."""
    for file in library.of_format(output):
        content = file.path.read_bytes()
        for name, values in (("Artists", file.expected.get("ARTISTS")), ("LANTERN", file.expected["LANTERN"])):
            if values:
                assert b"\x03" + "\0".join((name, *values)).encode() in content


@pytest.mark.parametrize("program", ["kid3-cli", "mediainfo", "ffprobe"])
@pytest.mark.parametrize("output", ["mp3", "wav"])
def test_id3v23_on_request_says_the_same(library: Library, output: str, program: str, tmp_path: Path) -> None:
    """META-001: the older version has no second values, so they are joined."""
    require(program, "mp3val")
    file = library.of_format(output)[0]
    older = Path(shutil.copy(file.path, tmp_path))
    cover = Cover(data=file.cover.read_bytes(), width_px=COVER_PX, height_px=COVER_PX)
    write_tags(older, sheet=read_back(file.path), cover=cover, id3_version="2.3")
    expected = {name: ("; ".join(values),) for name, values in file.expected.items() if name != "ORIGINALDATE"}
    found = JUDGES[program].read(older)
    assert {name: found.fields.get(name) for name in expected} == expected
    assert b"ID3\x03" in older.read_bytes()
    assert output == "wav" or COMPLAIN["mp3val"](older) == ""


def test_wav_has_no_second_tag_that_could_contradict(library: Library) -> None:
    """A LIST/INFO chunk beside ID3: FFmpeg believes the one, mediainfo the other."""
    for file in library.of_format("wav"):
        content = file.path.read_bytes()
        assert b"LIST" not in content[:64]
        assert b"INFOI" not in content


@pytest.mark.parametrize("output", EXTENSIONS)
def test_paths_are_as_the_contract_says(library: Library, output: str) -> None:
    """ORG-001"""
    for file in library.of_format(output):
        assert file.relative == delivered_path(file.song, name=file.name, kind=file.kind)


@pytest.mark.parametrize("output", EXTENSIONS)
def test_gain_is_that_of_the_output_by_an_independent_meter(library: Library, output: str) -> None:
    """META-001: FFmpeg's ebur128 measures the delivered file; the tag brings it to -18 LUFS (Opus: -23)."""
    require("ffmpeg", "kid3-cli")
    for file in library.of_format(output)[:2]:
        fields = reading("kid3-cli", file.path).fields
        loudness = measure_lufs(file.path)
        if output == "opus":
            assert "REPLAYGAIN_TRACK_GAIN" not in fields
            gain, reference = int(fields["R128_TRACK_GAIN"][0]) / Q7_8, R128_LUFS
        else:
            gain, reference = float(fields["REPLAYGAIN_TRACK_GAIN"][0].removesuffix(" dB")), REPLAYGAIN_LUFS
        assert gain == pytest.approx(reference - loudness, abs=0.2), file


def measure_lufs(path: Path) -> float:
    done = run("ffmpeg", "-nostdin", "-nostats", "-i", path, "-map", "0:a", "-af", "ebur128", "-f", "null", "-")
    return float(re.findall(r"I:\s+(-?[0-9.]+) LUFS", done.stderr.decode())[-1])
