"""Path rules: whatever the tags say, the path is legal, bounded, unique per song and stable."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ironclad_assets.pipeline.naming import (
    MAX_COMPONENT_BYTES,
    TrackName,
    clean_component,
    fold,
    folder_component,
    track_path,
)

RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
JELLYFIN_DISC = re.compile(
    r"(?i)^\s*(cd|digital media|disc|disk|vol|volume|part|act)\s*[+-]?\d+(\s|$)"
)  # after AlbumParser.IsMultiPart

hostile = st.one_of(
    st.text(max_size=300),
    st.sampled_from(
        [
            "..",
            ".",
            "",
            "../../etc/passwd",
            "/abs",
            "a/b\\c",
            "CON",
            "nul.txt",
            "com1 (Instrumental)",
            "-rf",
            "\0",
            "?" * 400,
        ]
    ),
    st.text(alphabet='.. <>:"/\\|?*-\x00\x1f\u200b\u202e\u0301\u0338é', max_size=40),
    st.text(alphabet="é𝄞漢", min_size=60, max_size=400),
)
numbers = st.one_of(st.none(), st.integers(min_value=0, max_value=10**6))
names = st.builds(
    TrackName,
    album_artist=hostile,
    album=hostile,
    title=hostile,
    artist=hostile,
    extension=st.sampled_from(["flac", "wav", "mp3"]),
    track_number=numbers,
    disc_number=numbers,
    disc_total=numbers,
)


def name(**changes: object) -> TrackName:
    values = {
        "album_artist": "Artist",
        "album": "Album (Instrumental)",
        "title": "Song (Instrumental)",
        "artist": "Artist",
    }
    return TrackName(**{"extension": "flac", **values, **changes})  # type: ignore[arg-type]


def assert_legal(component: str) -> None:
    assert component
    assert len(component.encode()) <= MAX_COMPONENT_BYTES
    assert unicodedata.is_normalized("NFC", component)
    assert not re.search(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u200b\u202a-\u202e]', component)
    assert component[0] not in ".- "
    assert component[-1] not in ". "
    assert component.split(".")[0].strip().casefold() not in RESERVED


@settings(deadline=None)
@given(name=names, copy=st.integers(min_value=1, max_value=999))
def test_any_tags_give_a_legal_path_of_three_parts(name: TrackName, copy: int) -> None:
    """ORG-001: no tag can lead out of the library, or to a name that some file system refuses."""
    parts = track_path(name, copy=copy).split("/")
    assert len(parts) == 3
    for part in parts:
        assert_legal(part)
    assert parts[2].endswith(f".{name.extension}")


@settings(deadline=None)
@given(name=names)
def test_copies_of_a_name_never_share_a_path(name: TrackName) -> None:
    paths = [fold(track_path(name, copy=copy)) for copy in range(1, 6)]
    assert len(set(paths)) == len(paths)


@settings(deadline=None)
@given(text=hostile)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = clean_component(text, fallback="x")
    assert clean_component(once, fallback="x") == once


@settings(deadline=None)
@given(text=hostile)
def test_the_decomposed_form_of_a_tag_gives_the_same_path(text: str) -> None:
    decomposed = unicodedata.normalize("NFD", text)
    assert clean_component(decomposed, fallback="x") == clean_component(
        unicodedata.normalize("NFC", text), fallback="x"
    )


@settings(deadline=None)
@given(text=hostile)
def test_no_album_folder_is_taken_for_a_disc_of_the_folder_above(text: str) -> None:
    folder = folder_component(f"{text} (Stems)", fallback="x")
    assert not JELLYFIN_DISC.match(re.sub(r"[-.()\s]+", " ", folder))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"track_number": 7}, "Artist/Album (Instrumental)/07 - Song (Instrumental).flac"),
        ({}, "Artist/Album (Instrumental)/Song (Instrumental).flac"),
        ({"track_number": 7, "disc_number": 2}, "Artist/Album (Instrumental)/2-07 - Song (Instrumental).flac"),
        (
            {"track_number": 7, "disc_number": 1, "disc_total": 2},
            "Artist/Album (Instrumental)/1-07 - Song (Instrumental).flac",
        ),
        (
            {"track_number": 7, "disc_number": 1, "disc_total": 1},
            "Artist/Album (Instrumental)/07 - Song (Instrumental).flac",
        ),
        ({"track_number": 0}, "Artist/Album (Instrumental)/Song (Instrumental).flac"),
        (
            {"album_artist": "Various Artists", "artist": "Them", "track_number": 1},
            "Various Artists/Album (Instrumental)/01 - Them - Song (Instrumental).flac",
        ),
        ({"album_artist": "AC/DC"}, "AC_DC/Album (Instrumental)/Song (Instrumental).flac"),
        ({"album_artist": "..."}, "Unknown Artist/Album (Instrumental)/Song (Instrumental).flac"),
        ({"album_artist": "R.E.M."}, "R.E.M/Album (Instrumental)/Song (Instrumental).flac"),
        ({"album": "Vol. 4 (Stems)"}, "Artist/Vol. _4 (Stems)/Song (Instrumental).flac"),
        ({"album": "Part 1"}, "Artist/Part _1/Song (Instrumental).flac"),
        ({"album": "AUX"}, "Artist/AUX_/Song (Instrumental).flac"),
        ({"title": "Con"}, "Artist/Album (Instrumental)/Con_.flac"),
        ({"album": "Volumes"}, "Artist/Volumes/Song (Instrumental).flac"),
        ({"title": "...And Justice"}, "Artist/Album (Instrumental)/_..And Justice.flac"),
    ],
)
def test_paths_follow_the_rules_of_media_servers(changes: dict[str, object], path: str) -> None:
    """ORG-001"""
    assert track_path(name(**changes)) == path


def test_a_long_title_is_cut_but_keeps_number_label_copy_and_extension() -> None:
    path = track_path(name(title="é" * 300 + " (Instrumental)", track_number=12), copy=2)
    file = path.rpartition("/")[2]
    assert file.startswith("12 - éé")
    assert file.endswith("é (Instrumental) (2).flac")
    assert 190 <= len(file.encode()) <= MAX_COMPONENT_BYTES


def test_names_that_differ_in_case_or_form_only_are_the_same_name() -> None:
    assert fold("BJÖRK") == fold("bjo\u0308rk")
