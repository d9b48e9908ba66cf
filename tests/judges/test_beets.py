"""beets imports the library as it stands: one folder is one album, whatever program groups by folder."""

from collections import defaultdict
from pathlib import Path

import pytest

from tests.judges.delivery import Library
from tests.judges.programs import require, run, text

CONFIGURATION = """
directory: {music}
library: {folder}/library.db
import:
    copy: no
    write: no
    autotag: no
    quiet: yes
plugins: []
"""
SEPARATOR = "\x1f"
ITEM = ("path", "albumartist", "album", "title", "artist", "track", "tracktotal", "disc", "disctotal", "year", "month",
        "day", "format", "samplerate", "channels", "mb_trackid", "mb_albumid", "mb_releasetrackid",
        "mb_artistid", "isrc", "composer")  # fmt: skip
FORMATS = {"flac": "FLAC", "wav": "WAVE", "mp3": "MP3", "m4a": "AAC", "opus": "Opus"}


@pytest.fixture(scope="module")
def beets(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A beets that has imported targets and stems; its folder."""
    require("beet")
    folder = tmp_path_factory.mktemp("beets")
    (folder / "config.yaml").write_text(CONFIGURATION.format(music=library.targets, folder=folder), encoding="utf-8")
    run("beet", "import", "-A", "-q", "-C", library.targets, library.stems, home=folder)
    return folder


def listed(beets: Path, *names: str, albums: bool = False) -> list[dict[str, str]]:
    """Return what `beet ls` knows of every item or album."""
    form = SEPARATOR.join(f"${name}" for name in names)
    lines = text("beet", "ls", *(["-a"] if albums else []), "-f", form, home=beets).splitlines()
    return [dict(zip(names, line.split(SEPARATOR), strict=True)) for line in lines]


def test_every_folder_is_one_album(library: Library, beets: Path) -> None:
    """ORG-001"""
    expected = {(file.expected["ALBUMARTIST"][0], file.expected["ALBUM"][0], str(file.path.parent))
                for file in library.files}  # fmt: skip
    found = [(each["albumartist"], each["album"], each["path"]) for each in
             listed(beets, "albumartist", "album", "path", albums=True)]  # fmt: skip
    assert sorted(found) == sorted(expected)


def test_beets_reads_the_contracts_tags(library: Library, beets: Path) -> None:
    """META-001"""
    items = {each["path"]: each for each in listed(beets, *ITEM)}
    assert set(items) == {str(file.path) for file in library.files}
    for file in library.files:
        want, item = file.expected, items[str(file.path)]
        assert {name: item[name] for name in ("albumartist", "album", "title", "artist", "composer")} == {
            name: want[name.upper()][0] for name in ("albumartist", "album", "title", "artist", "composer")
        }
        numbers = [int(item[name]) for name in ("track", "tracktotal", "disc", "disctotal", "year", "month", "day")]
        song = file.song
        assert numbers == [song.number, song.total, song.disc, song.discs, 1999, 6, 12], file
        assert item["format"] == FORMATS[file.output]
        assert item["mb_artistid"] == want["MUSICBRAINZ_ARTISTID"][0]
        assert [item[name] for name in ("mb_trackid", "mb_albumid", "mb_releasetrackid", "isrc")] == [""] * 4, file


def test_every_album_has_all_numbers_once(library: Library, beets: Path) -> None:
    numbers = defaultdict(list)
    for item in listed(beets, "album", "path", "disc", "track"):
        numbers[str(Path(item["path"]).parent)].append((int(item["disc"]), int(item["track"])))
    assert numbers
    assert all(len(set(each)) == len(each) for each in numbers.values())
