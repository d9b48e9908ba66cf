"""The table of tags, row by row: what other programs call a field, in both directions."""

from pathlib import Path

import pytest
from mutagen.aiff import AIFF
from mutagen.apev2 import APEv2
from mutagen.asf import ASF
from mutagen.flac import FLAC
from mutagen.id3 import ID3, RVA2, TIPL, TXXX, Frames
from mutagen.mp4 import MP4, AtomDataType, MP4FreeForm
from mutagen.wave import WAVE

from ironclad_assets.audio.embed import make_sheet, write_tags
from ironclad_assets.audio.tag_formats.containers import read_sheet
from ironclad_assets.audio.tag_formats.mapping import ALIASES, INFO, MAPPINGS, Mapping
from tests import synth
from tests.unit.audio import tagged_files
from tests.unit.audio.tagged_files import wav_with_info
from tests.unit.audio.test_tag_round_trip import delivered

OF_PICARD = {
    # field: (ID3v2.4 frame, MP4 atom), from media-library.md section 5 and Picard's appendix
    "TITLE": ("TIT2", "\xa9nam"), "ARTIST": ("TPE1", "\xa9ART"), "ALBUM": ("TALB", "\xa9alb"),
    "ALBUMARTIST": ("TPE2", "aART"), "ALBUMARTISTSORT": ("TSO2", "soaa"), "ARTISTSORT": ("TSOP", "soar"),
    "TITLESORT": ("TSOT", "sonm"), "ALBUMSORT": ("TSOA", "soal"), "COMPOSERSORT": ("TSOC", "soco"),
    "ARTISTS": ("TXXX:Artists", "----:com.apple.iTunes:ARTISTS"),
    "DATE": ("TDRC", "\xa9day"), "ORIGINALDATE": ("TDOR", "----:com.apple.iTunes:ORIGINALDATE"),
    "GENRE": ("TCON", "\xa9gen"), "COMPOSER": ("TCOM", "\xa9wrt"), "COMMENT": ("COMM::eng", "\xa9cmt"),
    "LYRICS": ("USLT::eng", "\xa9lyr"), "MUSICBRAINZ_TRACKID": ("UFID:http://musicbrainz.org",
    "----:com.apple.iTunes:MusicBrainz Track Id"),
    "MUSICBRAINZ_RELEASETRACKID": ("TXXX:MusicBrainz Release Track Id",
    "----:com.apple.iTunes:MusicBrainz Release Track Id"),
    "MUSICBRAINZ_ALBUMID": ("TXXX:MusicBrainz Album Id", "----:com.apple.iTunes:MusicBrainz Album Id"),
    "MUSICBRAINZ_RELEASEGROUPID": ("TXXX:MusicBrainz Release Group Id",
    "----:com.apple.iTunes:MusicBrainz Release Group Id"),
    "MUSICBRAINZ_ARTISTID": ("TXXX:MusicBrainz Artist Id", "----:com.apple.iTunes:MusicBrainz Artist Id"),
    "MUSICBRAINZ_ALBUMARTISTID": ("TXXX:MusicBrainz Album Artist Id",
    "----:com.apple.iTunes:MusicBrainz Album Artist Id"),
    "MUSICBRAINZ_WORKID": ("TXXX:MusicBrainz Work Id", "----:com.apple.iTunes:MusicBrainz Work Id"),
    "ACOUSTID_ID": ("TXXX:Acoustid Id", "----:com.apple.iTunes:Acoustid Id"),
    "RELEASETYPE": ("TXXX:MusicBrainz Album Type", "----:com.apple.iTunes:MusicBrainz Album Type"),
    "REPLAYGAIN_TRACK_GAIN": ("TXXX:REPLAYGAIN_TRACK_GAIN", "----:com.apple.iTunes:REPLAYGAIN_TRACK_GAIN"),
    "REPLAYGAIN_TRACK_PEAK": ("TXXX:REPLAYGAIN_TRACK_PEAK", "----:com.apple.iTunes:REPLAYGAIN_TRACK_PEAK"),
    "STEM": ("TXXX:STEM", "----:com.apple.iTunes:STEM"),
    "ORIGINAL_RECORDING_ID": ("TXXX:ORIGINAL_RECORDING_ID", "----:com.apple.iTunes:ORIGINAL_RECORDING_ID"),
    "ISRC": ("TSRC", "----:com.apple.iTunes:ISRC"), "LABEL": ("TPUB", "----:com.apple.iTunes:LABEL"),
    "KEY": ("TKEY", "----:com.apple.iTunes:initialkey"), "CONDUCTOR": ("TPE3", "----:com.apple.iTunes:CONDUCTOR"),
    "REMIXER": ("TPE4", "----:com.apple.iTunes:REMIXER"), "LYRICIST": ("TEXT", "----:com.apple.iTunes:LYRICIST"),
    "MEDIA": ("TMED", "----:com.apple.iTunes:MEDIA"), "SUBTITLE": ("TIT3", "----:com.apple.iTunes:SUBTITLE"),
    "GROUPING": ("TIT1", "\xa9grp"), "COPYRIGHT": ("TCOP", "cprt"), "MOOD": ("TMOO", "----:com.apple.iTunes:MOOD"),
    "LANGUAGE": ("TLAN", "----:com.apple.iTunes:LANGUAGE"),
    "BARCODE": ("TXXX:BARCODE", "----:com.apple.iTunes:BARCODE"),
    "CATALOGNUMBER": ("TXXX:CATALOGNUMBER", "----:com.apple.iTunes:CATALOGNUMBER"),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_PICARD)
def test_a_field_is_written_where_players_look_for_it(name: str, tmp_path: Path) -> None:
    """META-001"""
    frame, atom = OF_PICARD[name]
    value = "Dub" if name == "GENRE" else "1999"
    tags = ID3(delivered(tmp_path, "mp3", {name: [value]}))
    assert list(tags.keys()) == [frame]
    found = tags[frame]
    assert (found.data.decode() if frame.startswith("UFID") else str(found)) == value
    assert list(MP4(delivered(tmp_path, "m4a", {name: [value]})).tags or {}) == [atom]
    assert FLAC(delivered(tmp_path, "flac", {name: [value]}))[name] == [value]


def test_numbers_and_the_mark_of_a_compilation_are_written_as_players_read_them(tmp_path: Path) -> None:
    tags = {"TRACKNUMBER": ["3"], "TRACKTOTAL": ["12"], "DISCNUMBER": ["1"], "DISCTOTAL": ["2"], "COMPILATION": ["1"]}
    for kind in ("mp3", "wav"):
        path = delivered(tmp_path, kind, tags)
        frames = ID3(path) if kind == "mp3" else WAVE(path).tags
        assert [str(frames[name]) for name in ("TRCK", "TPOS", "TCMP")] == ["3/12", "1/2", "1"]
    atoms = MP4(delivered(tmp_path, "m4a", {**tags, "BPM": ["120"]}))
    assert (atoms["trkn"], atoms["disk"], atoms["cpil"], atoms["tmpo"]) == ([(3, 12)], [(1, 2)], True, [120])
    comments = FLAC(delivered(tmp_path, "flac", tags))
    assert (comments["tracktotal"], comments["disctotal"], comments["compilation"]) == (["12"], ["2"], ["1"])


@pytest.mark.parametrize("mapping", [one for one in MAPPINGS if one.asf], ids=lambda one: one.name)
def test_every_attribute_of_wma_is_read(mapping: Mapping, tmp_path: Path) -> None:
    path = tagged_files.wma(tmp_path)
    file = ASF(path)
    file.clear()
    file[mapping.asf] = "3/12" if mapping.asf in ("WM/TrackNumber", "WM/PartOfSet") else "1"
    file.save()
    assert mapping.name in read_sheet(path, media_type="").fields


def test_an_old_wma_counts_tracks_from_zero(tmp_path: Path) -> None:
    path = tagged_files.wma(tmp_path)
    file = ASF(path)
    file.clear()
    file["WM/Track"] = 0
    file.save()
    assert read_sheet(path, media_type="").fields == {"TRACKNUMBER": ["1"]}


@pytest.mark.parametrize("chunk", sorted(INFO))
def test_every_chunk_of_info_is_read(chunk: str, tmp_path: Path) -> None:
    path = wav_with_info(tmp_path / "a.wav", **{chunk: b"7\0"})
    assert read_sheet(path, media_type="").fields == {INFO[chunk]: ["7"]}


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_every_other_spelling_is_read(alias: str, tmp_path: Path) -> None:
    path = synth.write_flac(tmp_path / "a.flac", synth.tone(0.1))
    file = FLAC(path)
    file[alias.title()] = "7"
    file.save()
    assert read_sheet(path, media_type="").fields == {ALIASES[alias]: ["7"]}


def test_the_items_of_apev2_are_read(tmp_path: Path) -> None:
    path = synth.write_mp3(tmp_path / "a.mp3", synth.tone(0.1))
    tags = APEv2()
    tags["MixArtist"], tags["Publisher"], tags["Weblink"] = "Ann", "Label", "http://a"
    tags["Artist"] = ["Ann", "Bob"]
    tags["Track"], tags["replaygain_track_gain"] = "3/12", "-3.20 dB"
    tags.save(path)
    assert read_sheet(path, media_type="audio/mpeg").fields == {
        "REMIXER": ["Ann"], "LABEL": ["Label"], "WEBSITE": ["http://a"], "ARTIST": ["Ann", "Bob"],
        "TRACKNUMBER": ["3"], "TRACKTOTAL": ["12"], "REPLAYGAIN_TRACK_GAIN": ["-3.20 dB"],
    }  # fmt: skip


def test_replaygain_is_read_in_all_its_forms(tmp_path: Path) -> None:
    """META-001"""
    path = synth.write_mp3(tmp_path / "a.mp3", synth.tone(0.1))
    tags = ID3()
    tags.add(RVA2(desc="track", channel=1, gain=-3.25, peak=0.5))
    tags.add(TXXX(desc="replaygain_album_gain", text="-4.00 dB"))
    tags.save(path)
    fields = read_sheet(path, media_type="audio/mpeg").fields
    assert (fields["REPLAYGAIN_TRACK_GAIN"], fields["REPLAYGAIN_ALBUM_GAIN"]) == (["-3.25 dB"], ["-4.00 dB"])
    assert float(fields["REPLAYGAIN_TRACK_PEAK"][0]) == pytest.approx(0.5, abs=1e-3)


def v22(path: Path) -> Path:
    frames = b"".join(
        name + len(text + b"\0").to_bytes(3, "big") + b"\0" + text
        for name, text in ((b"TT2", b"Old"), (b"TP1", b"Ann"), (b"TRK", b"3/12"), (b"TYE", b"1999"), (b"TCM", b"Cat"))
    )
    return _with_id3(path, version=2, frames=frames)


def v23(path: Path) -> Path:
    frames = b"".join(
        name + len(text + b"\0").to_bytes(4, "big") + b"\0\0\0" + text
        for name, text in (
            (b"TIT2", b"Old"), (b"TPE1", b"Ann"), (b"TRCK", b"3/12"), (b"TYER", b"1999"), (b"TDAT", b"0204"),
            (b"TCOM", b"Cat"), (b"TORY", b"1969"), (b"XSOP", b"Ann, A"), (b"TCON", b"(17)(4)Dub"),
        )
    )  # fmt: skip
    return _with_id3(path, version=3, frames=frames)


def _with_id3(path: Path, *, version: int, frames: bytes) -> Path:
    size = bytes((len(frames) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    synth.write_mp3(path, synth.tone(0.1))
    path.write_bytes(b"ID3" + bytes([version, 0, 0]) + size + frames + path.read_bytes())
    return path


def test_id3v2_2_is_read(tmp_path: Path) -> None:
    """META-001"""
    assert read_sheet(v22(tmp_path / "a.mp3"), media_type="audio/mpeg").fields == {
        "TITLE": ["Old"], "ARTIST": ["Ann"], "TRACKNUMBER": ["3"], "TRACKTOTAL": ["12"], "DATE": ["1999"],
        "COMPOSER": ["Cat"],
    }  # fmt: skip


def test_id3v2_3_is_read(tmp_path: Path) -> None:
    """META-001"""
    fields = read_sheet(v23(tmp_path / "a.mp3"), media_type="audio/mpeg").fields
    assert (fields["DATE"], fields["ORIGINALDATE"], fields["ARTISTSORT"]) == (["1999-04-02"], ["1969"], ["Ann, A"])
    assert fields["GENRE"] == ["Rock", "Disco", "Dub"]


def test_roles_of_people_have_fields_of_their_own(tmp_path: Path) -> None:
    path = synth.write_mp3(tmp_path / "a.mp3", synth.tone(0.1))
    tags = ID3()
    tags.add(TIPL(people=[["producer", "Cat"], ["producer", "Dan"], ["DJ-mix", "Eve"], ["catering", "Fay"]]))
    tags.save(path)
    fields = read_sheet(path, media_type="audio/mpeg").fields
    assert fields == {"PRODUCER": ["Cat", "Dan"], "DJMIXER": ["Eve"], "PERFORMER": ["Fay (catering)"]}


def test_atoms_that_are_no_text_are_read(tmp_path: Path) -> None:
    path = tagged_files.m4a(tmp_path)
    file = MP4(path)
    file.tags.clear()
    file["tmpo"], file["stik"], file["pgap"] = [120], [1], True
    file["----:com.apple.iTunes:UTF16"] = MP4FreeForm("Ærø".encode("utf-16-be"), dataformat=AtomDataType.UTF16)
    file["----:com.apple.iTunes:NUMBER"] = MP4FreeForm(b"\x01\x00", dataformat=AtomDataType.INTEGER)
    file["----:org.example:OTHER"] = MP4FreeForm(b"owned")
    file["----:com.apple.iTunes:BINARY"] = MP4FreeForm(b"\xff\xfe\x00")
    file.save()
    assert read_sheet(path, media_type="").fields == {
        "BPM": ["120"], "STIK": ["1"], "PGAP": ["1"], "UTF16": ["Ærø"], "NUMBER": ["256"], "OTHER": ["owned"],
    }  # fmt: skip


def test_an_id3_tag_in_flac_fills_gaps_only(tmp_path: Path) -> None:
    path = tagged_files.flac(tmp_path)
    head = synth.write_mp3(tmp_path / "b.mp3", synth.tone(0.1))
    tags = ID3()
    tags.add(TXXX(desc="Own", text="from ID3"))
    tags.add(Frames["TIT2"](text="Wrong"))
    tags.save(head)
    size = 10 + sum(byte << shift for byte, shift in zip(head.read_bytes()[6:10], (21, 14, 7, 0), strict=True))
    path.write_bytes(head.read_bytes()[:size] + path.read_bytes())
    fields = read_sheet(path, media_type="audio/flac").fields
    assert (fields["TITLE"], fields["OWN"]) == (["Ærø"], ["from ID3"])


def test_the_text_chunks_of_aiff_are_read(tmp_path: Path) -> None:
    path = tagged_files.aiff(tmp_path)
    file = AIFF(path)
    file.delete()
    content = path.read_bytes()
    chunks = b"NAME" + (4).to_bytes(4, "big") + b"Name" + b"AUTH" + (3).to_bytes(4, "big") + b"Ann\0"
    path.write_bytes(b"FORM" + (len(content) - 8 + len(chunks)).to_bytes(4, "big") + content[8:] + chunks)
    assert read_sheet(path, media_type="").fields == {"TITLE": ["Name"], "ARTIST": ["Ann"]}


def test_genres_that_are_numbers_get_their_names(tmp_path: Path) -> None:
    from tests.unit.audio.test_tag_round_trip import read

    path = synth.write_flac(tmp_path / "a.flac", synth.tone(0.1))
    write_tags(path, sheet=make_sheet({"GENRE": ("17", "(9)", "999", "Dub", "Rock")}), cover=None)
    assert read(path)["genres"] == ["Rock", "Metal", "999", "Dub"]
