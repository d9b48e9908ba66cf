"""Files for DJ programs: five streams in step, one of them played by itself, an atom that says what they are."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from mutagen.mp4 import MP4

from ironclad_assets.audio.artwork import make_cover
from ironclad_assets.audio.delivered import finish_track
from ironclad_assets.audio.embed import make_sheet, write_tags
from ironclad_assets.audio.stem_mp4 import STREAMS, StemMp4Encoder, inspect_stem_mp4
from ironclad_assets.audio.stem_mp4_atom import add_stem_atom, read_stem_atom, stem_manifest
from tests import synth

SHEET = make_sheet({"TITLE": ("Ærø",), "ALBUM": ("Far (Stems)",), "TRACKNUMBER": ("3",), "STEM": ("dj_stems",)})
CONTAINERS = (b"moov", b"trak", b"udta", b"edts", b"mdia")


def parts(*, frames: int, sr: int = 44_100) -> synth.Signal:
    """Return five stereo signals, the first of which is the sum of the others, as ten channels."""
    seconds = frames / sr + 0.1
    stems = [synth.music(seconds, seed=seed, sr=sr)[:, :frames] * np.float32(0.2) for seed in range(4)]
    return np.concatenate([sum(stems), *stems])


def encode(path: Path, y: synth.Signal, *, sr: int = 44_100, threads: int = 2, block: int = 65_536) -> Path:
    with StemMp4Encoder(path, sample_rate_hz=sr, frames=y.shape[1], threads=threads) as encoder:
        for start in range(0, y.shape[1], block):
            encoder.add(y[:, start : start + block])
    return path


def decode(path: Path) -> list[synth.Signal]:
    streams = []
    for number in range(5):
        with av.open(str(path)) as container:
            streams.append(np.concatenate([frame.to_ndarray() for frame in container.decode(audio=number)], axis=1))
    return streams


def atoms(content: bytes, *, start: int = 0, end: int | None = None, path: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield every atom of a file by its path, found by code that shares nothing with what wrote it."""
    end = len(content) if end is None else end
    while start < end:
        size, kind = int.from_bytes(content[start : start + 4], "big"), content[start + 4 : start + 8]
        assert size >= 8
        here = f"{path}/{kind.decode('latin-1')}"
        yield here, content[start + 8 : start + size]
        if kind in CONTAINERS:
            yield from atoms(content, start=start + 8, end=start + size, path=here)
        start += size
    assert start == end, f"the atoms of {path or 'the file'} do not fill it"


@pytest.mark.parametrize("frames", [22_050, 44_032, 44_033, 100_001])
@pytest.mark.parametrize("sr", [44_100, 48_000])
def test_all_streams_are_as_long_as_the_song_and_in_step(tmp_path: Path, frames: int, sr: int) -> None:
    """STEM-001"""
    y = parts(frames=frames, sr=sr)
    made = decode(encode(tmp_path / "a.stem.mp4", y, sr=sr))
    assert [one.shape for one in made] == [(2, frames)] * 5
    for number, back in enumerate(made):
        wanted = y[2 * number : 2 * number + 2]
        assert synth.rms_db(back - wanted) - synth.rms_db(wanted) < -25
    assert synth.rms_db(sum(made[1:]) - made[0]) - synth.rms_db(made[0]) < -30
    assert inspect_stem_mp4(tmp_path / "a.stem.mp4") == {"frames": frames, "sample_rate_hz": sr, "channels": 2}


def test_edit_lists_of_all_streams_say_the_same_length_and_beginning(tmp_path: Path) -> None:
    """Players that know the format and nothing of FFmpeg keep the streams in step."""
    frames = 100_001
    content = encode(tmp_path / "a.stem.mp4", parts(frames=frames)).read_bytes()
    lists = [body for path, body in atoms(content) if path == "/moov/trak/edts/elst"]
    assert len(lists) == 5
    assert len(set(lists)) == 1
    length, start = int.from_bytes(lists[0][8:12], "big"), int.from_bytes(lists[0][12:16], "big")
    assert (length, (start + frames) % 1024) == (frames, 0)


def test_the_mixdown_comes_first_and_is_alone_in_being_played(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.stem.mp4", parts(frames=44_100))
    with av.open(str(path)) as container:
        assert [one.metadata["handler_name"] for one in container.streams.audio] == list(STREAMS)
        assert [one.codec_context.name for one in container.streams.audio] == ["aac"] * 5
        played = [bool(Disposition.default & one.disposition) for one in container.streams]
        assert played == [True, False, False, False, False]
    flags = [body[3] for where, body in atoms(path.read_bytes()) if where == "/moov/trak/tkhd"]
    assert [flag & 1 for flag in flags] == [1, 0, 0, 0, 0]  # ISO 14496-12, 8.3.2: track_enabled


def test_the_atom_names_four_stems_and_changes_nothing_of_their_sound(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.stem.mp4", parts(frames=44_100))
    (body,) = (body for where, body in atoms(path.read_bytes()) if where == "/moov/udta/stem")
    manifest = json.loads(body)
    assert manifest["version"] == 1
    assert [stem["name"] for stem in manifest["stems"]] == ["Drums", "Bass", "Other", "Vocals"]
    assert all(len(stem["color"]) == 7 and stem["color"].startswith("#") for stem in manifest["stems"])
    assert set(manifest["mastering_dsp"]) == {"compressor", "limiter"}
    assert not any(part["enabled"] for part in manifest["mastering_dsp"].values())


@pytest.mark.parametrize("with_cover", [True, False])
def test_tags_and_cover_leave_streams_and_atom_alone(tmp_path: Path, with_cover: bool) -> None:
    """META-001"""
    y = parts(frames=50_000)
    path = encode(tmp_path / "a.stem.mp4", y)
    before = decode(path)
    cover = make_cover(synth.png(tmp_path / "p.png", size_px=600).read_bytes()) if with_cover else None
    found, problem = finish_track(path, sheet=SHEET, cover=cover)
    assert problem is None
    assert found == {
        "frames": 50_000, "sample_rate_hz": 44_100, "channels": 2, "tags_embedded": True, "art_embedded": with_cover,
    }  # fmt: skip
    tags = MP4(path)
    assert (tags["\xa9nam"], tags["\xa9alb"], tags["trkn"]) == (["Ærø"], ["Far (Stems)"], [(3, 0)])
    assert [len(bytes(one)) for one in tags.get("covr", [])] == ([len(cover.data)] if cover else [])
    assert all(np.array_equal(one, other) for one, other in zip(before, decode(path), strict=True))
    assert [where for where, _ in atoms(path.read_bytes())].count("/moov/udta/stem") == 1
    with av.open(str(path)) as container:
        assert container.metadata["title"] == "Ærø"
        assert [one.type for one in container.streams] == ["audio"] * 5 + ["video"] * with_cover
    write_tags(path, sheet=make_sheet({"TITLE": ("Another",)}), cover=None)  # again, and shorter
    assert inspect_stem_mp4(path)["frames"] == 50_000


def test_neither_threads_nor_blocks_show_in_the_bytes(tmp_path: Path) -> None:
    """SPLIT-006"""
    y = parts(frames=150_001)
    contents = {
        encode(tmp_path / f"{threads}.stem.mp4", y, threads=threads, block=block).read_bytes()
        for threads, block in ((1, 65_536), (5, 65_536), (2, 1_000), (3, 150_001))
    }
    assert len(contents) == 1
    assert b"Lavf6" not in contents.pop()


def test_what_is_beyond_full_scale_is_cut_and_counted(tmp_path: Path) -> None:
    y = np.full((10, 20_000), 1.5, dtype=np.float32)
    with StemMp4Encoder(tmp_path / "a.stem.mp4", sample_rate_hz=44_100, frames=20_000, threads=1) as encoder:
        encoder.add(y)
    assert encoder.clipped == y.size


def test_a_full_disk_is_told_as_the_disks_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        encode(Path("/dev/full"), parts(frames=441_000))


def test_an_error_while_encoding_passes_through_unchanged(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with StemMp4Encoder(tmp_path / "a.stem.mp4", sample_rate_hz=44_100, frames=2_000, threads=2) as encoder:
            encoder.add(np.zeros((10, 1_000), dtype=np.float32))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()


def test_a_file_that_only_looks_like_one_has_no_length(tmp_path: Path) -> None:
    """A stem file without its atom, or with streams of two lengths, is found before it is delivered."""
    y = parts(frames=44_100)
    path = encode(tmp_path / "a.stem.mp4", y)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"stem{", b"spam{"))
    assert inspect_stem_mp4(path)["frames"] == 0
    at = content.rfind(b"tkhd") + 7
    path.write_bytes(content[:at] + bytes([content[at] | 1]) + content[at + 1 :])  # the last stream is played too
    assert inspect_stem_mp4(path)["frames"] == 0


@pytest.mark.parametrize("udta", [True, False])
def test_the_atom_joins_what_is_there(udta: bool) -> None:
    inside = b"\0\0\0\x0cfreeabcd" + (b"\0\0\0\x10udta\0\0\0\x08name" if udta else b"")
    file = io.BytesIO(b"\0\0\0\x08ftyp" + (8 + len(inside)).to_bytes(4, "big") + b"moov" + inside)
    add_stem_atom(file)
    found = dict(atoms(file.getvalue()))
    assert found["/moov/udta/stem"] == stem_manifest()
    assert ("/moov/udta/name" in found) == udta
    assert found["/moov/free"] == b"abcd"
    assert read_stem_atom(file) == json.loads(stem_manifest())


def test_audio_beyond_four_gigabytes_is_stepped_over(tmp_path: Path) -> None:
    """Songs of more than seven hours: the size of mdat has 64 bits then."""
    size = 5 * 2**30
    with (tmp_path / "a.stem.mp4").open("w+b", buffering=0) as file:  # a hole, which takes no space
        file.write(b"\0\0\0\x01mdat" + size.to_bytes(8, "big"))
        file.seek(size)
        file.write(b"\0\0\0\x08moov")
        add_stem_atom(file)
        assert read_stem_atom(file) == json.loads(stem_manifest())
        assert file.seek(0, io.SEEK_END) == size + 8 + 8 + 8 + len(stem_manifest())


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\0\x08ftyp", b"\0\0\0\x08moov\0\0\0\x08mdat", b"\0\0\0\x01moov\0\0\0\0\0\0\0\x10", b"\0\0\0\x04moov"],
)
def test_a_file_that_does_not_end_with_moov_is_left_as_it_is(content: bytes) -> None:
    file = io.BytesIO(content)
    with pytest.raises(ValueError, match="moov"):
        add_stem_atom(file)
    assert file.getvalue() == content


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"1"], ids=["empty", "half", "list", "no text", "number"])
def test_an_atom_that_holds_no_object_is_none(body: bytes) -> None:
    stem = (8 + len(body)).to_bytes(4, "big") + b"stem" + body
    udta = (8 + len(stem)).to_bytes(4, "big") + b"udta" + stem
    file = io.BytesIO((8 + len(udta)).to_bytes(4, "big") + b"moov" + udta)
    assert read_stem_atom(file) is None
    assert read_stem_atom(io.BytesIO(b"\xff" * 40)) is None
