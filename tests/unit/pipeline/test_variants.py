"""What derived tracks are called, and which tags of the original they keep, drop and add."""

from typing import Any

import pytest

from ironclad_assets.audio.embed import make_sheet
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.pipeline.track_plan import MIXTURE, plan_tracks
from ironclad_assets.pipeline.variants import Provenance, derived_tags, describe_variant, label_text, name_track

FOUR = ("vocals", "drums", "bass", "other")
MADE = Provenance(engine="spectral", engine_version="1.2", model="default", source_sha256="0" * 64)
KEPT = {
    "MUSICBRAINZ_ARTISTID": ("a",),
    "MUSICBRAINZ_ALBUMARTISTID": ("b",),
    "MUSICBRAINZ_WORKID": ("c",),
    "LABEL": ("d",),
}
DROPPED = (
    "MUSICBRAINZ_TRACKID", "MUSICBRAINZ_RELEASETRACKID", "MUSICBRAINZ_ALBUMID", "MUSICBRAINZ_RELEASEGROUPID",
    "MUSICBRAINZ_DISCID", "ACOUSTID_ID", "ACOUSTID_FINGERPRINT", "ISRC", "BARCODE", "CATALOGNUMBER", "ASIN",
    "REPLAYGAIN_TRACK_GAIN", "REPLAYGAIN_ALBUM_PEAK", "R128_TRACK_GAIN", "ITUNSMPB", "ITUNNORM", "MCDI", "LENGTH",
    "ENCODER", "STEM", "SEPARATION_MODEL", "SOURCE_SHA256", "ID3:PRIV", "APID", "OWNR", "UPC", "DISCOGS_RELEASE_ID",
    "SPOTIFY_TRACK_ID", "TDTG", "RELEASESTATUS", "COMMENT:ITUNNORM", "MUSICBRAINZ_ORIGINALALBUMID", "SERATO_OVERVIEW",
)  # fmt: skip


def tags(
    name: str = "instrumental", kind: Any = "target", stems: tuple[str, ...] = FOUR[1:], **values: Any
) -> dict[str, Any]:
    metadata = SongMetadata(**{"title": "Run", "artist": "Ann", "album": "Far", **values})
    variant = describe_variant(name, kind=kind, stems=stems)
    return derived_tags(metadata, variant=variant, name=name, provenance=MADE)


@pytest.mark.parametrize(
    ("name", "kind", "stems", "title", "album"),
    [
        ("instrumental", "target", FOUR[1:], "Run (Instrumental)", "Far (Instrumental)"),
        ("vocals", "target", ("vocals",), "Run (A Cappella)", "Far (A Cappella)"),
        ("drums+bass", "target", ("drums", "bass"), "Run (Drums + Bass)", "Far (Drums + Bass)"),
        ("vocals", "stem", ("vocals",), "Run (Vocals)", "Far (Stems)"),
        ("lead_vocals", "stem", ("lead_vocals",), "Run (Lead Vocals)", "Far (Stems)"),
    ],
)
def test_each_kind_of_track_has_a_title_and_an_album_of_its_own(
    name: str, kind: str, stems: tuple[str, ...], title: str, album: str
) -> None:
    """ORG-001"""
    made = tags(name, kind, stems)
    assert (made["TITLE"], made["ALBUM"]) == ((title,), (album,))


@pytest.mark.parametrize("text", ["Run (Instrumental)", "Run [instrumental]", "Run (INSTRUMENTAL) "])
def test_a_label_is_not_written_twice(text: str) -> None:
    assert label_text(text, label="Instrumental") == text


def test_what_describes_the_music_is_kept_and_what_identifies_the_original_is_dropped() -> None:
    made = tags(fields={**KEPT, **dict.fromkeys(DROPPED, ("original's",))})
    assert {name: made[name] for name in KEPT} == KEPT
    assert "original's" not in [
        value for name, values in made.items() if name != "ORIGINAL_RECORDING_ID" for value in values
    ]
    assert made["ORIGINAL_RECORDING_ID"] == ("original's",)


def test_sort_names_are_labelled_as_the_names_are() -> None:
    made = tags(fields={"TITLESORT": ("Run, The",), "ALBUMSORT": ("Far, The",), "ARTISTSORT": ("Ann, A",)})
    assert made["TITLESORT"] == ("Run, The (Instrumental)",)
    assert made["ALBUMSORT"] == ("Far, The (Instrumental)",)
    assert made["ARTISTSORT"] == ("Ann, A",)


def test_several_composers_stay_apart_unless_somebody_knew_better() -> None:
    assert tags(composer="A; B", fields={"COMPOSER": ("A", "B")})["COMPOSER"] == ("A", "B")
    assert tags(composer="C", fields={"COMPOSER": ("A", "B")})["COMPOSER"] == ("C",)


def test_an_artist_with_a_guest_keeps_the_plain_name_beside() -> None:
    assert tags(artist="Ann feat. Bob", artists=("Ann",))["ARTISTS"] == ("Ann",)
    assert "ARTISTS" not in tags(artist="Ann", artists=("Ann",))


def test_provenance_names_engine_model_version_and_source() -> None:
    made = tags()
    assert {name: made[name] for name in made if name.startswith(("STEM", "SEPARATION", "SOURCE"))} == {
        "STEM": ("instrumental",), "SEPARATION_ENGINE": ("spectral",), "SEPARATION_MODEL": ("default",),
        "SEPARATION_VERSION": ("1.2",), "SOURCE_SHA256": ("0" * 64,),
    }  # fmt: skip


def test_lyrics_stay_only_where_there_is_singing() -> None:
    assert "LYRICS" not in tags(lyrics="la")
    assert "SYNCEDLYRICS" not in tags(fields={"SYNCEDLYRICS": ("[00:01.00]la",)})
    assert "SYNCEDLYRICS" in tags("vocals", "stem", ("vocals",), fields={"SYNCEDLYRICS": ("[00:01.00]la",)})
    assert "LYRICS" not in tags("drums", "stem", ("drums",), lyrics="la")
    assert tags("vocals", "stem", ("vocals",), lyrics="la")["LYRICS"] == ("la",)
    assert tags("vocals+bass", "target", ("vocals", "bass"), lyrics="la")["LYRICS"] == ("la",)


def test_numbers_genres_artists_and_comments_are_carried_over() -> None:
    made = tags(
        track_number=3, track_total=12, disc_number=1, genres=("Folk", "Dub"), artists=("Ann", "Bob"), comment="own",
        compilation=True, date="1999",
    )  # fmt: skip
    assert (made["TRACKNUMBER"], made["TRACKTOTAL"], made["DISCNUMBER"]) == (("3",), ("12",), ("1",))
    assert (made["GENRE"], made["ARTISTS"], made["COMMENT"]) == (("Folk", "Dub"), ("Ann", "Bob"), ("own",))
    assert (made["COMPILATION"], made["DATE"]) == (("1",), ("1999",))


@pytest.mark.parametrize(
    ("values", "album_artist", "album"),
    [
        ({"album": None}, "Ann", "Run (Stems)"),
        ({"artist": None}, "Unknown Artist", "Far (Stems)"),
        ({"album_artist": "Ann & Co"}, "Ann & Co", "Far (Stems)"),
        ({"compilation": True}, "Various Artists", "Far (Stems)"),
        ({"artist": None, "album_artist": "Co"}, "Co", "Far (Stems)"),
    ],
)
def test_album_and_album_artist_are_always_there(values: dict[str, Any], album_artist: str, album: str) -> None:
    metadata = SongMetadata(**{"title": "Run", "artist": "Ann", "album": "Far", **values})
    name = name_track(metadata, variant=describe_variant("bass", kind="stem", stems=("bass",)), extension="flac")
    assert (name.album_artist, name.album) == (album_artist, album)


def plan(*targets: str, stems: tuple[str, ...] = FOUR) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    plans = plan_tracks(stems, options=JobOptions(targets=targets))
    return [(one.name, one.method, one.add, one.subtract) for one in plans if one.kind == "target"]


def test_the_instrumental_is_the_mixture_without_the_vocals() -> None:
    assert plan("instrumental") == [("instrumental", "subtract", (MIXTURE,), ("vocals",))]
    stems = ("lead_vocals", "backing_vocals", "band")
    assert plan("instrumental", stems=stems) == [("instrumental", "subtract", (MIXTURE,), stems[:2])]


def test_other_targets_are_sums_and_every_stem_is_delivered() -> None:
    assert plan("drums+bass", "vocals") == [
        ("drums+bass", "sum", ("drums", "bass"), ()),
        ("vocals", "sum", ("vocals",), ()),
    ]
    plans = plan_tracks(FOUR, options=JobOptions())
    assert [one.name for one in plans if one.kind == "stem"] == list(FOUR)
    assert plans[0].stems == FOUR[1:]


@pytest.mark.parametrize(("target", "stems"), [("piano", FOUR), ("drums+piano", FOUR), ("instrumental", ("mixture",))])
def test_a_target_that_the_stems_do_not_hold_is_refused(target: str, stems: tuple[str, ...]) -> None:
    with pytest.raises(Refusal, match="choose among") as caught:
        plan(target, stems=stems)
    assert caught.value.code is ErrorCode.UNKNOWN_TARGET


def test_a_song_with_very_many_fields_keeps_its_title() -> None:
    fields = {f"OWN{number}": ("x",) for number in range(100)}
    made = tags(fields={**fields, "TITLE": ("unusual",)})
    sheet = make_sheet(made)
    assert sheet.fields["TITLE"] == ["Run (Instrumental)"]
    assert len(sheet.fields) == len(made)
