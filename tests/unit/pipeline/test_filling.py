"""What a lookup makes of answers: ids win, gaps are filled, nothing is overwritten, doubt becomes candidates."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ironclad_assets.contracts.v1.lookup import Reply
from ironclad_assets.pipeline.filling import Findings, look_up
from tests.unit.pipeline.songs_found import DOWN, KnownSongs, mbid, recording, release, tagged

FULL = {
    "title": "Run", "artist": "Ann", "album": "Album", "album_artist": "Ann", "track_number": 3, "date": "2001",
}  # fmt: skip


def test_a_song_that_lacks_nothing_asks_nobody() -> None:
    """META-001"""
    sources = KnownSongs([recording(1)])
    assert look_up(tagged(**FULL), sources=sources) == Findings()
    assert sources.asked == []


def test_gaps_are_filled_by_title_and_artist() -> None:
    """META-001"""
    sources = KnownSongs([recording(1)])
    findings = look_up(tagged(title="run", artist="ANN"), sources=sources)
    assert findings.values == {
        "album": "Album", "album_artist": "Ann", "date": "2001-02-03", "track_number": 3, "track_total": 10,
    }  # fmt: skip
    assert findings.fields == {
        "ARTISTSORT": ("Ann, A",), "MUSICBRAINZ_ARTISTID": (mbid(901),), "MUSICBRAINZ_TRACKID": (mbid(1),),
        "MUSICBRAINZ_RELEASETRACKID": (mbid(7101),), "ALBUMARTISTSORT": ("Ann, A",),
        "MUSICBRAINZ_ALBUMARTISTID": (mbid(901),), "MUSICBRAINZ_RELEASEGROUPID": (mbid(5101),),
        "MUSICBRAINZ_ALBUMID": (mbid(101),),
    }  # fmt: skip
    reason = findings.reasons["album"]
    assert (reason.source, reason.matched_by, reason.score, reason.entity) == ("musicbrainz", "tags", 1.0, mbid(101))
    assert findings.candidates == ()


@pytest.mark.parametrize(
    "mine",
    [
        {"album": "ALBUM!", "date": "1970", "track_number": 3},
        {"album_artist": "Somebody", "track_number": 3},
        {"album": "Album", "track_number": 9, "disc_number": 2},
        {"artists": ("Ann", "Bob")},
    ],
)
def test_a_present_tag_is_never_overwritten(mine: dict[str, Any]) -> None:
    """META-001"""
    song = tagged(title="Run", artist="Ann", fields={"ARTISTSORT": "mine", "MUSICBRAINZ_ARTISTID": mbid(5)}, **mine)
    findings = look_up(song, sources=KnownSongs([recording(1)]))
    assert findings.values
    assert not {"title", "artist", "artists", *mine} & set(findings.values)
    assert not {"ARTISTSORT", "MUSICBRAINZ_ARTISTID"} & set(findings.fields)


ANY_TAGS = {
    "title": st.sampled_from(["Run", "run!", "Walk", "夢"]),
    "artist": st.sampled_from(["Ann", "ann", "Bob"]),
    "album": st.sampled_from(["Album", "Other", "Album (Deluxe Edition)"]),
    "album_artist": st.just("Somebody"),
    "track_number": st.integers(0, 99),
    "disc_number": st.integers(0, 3),
    "date": st.just("1970"),
}
ANY_IDS = st.dictionaries(
    st.sampled_from(["MUSICBRAINZ_TRACKID", "MUSICBRAINZ_ALBUMID", "MUSICBRAINZ_ARTISTID", "ARTISTSORT"]),
    st.sampled_from([mbid(1), mbid(101), mbid(2), "nonsense"]),
)


@given(mine=st.fixed_dictionaries({}, optional=ANY_TAGS), fields=ANY_IDS)
def test_whatever_the_tags_are_none_is_overwritten_and_each_addition_has_its_reason(
    mine: dict[str, Any], fields: dict[str, str]
) -> None:
    """META-001"""
    sources = KnownSongs([recording(1), recording(2, "Walk"), recording(3, "Run", "Bob")], heard=[heard(1)])
    findings = look_up(tagged(fields=fields, **mine), sources=sources)
    assert not mine.keys() & findings.values.keys()
    assert not fields.keys() & findings.fields.keys()
    assert findings.reasons.keys() == findings.values.keys() | findings.fields.keys()


def test_a_place_on_another_edition_is_not_mixed_with_the_files_own() -> None:
    findings = look_up(
        tagged(title="Run", artist="Ann", album="Album", track_number=9), sources=KnownSongs([recording(1)])
    )
    assert "track_total" not in findings.values
    assert "MUSICBRAINZ_RELEASETRACKID" not in findings.fields


def test_a_number_that_the_guessed_album_does_not_have_speaks_against_it() -> None:
    findings = look_up(tagged(title="Run", artist="Ann", track_number=9), sources=KnownSongs([recording(1)]))
    assert "album" not in findings.values
    assert findings.candidates[0].album == "Album"


def test_ids_in_the_tags_win_over_everything_else() -> None:
    """META-001"""
    right = recording(1, "夢", artist="アン", releases=(release(11, "Other", track_number=5),))
    sources = KnownSongs([recording(2), right])
    findings = look_up(
        tagged(title="Dream", artist="Ann", fields={"MUSICBRAINZ_TRACKID": mbid(1).upper()}), sources=sources
    )
    assert findings.values["album"] == "Other"
    assert (findings.reasons["album"].matched_by, findings.reasons["album"].score) == ("ids", 1.0)
    assert sources.asked == [f"recording {mbid(1)}"]


def test_a_release_id_and_a_recording_id_take_one_question() -> None:
    sources = KnownSongs([recording(1, releases=(release(11), release(12, "Hits", disc_number=2, disc_total=3)))])
    ids = {"MUSICBRAINZ_TRACKID": mbid(1), "MUSICBRAINZ_ALBUMID": mbid(12)}
    findings = look_up(tagged(title="x", fields=ids), sources=sources)
    assert sources.asked == [f"release {mbid(12)}"]
    assert findings.values["album"] == "Hits"
    assert (findings.values["disc_number"], findings.values["disc_total"]) == (2, 3)


def test_a_track_id_finds_the_track_of_its_release() -> None:
    ids = {"MUSICBRAINZ_RELEASETRACKID": mbid(7101), "MUSICBRAINZ_ALBUMID": mbid(101)}
    findings = look_up(tagged(title="x", fields=ids), sources=KnownSongs([recording(1)]))
    assert findings.values["track_number"] == 3


def test_a_release_id_alone_gives_the_track_of_that_title_or_the_album_alone() -> None:
    sources = KnownSongs([recording(1), recording(2, "Walk", releases=(release(101, track_number=4),))])
    ids = {"MUSICBRAINZ_ALBUMID": mbid(101)}
    assert look_up(tagged(title="Walk", artist="Ann", fields=ids), sources=sources).values["track_number"] == 4
    other = look_up(tagged(title="Jump", artist="Ann", fields=ids), sources=sources)
    assert other.values == {"album": "Album", "album_artist": "Ann", "date": "2001-02-03"}


def test_an_id_that_nobody_knows_is_named_and_the_tags_are_asked() -> None:
    sources = KnownSongs([recording(1)])
    findings = look_up(tagged(title="Run", artist="Ann", fields={"MUSICBRAINZ_TRACKID": mbid(77)}), sources=sources)
    assert findings.values["album"] == "Album"
    assert mbid(77) in findings.warnings[0]


@pytest.mark.parametrize("value", ["1", "../../etc/passwd", "x" * 5000])
def test_an_id_that_is_none_is_named_and_never_asked(value: str) -> None:
    sources = KnownSongs([])
    findings = look_up(tagged(title="Run", artist="Ann", fields={"MUSICBRAINZ_TRACKID": value}), sources=sources)
    assert "MUSICBRAINZ_TRACKID is no MusicBrainz id" in findings.warnings[0]
    assert len(findings.warnings[0]) < 200
    assert sources.asked == ["search Run/Ann/"]


def test_an_id_of_somebody_elses_song_is_doubted() -> None:
    sources = KnownSongs([recording(1, "Symphony", artist="Bob", duration_s=900.0)])
    findings = look_up(tagged(title="Run", artist="Ann", fields={"MUSICBRAINZ_TRACKID": mbid(1)}), sources=sources)
    assert findings.values == {}
    assert "'Symphony' of another length" in findings.warnings[0]


def test_where_the_source_is_silent_it_is_not_asked_again_for_the_song() -> None:
    """META-003"""
    sources = KnownSongs(down=DOWN)
    ids = {"MUSICBRAINZ_TRACKID": mbid(1), "MUSICBRAINZ_ALBUMID": mbid(2)}
    findings = look_up(tagged(title="Run", artist="Ann", fields=ids), sources=sources)
    assert findings.warnings == ("MusicBrainz refused the connection",)
    assert sources.asked == [f"release {mbid(2)}"]


def test_each_silence_is_told_once_and_the_album_that_was_heard_of_stays() -> None:
    class Sources(KnownSongs):
        def recording(self, mbid: str) -> Reply:
            super().recording(mbid)
            return DOWN

    ids = {"MUSICBRAINZ_TRACKID": mbid(55), "MUSICBRAINZ_ALBUMID": mbid(101)}
    findings = look_up(tagged(title="x", fields=ids), sources=Sources([recording(1)]))
    assert findings.values["album"] == "Album"
    assert "track_number" not in findings.values
    twice = look_up(tagged(title="Run", artist="Ann"), sources=KnownSongs(down=DOWN, heard=[]))
    assert twice.warnings == ("MusicBrainz refused the connection",)


def test_an_id_is_not_doubted_where_the_lengths_are_unknown() -> None:
    sources = KnownSongs([recording(1, "Symphony", duration_s=None)])
    assert look_up(tagged(title="Run", fields={"MUSICBRAINZ_TRACKID": mbid(1)}), sources=sources).values


def test_of_two_editions_none_is_taken_for_the_files_own() -> None:
    both = recording(1, releases=(release(11), release(12, group_id=mbid(5011), date="2010")))
    findings = look_up(tagged(title="Run", artist="Ann"), sources=KnownSongs([both]))
    assert findings.values["date"] == "2001-02-03"
    assert "MUSICBRAINZ_ALBUMID" not in findings.fields
    assert findings.fields["MUSICBRAINZ_RELEASEGROUPID"] == (mbid(5011),)


def test_kinds_of_releases_are_asked_for_only_where_an_album_is_to_be_guessed() -> None:
    untold = recording(1, releases=(release(11, primary_type=None), release(12, "Live", primary_type=None)))

    class Sources(KnownSongs):
        def search(self, **words: str) -> Reply:
            super().search(**words)
            live = release(12, "Live", secondary_types=("Live",))
            return Reply(recordings=(recording(1, releases=(release(11), live)),))

    ids = {"MUSICBRAINZ_TRACKID": mbid(1)}
    sources = Sources([untold])
    assert look_up(tagged(title="Run", fields=ids), sources=sources).values["album"] == "Album"
    assert sources.asked == [f"recording {mbid(1)}", f"search {mbid(1)}"]
    sources = Sources([untold])
    look_up(tagged(**(FULL | {"artist": ""}), fields=ids), sources=sources)
    assert sources.asked == [f"recording {mbid(1)}"]


def test_old_answers_are_said_to_come_from_the_cache() -> None:
    """META-001: then cache."""
    findings = look_up(tagged(title="Run", artist="Ann"), sources=KnownSongs([recording(1)], stale=True))
    assert findings.reasons["album"].source == "cache"
    assert findings.warnings == ("MusicBrainz refused the connection; an earlier answer was used",)


def test_a_name_of_the_file_is_good_enough_to_ask_with() -> None:
    sources = KnownSongs([recording(1)])
    findings = look_up(tagged(guess={"title": "run", "artist": "ann"}), sources=sources)
    assert (findings.values["title"], findings.values["artist"], findings.values["artists"]) == ("Run", "Ann", ("Ann",))


def test_unsure_matches_are_kept_for_a_person_to_choose_from() -> None:
    found = [recording(number, artist=f"Artist {number}") for number in range(1, 9)]
    findings = look_up(tagged(title="Run"), sources=KnownSongs(found))
    assert findings.values == {}
    assert len(findings.candidates) == 5
    first = findings.candidates[0]
    assert (first.recording_id, first.release_id, first.album, first.matched_by) == (
        mbid(1), mbid(101), "Album", "tags",
    )  # fmt: skip


def test_a_song_on_several_albums_keeps_them_as_candidates() -> None:
    both = recording(1, releases=(release(11, "First", date="1999"), release(12, "Second", date="2003")))
    findings = look_up(tagged(title="Run", artist="Ann"), sources=KnownSongs([both]))
    assert "album" not in findings.values
    assert [one.album for one in findings.candidates] == ["First", "Second"]
    assert findings.fields["MUSICBRAINZ_TRACKID"] == (mbid(1),)


def test_where_a_song_is_there_twice_neither_id_is_taken() -> None:
    found = [recording(1), recording(2, duration_s=203.0, releases=(release(101),))]
    findings = look_up(tagged(title="Run", artist="Ann"), sources=KnownSongs(found))
    assert findings.values["album"] == "Album"
    assert "MUSICBRAINZ_TRACKID" not in findings.fields


def test_an_instrumental_twin_fills_nothing() -> None:
    findings = look_up(tagged(title="Run", artist="Ann"), sources=KnownSongs([recording(1, "Run (Instrumental)")]))
    assert findings == Findings()


def test_a_compilation_is_known_by_its_artist() -> None:
    various = {"id": "89ad4ac3-39f7-470e-963a-56509c546377", "name": "Various Artists"}
    hits = release(11, "Hits", album_artist="Various Artists", album_artists=(various,))
    findings = look_up(
        tagged(title="Run", artist="Ann", album="Hits"), sources=KnownSongs([recording(1, releases=(hits,))])
    )
    assert findings.values["compilation"] is True
    assert findings.values["album_artist"] == "Various Artists"


def heard(number: int, title: str = "Run", **more: Any) -> Any:
    return recording(number, title, fingerprint_score=0.93, releases=(), **more)


def test_a_song_that_nobody_knows_by_name_is_known_by_its_sound() -> None:
    """META-001"""
    sources = KnownSongs([recording(1)], heard=[heard(1)])
    findings = look_up(tagged(guess={"title": "track07"}), sources=sources)
    assert findings.values == {}, "a name that contradicts the sound is not overruled"
    findings = look_up(tagged(), sources=sources)
    assert (findings.values["title"], findings.values["album"]) == ("Run", "Album")
    assert findings.reasons["title"].matched_by == "fingerprint"
    assert findings.reasons["title"].score == 0.93


def test_what_acoustid_alone_knows_is_said_to_be_its() -> None:
    findings = look_up(tagged(), sources=KnownSongs([], heard=[heard(1)]))
    assert findings.values["title"] == "Run"
    assert findings.reasons["title"].source == "acoustid"


def test_a_search_that_answers_something_else_adds_nothing_to_a_sound() -> None:
    class Sources(KnownSongs):
        def search(self, **words: str) -> Reply:
            return Reply(recordings=(recording(9),))

    findings = look_up(tagged(), sources=Sources(heard=[heard(1)]))
    assert findings.fields["MUSICBRAINZ_TRACKID"] == (mbid(1),)


def test_a_source_that_gave_no_answer_to_the_tags_is_not_asked_about_the_sound() -> None:
    class Sources(KnownSongs):
        def search(self, **words: str) -> Reply:
            super().search(**words)
            return DOWN

    sources = Sources(heard=[heard(1)])
    findings = look_up(tagged(title="Run"), sources=sources)
    assert sources.asked == ["search Run//", "sound"]
    assert findings.values["artist"] == "Ann"


def test_sounds_of_two_names_are_candidates() -> None:
    findings = look_up(tagged(), sources=KnownSongs([], heard=[heard(1), heard(2, "Walk")]))
    assert findings.values == {}
    assert [one.matched_by for one in findings.candidates] == ["fingerprint", "fingerprint"]


def test_nothing_known_and_nobody_to_listen_is_no_finding() -> None:
    assert look_up(tagged(), sources=KnownSongs([recording(1)])) == Findings()


def test_the_cover_is_that_of_the_release_else_of_its_group() -> None:
    """META-001"""
    song = tagged(title="Run", artist="Ann", has_cover=False)
    sources = KnownSongs([recording(1)], covers={mbid(101): b"one", mbid(5101): b"two"})
    findings = look_up(song, sources=sources)
    assert findings.cover is not None
    assert findings.cover.data == b"one"
    assert (findings.reasons["artwork"].source, findings.reasons["artwork"].entity) == ("cover_art_archive", mbid(101))
    del sources.covers[mbid(101)]
    cover = look_up(song, sources=sources).cover
    assert cover is not None
    assert cover.data == b"two"


def test_a_release_named_in_the_tags_gives_the_cover_without_a_match() -> None:
    sources = KnownSongs(covers={mbid(8): b"one"})
    song = tagged(**FULL, has_cover=False, fields={"MUSICBRAINZ_ALBUMID": mbid(8)})
    findings = look_up(song, sources=sources)
    assert findings.cover is not None
    assert sources.asked == [f"cover release {mbid(8)}"]
    assert findings.reasons["artwork"].matched_by == "ids"


def test_an_archive_that_does_not_answer_is_not_asked_twice() -> None:
    class Sources(KnownSongs):
        def cover(self, *, kind: str, mbid: str) -> tuple[None, Reply]:
            super().cover(kind=kind, mbid=mbid)
            return None, Reply(problem="the Cover Art Archive gave no answer in time")

    sources = Sources([recording(1)])
    findings = look_up(tagged(title="Run", artist="Ann", has_cover=False), sources=sources)
    assert findings.warnings == ("the Cover Art Archive gave no answer in time",)
    assert sources.asked == ["search Run/Ann/", f"cover release {mbid(101)}"]


def test_a_release_without_a_group_has_no_other_cover() -> None:
    sources = KnownSongs([recording(1, releases=(release(11, group_id=None),))])
    assert look_up(tagged(title="Run", artist="Ann", has_cover=False), sources=sources).cover is None
    assert sources.asked[-1] == f"cover release {mbid(11)}"


def test_a_cover_in_the_file_is_enough() -> None:
    sources = KnownSongs([recording(1)], covers={mbid(101): b"one"})
    assert look_up(tagged(title="Run", artist="Ann"), sources=sources).cover is None


def test_equal_findings_have_equal_digests() -> None:
    one, other = (
        look_up(tagged(title="Run", artist="Ann", has_cover=False), sources=KnownSongs([recording(1)], covers=covers))
        for covers in ({}, {mbid(101): b"one"})
    )
    assert one.digest == look_up(tagged(title="Run", artist="Ann"), sources=KnownSongs([recording(1)])).digest
    assert one.digest != other.digest
