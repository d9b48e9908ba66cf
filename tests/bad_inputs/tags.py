"""Rows about tags and pictures: sizes that lie or hurt, texts that want to be paths, pages or commands; 32 to 37."""

import struct
from functools import partial
from pathlib import Path

from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, ID3, TIT2

from ironclad_assets.errors import ErrorCode
from tests import synth
from tests.bad_inputs import makers
from tests.bad_inputs.gate import TAG
from tests.bad_inputs.table import Case, Row
from tests.unit.audio.test_artwork import bomb

HOSTILE_TEXTS = {
    "title": "<script>alert(1)</script>\x1b[31m",
    "artist": "../../etc/cron.d/x",
    "album": "=cmd|' /C calc'!A0",
    "genre": "one\ntwo level=error",
    "comment": "NUL\0 and \u202egpj.exe",
}
"""Tags that mean something to a web page, a shell, a spreadsheet, a terminal, a log, a file system."""

MOST_FIELDS = 100
MOST_BYTES = 4096
_TITLE = "Title"


def big_art(path: Path) -> Path:
    """Write an MP3 whose tag holds 20 MB that call themselves a picture."""
    synth.write_mp3(path, synth.music(1.0))
    tags = ID3()
    tags.add(TIT2(text=_TITLE))
    tags.add(APIC(mime="image/jpeg", type=3, desc="", data=b"\xff\xd8\xff\xe0" + bytes(20_000_000)))
    tags.save(path)
    return path


def bomb_art(path: Path) -> Path:
    """Write a FLAC with a small picture of 30,000 by 30,000 pixels."""
    song = FLAC(synth.good_song(path, seconds=1.0, title=_TITLE))
    picture = Picture()
    picture.type, picture.mime, picture.data = 3, "image/png", bomb(30_000, 30_000)
    song.add_picture(picture)
    song.save()
    return path


def many_tags(path: Path, *, count: int) -> Path:
    """Write a FLAC with `count` tags of different names behind its title."""
    texts = [f"TITLE={_TITLE}", *(f"OWN{number}=value" for number in range(count))]
    entries = b"".join(struct.pack("<I", len(text)) + text.encode() for text in texts)
    block = struct.pack("<I", 0) + struct.pack("<I", len(texts)) + entries
    content = synth.write_flac(path, synth.music(1.0)).read_bytes()
    comments = b"\x04" + len(block).to_bytes(3, "big") + block
    end = 4 + 4 + int.from_bytes(content[5:8], "big")  # behind STREAMINFO
    return makers.write_bytes(path, content[:end] + comments + content[end:])


def big_comment(path: Path) -> Path:
    song = FLAC(synth.good_song(path, seconds=1.0, title=_TITLE))
    song["comment"] = "ä" * 5_000_000
    song.save()
    return path


def hostile_texts(path: Path) -> Path:
    song = FLAC(synth.good_song(path, seconds=1.0))
    song.update(HOSTILE_TEXTS)
    song.save()
    return path


ROWS = (
    Row(32, "an ID3 tag that claims 256 MB", "refused, or accepted, in little time and memory", 422,
        (Case("long tag.mp3", partial(makers.mp3_behind, b"ID3\4\0\0\x7f\x7f\x7f\x7f"), ErrorCode.DAMAGED, "claims"),)),
    Row(33, "20 MB of artwork", "accepted; the picture is dropped", None,
        (Case("big art.mp3", big_art, stages=TAG),)),
    Row(34, "artwork of 30,000 by 30,000 pixels", "accepted; the picture is dropped", None,
        (Case("bomb art.flac", bomb_art, stages=TAG),)),
    Row(35, "100,000 tags; a comment of 10 MB", "accepted; 100 more fields of 4 kB each are kept", None,
        (Case("many tags.flac", partial(many_tags, count=100_000), stages=TAG),
         Case("big comment.flac", big_comment, stages=TAG))),
    Row(36, "tags such as `../../etc/cron.d/x`", "accepted; a tag is text, and no path is made of it as it is", None,
        (Case("climbing.flac", synth.climbing_tags, stages=TAG),),
        proof=("test_hostile_tags_and_names_stay_inside_the_library",)),
    Row(37, "tags with scripts, formulas, escapes, NUL, line breaks", "accepted; controls are removed", None,
        (Case("hostile.flac", hostile_texts, stages=TAG),),
        proof=("test_hostile_tags_and_names_stay_inside_the_library",),
        later="escaping in web pages and CSV: there are neither yet"),
)  # fmt: skip
