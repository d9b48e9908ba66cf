"""MPD as a library server: albums by tags, no pollution between a song and what was made from it, covers, numbers."""

import unicodedata
from collections import defaultdict

import pytest

from tests.judges.album import (
    ALBUM,
    ALBUM_ARTIST,
    ALBUM_SONGS,
    COMPILATION,
    COMPILED_SONGS,
    RELEASE,
    SONGS,
    VARIOUS_ARTISTS,
)
from tests.judges.delivery import Delivered, Library
from tests.judges.mpd_server import MpdClient

TARGET_ALBUMS = {
    (ALBUM_ARTIST, f"{ALBUM} (Instrumental)"): len(ALBUM_SONGS),
    (ALBUM_ARTIST, f"{ALBUM} (A Cappella)"): 1,
    (VARIOUS_ARTISTS, f"{COMPILATION} (Instrumental)"): len(COMPILED_SONGS),
}
STEM_ALBUMS = {
    (ALBUM_ARTIST, f"{ALBUM} (Stems)"): len(ALBUM_SONGS),
    (VARIOUS_ARTISTS, f"{COMPILATION} (Stems)"): len(COMPILED_SONGS),
}
TAGS = {
    "Title": "TITLE", "Artist": "ARTIST", "Album": "ALBUM", "AlbumArtist": "ALBUMARTIST", "Genre": "GENRE",
    "Date": "DATE", "Composer": "COMPOSER", "Track": "TRACKNUMBER", "Disc": "DISCNUMBER",
    "ArtistSort": "ARTISTSORT", "AlbumArtistSort": "ALBUMARTISTSORT",
    "MUSICBRAINZ_ARTISTID": "MUSICBRAINZ_ARTISTID", "MUSICBRAINZ_ALBUMARTISTID": "MUSICBRAINZ_ALBUMARTISTID",
    "MUSICBRAINZ_WORKID": "MUSICBRAINZ_WORKID",
}  # fmt: skip
"""MPD's names of what it reads, and the contract's."""


def uri(file: Delivered) -> str:
    return f"{'targets' if file.kind == 'target' else 'stems'}/{file.relative}"


def albums(mpd: MpdClient, base: str) -> dict[tuple[str, str], int]:
    """Return the albums below one root, by album artist and title, and how many songs of the whole library each has."""
    found = {}
    artist = ""
    for name, value in mpd.ask("list", "album", f"(base '{base}')", "group", "albumartist"):
        if name == "AlbumArtist":
            artist = value
        else:
            found[artist, value] = len(mpd.songs("albumartist", artist, "album", value))
    return found


def test_what_is_made_from_an_album_is_albums_of_its_own(library: Library, mpd: MpdClient) -> None:
    """ORG-001: grouped by tags alone; the counts are of all roots together, so nothing got into another's album."""
    assert albums(mpd, "targets") == TARGET_ALBUMS
    assert albums(mpd, "stems") == STEM_ALBUMS


def test_no_album_is_spread_over_two_folders_and_no_folder_holds_two(library: Library, mpd: MpdClient) -> None:
    """ORG-001: Jellyfin groups by folder, Navidrome by tags; both must see the same albums."""
    folders, names = defaultdict(set), defaultdict(set)
    for base in ("targets", "stems"):
        for song in mpd.songs(f"(base '{base}')"):
            folder, album = song["file"][0].rpartition("/")[0], (song["AlbumArtist"], song["Album"])
            folders[album].add(folder)
            names[folder].add(album)
    assert len(folders) == len(TARGET_ALBUMS) + len(STEM_ALBUMS)
    assert all(len(each) == 1 for each in (*folders.values(), *names.values()))


def test_the_originals_albums_hold_the_originals_alone(library: Library, mpd: MpdClient) -> None:
    """ORG-001"""
    for album in (ALBUM, unicodedata.normalize("NFD", ALBUM), COMPILATION):
        songs = mpd.songs("album", album)
        assert songs
        assert all(song["file"][0].startswith("originals/") for song in songs)


def test_the_originals_identities_find_the_originals_alone(library: Library, mpd: MpdClient) -> None:
    """ORG-001: with a shared id a server takes the instrumental for the same track."""
    assert len(mpd.songs("musicbrainz_albumid", RELEASE)) == len(SONGS)
    for name, value in (
        ("musicbrainz_albumid", RELEASE),
        *(("musicbrainz_trackid", song.recording) for song in SONGS),
        *(("musicbrainz_releasetrackid", song.track) for song in SONGS),
    ):
        found = [song["file"][0] for song in mpd.songs(name, value)]
        assert found
        assert all(file.startswith("originals/") for file in found), (name, found)


def test_artists_keep_their_identity_so_that_all_their_albums_are_theirs(library: Library, mpd: MpdClient) -> None:
    artist = SONGS[0]
    found = mpd.songs("musicbrainz_artistid", "5b1c9bd2-6a54-4a2c-8a3e-0b8f3c1d0b01")
    assert len(found) == len(SONGS) + len(library.files)
    assert artist.artist in {song["Artist"][0] for song in found}


def test_two_spellings_of_one_name_become_one_artist(library: Library, mpd: MpdClient) -> None:
    """ORG-001: uploads written in NFC and NFD make two artists of the originals, one of what we deliver."""
    assert unicodedata.normalize("NFD", ALBUM_ARTIST) != ALBUM_ARTIST
    of_originals = {value for name, value in mpd.ask("list", "albumartist", "(base 'originals')")}
    assert {ALBUM_ARTIST, unicodedata.normalize("NFD", ALBUM_ARTIST)} <= of_originals
    for base in ("targets", "stems"):
        found = {value for name, value in mpd.ask("list", "albumartist", f"(base '{base}')")}
        assert found == {ALBUM_ARTIST, VARIOUS_ARTISTS}
        texts = [value for song in mpd.songs(f"(base '{base}')") for values in song.values() for value in values]
        assert all(unicodedata.is_normalized("NFC", text) for text in texts)


def test_mpd_reads_the_contracts_tags(library: Library, mpd: MpdClient) -> None:
    """META-001"""
    for file in library.files:
        (song,) = mpd.songs("file", uri(file))
        expected = {theirs: file.expected[ours] for theirs, ours in TAGS.items() if ours in file.expected}
        if file.output == "m4a":
            expected["Genre"] = expected["Genre"][:1]  # MPD has FFmpeg read MP4, and FFmpeg keeps one value
        found = {theirs: song.get(theirs) for theirs in expected}
        assert found == expected, file


def test_mpd_shows_cover_and_embedded_picture(library: Library, mpd: MpdClient) -> None:
    """ORG-001: `albumart` is the file in the folder, `readpicture` the one embedded."""
    for file in library.files:
        assert mpd.picture("albumart", uri(file)) == file.cover.read_bytes()
    embedded = {file.output: mpd.picture("readpicture", uri(file)) == file.cover.read_bytes() for file in library.files}
    assert embedded == dict.fromkeys(("flac", "wav", "mp3", "m4a", "opus"), True)


def test_mpd_shows_the_sources_length(library: Library, mpd: MpdClient) -> None:
    """STEM-001: roughly, since of MP3 it counts whole packets with the codec's delay."""
    for file in library.files:
        (song,) = mpd.songs("file", uri(file))
        assert float(song["duration"][0]) == pytest.approx(file.frames / file.sample_rate_hz, abs=0.05), file
        assert song["Format"][0].startswith(f"{file.sample_rate_hz}:"), file
