"""Which recording is the song: names are compared folded, lengths within limits, and twins are never mistaken."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ironclad_assets.contracts.v1.lookup import FoundArtist
from ironclad_assets.pipeline.likeness import fold, text_distance
from ironclad_assets.pipeline.matching import (
    MEDIUM,
    STRONG,
    Song,
    artist_distance,
    choose_release,
    is_twin,
    is_without_vocals,
    judge,
    judge_sound,
    length_distance,
    rank,
    recording_distance,
)
from tests.unit.pipeline.songs_found import mbid, recording, release

SONG = Song("Run", "Ann", None, 200.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Björk", "Bjork"),
        ("The Beatles", "beatles"),
        ("Simon & Garfunkel", "Simon and Garfunkel"),
        ("AC/DC", "AC DC"),
        ("Don’t", "Don't"),
        ("Run (feat. Bob)", "Run"),
        ("Ann feat. Bob", "Ann ft. Bob"),
        ("ＲＵＮ", "Run"),
        ("!!!", "!!!"),
        ("Run, Part II", "Run Part 2"),
        ("千と千尋", "千と千尋"),
    ],
)
def test_spellings_of_one_name_are_equal(one: str, other: str) -> None:
    assert text_distance(one, other) == 0.0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Run (2009 Remaster)", "Run"),
        ("Run - Remastered 2009", "Run"),
        ("Album [Deluxe Edition]", "Album"),
    ],
)
def test_an_edition_is_nearly_the_same(one: str, other: str) -> None:
    assert 0.0 < text_distance(one, other) <= STRONG


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Run (Part 1)", "Run (Part 2)"),
        ("Run (Part 1)", "Run"),
        ("Run (Ann's Version)", "Run"),
        ("Run (Spanish Version)", "Run"),
        ("Run", "Walk"),
        ("Suite for Orchestra and a Very Long Name No. 1", "Suite for Orchestra and a Very Long Name No. 2"),
        ("A Song of a Very Long Name Indeed, Part II", "A Song of a Very Long Name Indeed, Part III"),
        ("Album (Vol. 1)", "Album (Vol. 2)"),
        ("The", "A"),
        ("!!!", "???"),
    ],
)
def test_another_song_is_not_nearly_the_same(one: str, other: str) -> None:
    assert text_distance(one, other) > STRONG


@given(one=st.text(max_size=60), other=st.text(max_size=60))
def test_distance_of_texts_is_symmetric_and_bounded(one: str, other: str) -> None:
    assert 0.0 <= text_distance(one, other) <= 1.0 + 0.02
    assert text_distance(one, other) == pytest.approx(text_distance(other, one))
    assert text_distance(one, one) == 0.0
    assert fold(fold(one)) == fold(one) or "the" in fold(one)


@pytest.mark.parametrize(("seconds", "distance"), [(200, 0), (210, 0), (190, 0), (220, 0.5), (230, 1), (500, 1)])
def test_ten_seconds_are_free_and_thirty_too_many(seconds: float, distance: float) -> None:
    assert length_distance(200.0, seconds) == distance


@pytest.mark.parametrize(("seconds", "possible"), [(230.0, True), (230.1, False), (169.0, False), (None, True)])
def test_a_recording_of_another_length_is_another_one(seconds: float | None, possible: bool) -> None:
    assert (recording_distance(SONG, recording(1, duration_s=seconds)) is not None) is possible


@pytest.mark.parametrize(
    "twin",
    [
        {"title": "Run (Instrumental)"},
        {"title": "Run", "disambiguation": "instrumental"},
        {"title": "Run (Karaoke Version)"},
        {"title": "Run - a cappella"},
        {"title": "Run (Acapella)"},
        {"title": "Run [backing track]"},
        {"title": "Run (Inst.)"},
        {"title": "Run (オリジナル・カラオケ)"},
    ],
)
def test_an_instrumental_is_never_taken_for_its_original_nor_the_other_way_round(twin: dict[str, Any]) -> None:
    """META-001"""
    other = recording(1, **twin)
    assert judge(SONG, [other]).chosen == ()
    assert judge(SONG, [other]).candidates == ()
    assert judge(Song(f"{other.title} {other.disambiguation}", "Ann", None, 200.0), [recording(2)]).chosen == ()


def test_an_instrumental_is_matched_to_the_instrumental() -> None:
    other = recording(1, "Run (Instrumental)")
    verdict = judge(Song("Run [Instrumental]", "Ann", None, 200.0), [recording(2), other])
    assert [match.recording for match in verdict.chosen] == [other]


def test_on_an_album_of_instrumentals_both_spellings_are_possible() -> None:
    song = Song("Run", "Ann", "Album (Instrumentals)", 200.0)
    assert not is_twin(song, recording(1, "Run (instrumental)"))
    assert not is_twin(song, recording(1, "Run"))
    assert is_without_vocals("Album (Instrumentals)")
    assert not is_without_vocals("Album")


@pytest.mark.parametrize("note", ["live, 1999-01-01: Town", "demo", "acoustic", "Bob remix"])
def test_another_version_is_no_match_unless_the_song_says_so(note: str) -> None:
    assert judge(SONG, [recording(1, disambiguation=note)]).chosen == ()
    said = Song(f"Run ({note})", "Ann", None, 200.0)
    assert (recording_distance(said, recording(1, f"Run ({note})")) or 0.0) <= STRONG


def test_a_live_album_says_enough() -> None:
    song = Song("Run", "Ann", "Live in Town", 200.0)
    assert judge(song, [recording(1, disambiguation="live", releases=(release(2, "Live in Town"),))]).chosen


def test_the_best_hit_of_a_search_may_be_wrong() -> None:
    """META-001: order and score of a source count nothing."""
    wrong, right = recording(1, "Running Up"), recording(2)
    assert [match.recording for match in judge(SONG, [wrong, right]).chosen] == [right]


def test_the_same_title_by_somebody_else_is_somebody_elses_song() -> None:
    verdict = judge(SONG, [recording(1, artist="Zebra Crossing")])
    assert (verdict.chosen, verdict.candidates) == ((), ())


def test_the_first_of_several_artists_is_enough() -> None:
    two = (FoundArtist(name="Ann"), FoundArtist(name="Bob"))
    both = recording(1, artist="Ann & Bob", artists=two)
    assert [artist_distance(name, both) for name in ("Ann", "Ann; Bob", "ann, bob", "Ann & Bob")] == [0.0] * 4
    assert artist_distance("Zoe", both) > 0.5
    assert artist_distance("Ann", recording(1, artists=()).model_copy(update={"artist": None})) == 1.0


def test_a_title_alone_gives_candidates_only() -> None:
    verdict = judge(Song("Run", None, None, 200.0), [recording(1), recording(2, artist="Bob")])
    assert verdict.chosen == ()
    assert len(verdict.candidates) == 2


def test_two_good_matches_of_different_names_are_a_choice_for_a_person() -> None:
    song = Song("Long Song Name of Two Many Words I", "Ann", None, 200.0)
    found = [recording(1, "Long Song Name of Two Many Words A"), recording(2, "Long Song Name of Two Many Words B")]
    verdict = judge(song, found)
    assert verdict.chosen == ()
    assert len(verdict.candidates) == 2


def test_a_fair_match_is_taken_only_alone_and_with_the_same_length() -> None:
    song = Song("Running", "Ann", None, 200.0)
    fair = recording(1, "Runing")
    assert STRONG < rank(song, [fair])[0].distance <= MEDIUM
    assert judge(song, [fair]).chosen
    assert judge(song, [fair, recording(2, "Runnin")]).chosen == ()
    assert judge(song, [fair.model_copy(update={"duration_s": 215.0})]).chosen == ()
    assert judge(song, [fair.model_copy(update={"duration_s": None})]).chosen == ()


def test_one_song_that_is_there_twice_is_no_ambiguity() -> None:
    verdict = judge(SONG, [recording(1), recording(2, duration_s=203.0)])
    assert len(verdict.chosen) == 2


def test_a_longer_cut_of_the_same_name_is_not_the_same_recording() -> None:
    verdict = judge(SONG, [recording(1), recording(2, duration_s=215.0)])
    assert [match.recording.id for match in verdict.chosen] == [mbid(1)]
    assert [match.recording.id for match in verdict.candidates] == [mbid(2)]


def test_an_album_that_fits_comes_first() -> None:
    song = Song("Run", "Ann", "Second", 200.0)
    first = recording(1, releases=(release(11, "First"),))
    second = recording(2, releases=(release(12, "Second"),))
    assert rank(song, [first, second])[0].recording == second


def test_nothing_known_matches_nothing() -> None:
    assert recording_distance(Song(None, None, None, None), recording(1)) == 1.0


def heard(number: int, title: str = "Run", score: float = 0.95, **more: Any) -> Any:
    return recording(number, title, fingerprint_score=score, releases=(), **more)


def test_a_sound_of_one_name_is_the_song() -> None:
    verdict = judge_sound(Song(None, None, None, 200.0), [heard(1), heard(2, score=0.9), heard(3, score=0.3)])
    assert [match.recording.id for match in verdict.chosen] == [mbid(1), mbid(2)]
    assert verdict.chosen[0].similarity == 0.95


@pytest.mark.parametrize("other", ["Walk", "Run (Instrumental)"])
def test_a_sound_of_two_names_is_a_choice_for_a_person(other: str) -> None:
    verdict = judge_sound(Song(None, None, None, 200.0), [heard(1), heard(2, other)])
    assert verdict.chosen == ()
    assert len(verdict.candidates) == 2


def test_a_sound_that_the_tags_contradict_is_not_believed() -> None:
    assert judge_sound(Song("Walk", "Bob", None, 200.0), [heard(1)]).chosen == ()
    assert judge_sound(Song("Run", None, None, 200.0), [heard(1, "Run (Instrumental)")]).chosen == ()
    assert judge_sound(Song(None, None, None, 400.0), [heard(1)]).chosen == ()


def test_the_edition_that_the_tags_name_is_chosen_by_number_status_and_date() -> None:
    editions = [
        release(1, "Album", date="1999"),
        release(2, "Album", date="1998", status="Bootleg"),
        release(3, "Album", date="2009", track_number=7),
        release(4, "Other", date="1990"),
        release(5, "Album (Deluxe Edition)", date="1990"),
    ]
    assert choose_release(editions, album="album", track_number=None) == editions[0]
    assert choose_release(editions, album="Album", track_number=7) == editions[2]
    assert choose_release(editions, album="Something Else", track_number=None) is None


def test_without_an_album_only_the_one_proper_album_is_taken() -> None:
    album, again = release(1, date="2005"), release(2, date="2001", group_id=mbid(5001))
    live = release(3, "Live", secondary_types=("Live",))
    hits = release(4, "Hits", secondary_types=("Compilation",), date="1990")
    single = release(5, "Run", primary_type="Single", date="1999")
    bootleg = release(6, "Boot", status="Bootleg")
    assert choose_release([album, again, live, hits, single, bootleg], album=None, track_number=None) == again
    assert choose_release([album, release(7, "Other")], album=None, track_number=None) is None
    assert choose_release([hits, single], album=None, track_number=None) == single
    assert choose_release([hits, live, bootleg], album=None, track_number=None) is None
    assert choose_release([], album=None, track_number=None) is None


def test_an_album_of_instrumentals_is_not_guessed_for_a_song_with_singing() -> None:
    twin = release(1, "Album (Instrumentals)")
    assert choose_release([twin], album=None, track_number=None) is None
    assert choose_release([twin], album=None, track_number=None, instrumental=True) == twin
