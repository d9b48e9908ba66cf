"""Templates of paths: what is accepted, what is refused in which words, and that no tag gets around the rules."""

import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.pipeline.naming import MAX_FOLDERS_UNITS, MAX_PATH_UNITS, TrackName, fold, track_path
from ironclad_assets.pipeline.templates import DEFAULT, PLACEHOLDERS, layout_of, parse_template, read_layout
from ironclad_assets.settings import Settings
from tests.unit.pipeline.test_naming import JELLYFIN_DISC, assert_legal, name, names

TEMPLATES = [
    DEFAULT.output.text,
    "{album_artist}/{album}/{title}.{ext}",
    "Music/{album_artist}/<{year} - >{album}/<{disc}.><{track} >{artist} - {title}< ({label})>.{ext}",
    "{album_artist}/{album_artist} - {album}< [{year}]>/<<{disc}->{track} - >{title}.{ext}",
    "a/b/{album_artist}/c/{album}/{track} {title}.{ext}",
]
templates = st.sampled_from([parse_template(text) for text in TEMPLATES])


@settings(deadline=None)
@given(name=names, template=templates, copy=st.integers(min_value=1, max_value=999))
def test_any_tags_and_any_template_give_a_legal_path_below_artist_and_album(name, template, copy) -> None:
    """ORG-001: rules 1 to 5 and 7 of paths, whatever the template."""
    path = track_path(name, copy=copy, template=template)
    parts = path.split("/")
    assert len(parts) == len(template.folders) + 1 >= 3
    for part in parts:
        assert_legal(part)
    for folder in parts[:-1]:
        assert not JELLYFIN_DISC.match(re.sub(r"[-.()\s]+", " ", folder))
    assert parts[-1].endswith(f".{name.extension}")
    assert len(path.encode("utf-16-le")) // 2 <= MAX_PATH_UNITS + 1
    assert len("/".join(parts[:-1]).encode("utf-16-le")) // 2 <= MAX_FOLDERS_UNITS


@settings(deadline=None)
@given(name=names, template=templates)
def test_copies_differ_and_the_same_name_always_gives_the_same_path(name, template) -> None:
    paths = [fold(track_path(name, copy=copy, template=template)) for copy in range(1, 5)]
    assert len(set(paths)) == len(paths)
    assert paths[0] == fold(track_path(replace(name), template=template))


@settings(deadline=None)
@given(one=names, other=names, template=templates)
def test_songs_of_one_album_share_its_folder_whatever_their_titles(one, other, template) -> None:
    """Rule 2: one album is one folder."""
    same = replace(other, album=one.album, album_artist=one.album_artist, date=one.date)
    first, second = (track_path(each, template=template).rpartition("/")[0] for each in (one, same))
    assert first == second


@settings(deadline=None)
@given(name=names, template=templates)
def test_decomposed_tags_give_the_same_path(name, template) -> None:
    """Rule 5 of paths: NFC and NFD twins are one."""
    texts = {
        field: unicodedata.normalize("NFD", getattr(name, field))
        for field in ("album_artist", "album", "title", "artist")
    }
    composed = {field: unicodedata.normalize("NFC", text) for field, text in texts.items()}
    assert track_path(replace(name, **texts), template=template) == track_path(
        replace(name, **composed), template=template
    )


FULL = TrackName(
    album_artist="Ann", album="Far (Instrumental)", title="Run (Instrumental)", artist="Bob", extension="flac",
    track_number=3, disc_number=2, disc_total=2, date="1999-12-31", label="Instrumental",
)  # fmt: skip
BARE = TrackName(album_artist="Ann", album="Far", title="Run", artist="Bob", extension="mp3", disc_number=1)


@pytest.mark.parametrize(
    ("template", "full", "bare"),
    [
        (DEFAULT.output.text, "Far (Instrumental)/2-03 - Run (Instrumental).flac", "Far/Run.mp3"),
        (
            "{album_artist}/<{year} - >{album}/{title}.{ext}",
            "1999 - Far (Instrumental)/Run (Instrumental).flac",
            "Far/Run.mp3",
        ),
        (
            "{album_artist}/{album}/{title}<, {label}>.{ext}",
            "Far (Instrumental)/Run (Instrumental), Instrumental.flac",
            "Far/Run.mp3",
        ),
        (
            "{album_artist}/{album}/{artist} - {title}.{ext}",
            "Far (Instrumental)/Bob - Run (Instrumental).flac",
            "Far/Bob - Run.mp3",
        ),
        (
            "{album_artist}/{album}/<{track}<.{disc}> >{title}.{ext}",
            "Far (Instrumental)/03.2 Run (Instrumental).flac",
            "Far/Run.mp3",
        ),
        (
            "{album_artist}/x/{album}/{title}.{ext}",
            "x/Far (Instrumental)/Run (Instrumental).flac",
            "x/Far/Run.mp3",
        ),
    ],
)
def test_placeholders_are_filled_in_and_empty_options_left_out(template: str, full: str, bare: str) -> None:
    assert track_path(FULL, template=parse_template(template)) == f"Ann/{full}"
    assert track_path(BARE, template=parse_template(template)) == f"Ann/{bare}"


def test_a_compilation_names_each_artist() -> None:
    """Rule 1: `Various Artists/<Album>/NN - <Artist> - <Title>.ext`."""
    various = replace(FULL, album_artist="various artists", disc_number=None)
    assert track_path(various).endswith("/03 - Bob - Run (Instrumental).flac")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{album_artist}/{album}/{titel}.{ext}", "{titel} is no placeholder"),
        ("{album_artist}/{album}/{track:02d} {title}.{ext}", "{track:02d} is no placeholder"),
        ("{album_artist}/{title}.{ext}", "needs a folder of its artist and one of its album"),
        ("{title}.{ext}", "needs a folder of its artist and one of its album"),
        ("a/b/c/d/{album_artist}/e/{album}/{title}.{ext}", "6 at most"),
        ("{album_artist}/{album}/x/{title}.{ext}", "the last folder must be the album's"),
        ("{album_artist}/<{album}>/{title}.{ext}", "the last folder must be the album's"),
        ("x/{album_artist} - {album}/{title}.{ext}", "must be the artist's"),
        ("{artist}/{album}/{title}.{ext}", "{artist} in a folder's name would spread one album over many"),
        ("{album_artist}/{album}/Disc {disc}/{title}.{ext}", "would spread one album over many"),
        ("{album_artist}/{album}/{track}.{ext}", "must have {title}"),
        ("{album_artist}/{album}/<{title}>.{ext}", "must have {title}"),
        ("{album_artist}/{album}/{title}", "must end with .{ext}"),
        ("{album_artist}/{album}/{title}{ext}", "must end with .{ext}"),
        ("{album_artist}/{album}/{ext} {title}.{ext}", "{ext} is there twice"),
        ("/{album_artist}/{album}/{title}.{ext}", "it begins or ends with /"),
        ("{album_artist}//{album}/{title}.{ext}", "two in a row"),
        ("../{album_artist}/{album}/{title}.{ext}", "'..' is no name for a folder"),
        ("./{album_artist}/{album}/{title}.{ext}", "'.' is no name for a folder"),
        (" /{album_artist}/{album}/{title}.{ext}", "' ' is no name for a folder"),
        (".hidden/{album_artist}/{album}/{title}.{ext}", "begins with a dot"),
        ("C:/{album_artist}/{album}/{title}.{ext}", "':' cannot be in a file name everywhere"),
        ("{album_artist}\\x/{album}/{title}.{ext}", "cannot be in a file name everywhere"),
        ("{album_artist}/{album}/\x00{title}.{ext}", "cannot be in a file name everywhere"),
        ("{album_artist}/{album}/<a/{title}>.{ext}", "a / between < and >"),
        ("{album_artist}/{album}/<{track} {title}.{ext}", "'<' has no partner"),
        ("{album_artist}/{album}/{track}> {title}.{ext}", "'>' at character"),
        ("{album_artist}/{album}/{title.{ext}", "has no partner"),
        ("{album_artist}/{album}/title}.{ext}", "'}' at character"),
        ("{album_artist}/{album}/<x>{title}.{ext}", "no placeholder between < and >"),
        (f"{'x' * 61}/{{album_artist}}/{{album}}/{{title}}.{{ext}}", "more than 60 bytes"),
        ("x" * 501, "it has 501 characters; 500 are allowed"),
        ("", "it begins or ends with /"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_value_and_the_placeholders_there_are(template: str, why: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_template(template, name="IRONCLAD_LIBRARY_TEMPLATE")
    assert caught.value.code is ErrorCode.BAD_OPTION
    assert caught.value.detail.startswith("IRONCLAD_LIBRARY_TEMPLATE ")
    assert why in caught.value.detail
    assert all(f"{{{placeholder}}}" in caught.value.detail for placeholder in PLACEHOLDERS)
    assert len(caught.value.detail) < 1000


@settings(deadline=None)
@given(text=st.text(alphabet="{}<>/. -abcdefghijklmnopqrstuvwxyz_\\:", max_size=80))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        template = parse_template(text)
    except Refusal:
        return
    assert_legal(track_path(FULL, template=template).rpartition("/")[2])


def test_stems_follow_the_library_unless_they_have_a_template_of_their_own(tmp_path) -> None:
    flat = "{album_artist}/{album}/{title}.{ext}"
    assert layout_of(Settings(home=tmp_path, library_template=flat)).template("output-stems").text == flat
    layout = read_layout(DEFAULT.output.text, stems=flat)
    assert (layout.template("output").text, layout.template("output-stems").text) == (DEFAULT.output.text, flat)
    with pytest.raises(Refusal, match="IRONCLAD_STEMS_TEMPLATE"):
        layout_of(Settings(home=tmp_path, stems_template="{x}"))


@pytest.mark.parametrize("album", ["Live", "SINGLES", "Remixes", "eps", "dj-mixes", "Streets"])
def test_an_album_called_like_a_shelf_of_jellyfins_is_still_an_album(album: str) -> None:
    """The trap of special folders: an album titled "Live"."""
    assert track_path(replace(FULL, album=album)).split("/")[1] == f"{album}_"
    assert track_path(replace(FULL, album=f"{album} (Instrumental)")).split("/")[1] == f"{album} (Instrumental)"
    assert track_path(replace(FULL, album_artist=album)).split("/")[0] == album


@pytest.mark.parametrize(
    "text", ["CD 1", "Disc 2", "disk 3", "Vol. 4", "Volume 5", "Part 6", "Act 7", "Digital Media 8"]
)
def test_no_folder_is_taken_for_a_disc(text: str) -> None:
    """The trap of disc folders, for artists, albums, and folders of stems alike."""
    for album in (text, f"{text} (Stems)"):
        folders = track_path(replace(FULL, album=album, album_artist=text)).split("/")[:-1]
        assert not [one for one in folders if JELLYFIN_DISC.match(re.sub(r"[-.()\s]+", " ", one))]


def test_long_names_shorten_and_keep_number_label_copy_and_extension() -> None:
    """Rule 4 of paths: 200 bytes a name, 240 units a path."""
    long = TrackName(
        album_artist="é" * 300, album="漢" * 300 + " (Instrumental)", title="𝄞" * 300 + " (Instrumental)", artist="x",
        extension="flac", track_number=12, disc_number=2,
    )  # fmt: skip
    path = track_path(long, copy=2)
    artist, album, file = path.split("/")
    assert album.endswith("漢 (Instrumental)")
    assert file.startswith("2-12 - 𝄞")
    assert file.endswith("𝄞 (Instrumental) (2).flac")
    assert len(path.encode("utf-16-le")) // 2 <= MAX_PATH_UNITS
    assert min(len(artist), len(album)) > 30


def test_a_short_path_is_never_shortened() -> None:
    path = track_path(name(title="t" * 90 + " (Instrumental)", album_artist="a" * 60, album="b" * 60))
    assert path == f"{'a' * 60}/{'b' * 60}/{'t' * 90} (Instrumental).flac"
