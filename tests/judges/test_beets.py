"""beets imports the library as it stands: one folder is one album, whatever program groups by folder."""

from collections import defaultdict
from pathlib import Path

import pytest

from tests.judges.beets_library import FIELDS, BeetsLibrary
from tests.judges.delivery import Library
from tests.judges.programs import require

FORMATS = {"flac": "FLAC", "wav": "WAVE", "mp3": "MP3", "m4a": "AAC", "opus": "Opus"}
GONE = ("mb_trackid", "mb_albumid", "mb_releasetrackid", "mb_releasegroupid", "isrc", "asin", "acoustid_id",
        "acoustid_fingerprint")  # fmt: skip


@pytest.fixture(scope="module")
def beets(library: Library, tmp_path_factory: pytest.TempPathFactory) -> BeetsLibrary:
    """A beets that has imported targets and stems."""
    require("beet")
    return BeetsLibrary(library.targets, library.stems, folder=tmp_path_factory.mktemp("beets"))


def test_every_folder_is_one_album(library: Library, beets: BeetsLibrary) -> None:
    """ORG-001"""
    expected = {(file.expected["ALBUMARTIST"][0], file.expected["ALBUM"][0], str(file.path.parent))
                for file in library.files}  # fmt: skip
    found = [tuple(each.values()) for each in beets.listed("albumartist", "album", "path", albums=True)]
    originals = {str(file.path.parent) for file in library.originals}
    assert sorted(each for each in found if each[2] not in originals) == sorted(expected)
    assert {each[2] for each in found} == {each[2] for each in expected} | originals


def test_beets_reads_the_contracts_tags(library: Library, beets: BeetsLibrary) -> None:
    """META-001: of several genres it shows the first, and of ID3 it does not know TSO2."""
    items = beets.fields()
    assert set(items) == {file.path for file in (*library.files, *library.originals, *library.dj_files)}
    for file in library.files:
        expected = {name: file.expected[name][:1] for name in (*FIELDS.values(), "DATE") if name in file.expected}
        if file.output in ("wav", "mp3"):
            expected.pop("ALBUMARTISTSORT", None)
        assert {name: items[file.path].get(name) for name in expected} == expected, file


def test_beets_knows_format_rate_and_no_identity_of_the_original(library: Library, beets: BeetsLibrary) -> None:
    """ORG-001, RECON-001"""
    items = {Path(each["path"]): each for each in beets.listed("path", "format", "samplerate", "channels", *GONE)}
    for file in library.files:
        item = items[file.path]
        assert (item["format"], item["channels"]) == (FORMATS[file.output], "2")
        assert int(item["samplerate"].removesuffix("kHz")) == file.sample_rate_hz // 1000
        assert {name: item[name] for name in GONE} == dict.fromkeys(GONE, ""), file


def test_every_album_has_every_number_once(library: Library, beets: BeetsLibrary) -> None:
    numbers = defaultdict(list)
    for item in beets.listed("path", "disc", "track"):
        if Path(item["path"]) in {file.path for file in library.dj_files}:
            continue  # the song once more, beside its stems
        numbers[Path(item["path"]).parent].append((int(item["disc"]), int(item["track"])))
    assert numbers
    assert all(len(set(each)) == len(each) for each in numbers.values())
