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
    KEPT_IDS,
    RELEASE,
    SONGS,
    VARIOUS_ARTISTS,
)
from tests.judges.delivery import Delivered, Library
from tests.judges.mpd_server import FIELDS, MpdClient

DECOMPOSED = unicodedata.normalize("NFD", ALBUM_ARTIST)
DJ_FILES = sum(song.dj_stems for song in SONGS)
MADE_ALBUMS = {
    (ALBUM_ARTIST, f"{ALBUM} (Instrumental)"): len(ALBUM_SONGS),
    (ALBUM_ARTIST, f"{ALBUM} (A Cappella)"): 1,
    (ALBUM_ARTIST, f"{ALBUM} (Stems)"): len(ALBUM_SONGS) + DJ_FILES,
    (VARIOUS_ARTISTS, f"{COMPILATION} (Instrumental)"): len(COMPILED_SONGS),
    (VARIOUS_ARTISTS, f"{COMPILATION} (Stems)"): len(COMPILED_SONGS),
}


def uri(file: Delivered) -> str:
    return f"{'stems' if file.kind in ('stem', 'dj_stems') else 'targets'}/{file.relative}"


def made(library: Library, mpd: MpdClient) -> list[dict[str, tuple[str, ...]]]:
    """Return every song that is not an original."""
    originals = {uri(file) for file in library.originals}
    return [song for song in mpd.songs() if song["file"][0] not in originals]


def test_mpd_has_every_delivered_file(library: Library, mpd: MpdClient) -> None:
    expected = {uri(file) for file in (*library.files, *library.originals, *library.dj_files)}
    assert {song["file"][0] for song in mpd.songs()} == expected


def test_what_is_made_from_an_album_is_albums_of_its_own(library: Library, mpd: MpdClient) -> None:
    """ORG-001: grouped by tags alone; the counts are of the whole library, so nothing got into another's album."""
    artist, listed = "", set()
    for name, value in mpd.ask("list", "album", "group", "albumartist"):
        artist = value if name == "AlbumArtist" else artist
        if name == "Album":
            listed.add((artist, value))
    assert set(MADE_ALBUMS) <= listed
    counts = {album: len(mpd.songs("albumartist", album[0], "album", album[1])) for album in MADE_ALBUMS}
    assert counts == MADE_ALBUMS
    assert sum(MADE_ALBUMS.values()) == len(made(library, mpd))


def test_no_album_is_spread_over_two_folders_and_no_folder_holds_two(library: Library, mpd: MpdClient) -> None:
    """ORG-001: Jellyfin groups by folder, Navidrome by tags; both must see the same albums."""
    folders, names = defaultdict(set), defaultdict(set)
    for song in made(library, mpd):
        folder, album = song["file"][0].rpartition("/")[0], (song["AlbumArtist"], song["Album"])
        folders[album].add(folder)
        names[folder].add(album)
    assert len(folders) == len(MADE_ALBUMS)
    assert all(len(each) == 1 for each in (*folders.values(), *names.values()))


def test_the_originals_albums_hold_the_originals_alone(library: Library, mpd: MpdClient) -> None:
    """ORG-001"""
    originals = {uri(file) for file in library.originals}
    found = [
        song["file"][0]
        for album in (ALBUM, unicodedata.normalize("NFD", ALBUM), COMPILATION)
        for song in mpd.songs("album", album)
    ]
    assert set(found) == originals
    assert len(found) == len(SONGS)


def test_the_originals_identities_find_the_originals_alone(library: Library, mpd: MpdClient) -> None:
    """ORG-001: with a shared id a server takes the instrumental for the same track."""
    originals = {uri(file): file.song for file in library.originals}
    assert {song["file"][0] for song in mpd.songs("musicbrainz_albumid", RELEASE)} == set(originals)
    for path, song in originals.items():
        for name, value in (("musicbrainz_trackid", song.recording), ("musicbrainz_releasetrackid", song.track)):
            assert [found["file"][0] for found in mpd.songs(name, value)] == [path]


def test_artists_keep_their_identity_so_that_all_their_albums_are_theirs(library: Library, mpd: MpdClient) -> None:
    found = mpd.songs("musicbrainz_artistid", KEPT_IDS["MUSICBRAINZ_ARTISTID"])
    assert len(found) == len(mpd.songs())


def test_two_spellings_of_one_name_become_one_artist(library: Library, mpd: MpdClient) -> None:
    """ORG-001: uploads in NFC and NFD make two artists of the untouched originals, one of what is made from them."""
    assert DECOMPOSED != ALBUM_ARTIST
    assert {value for _, value in mpd.ask("list", "albumartist")} >= {ALBUM_ARTIST, DECOMPOSED}
    songs = made(library, mpd)
    assert {song["AlbumArtist"] for song in songs} == {(ALBUM_ARTIST,), (VARIOUS_ARTISTS,)}
    texts = [value for song in songs for values in song.values() for value in values]
    assert all(unicodedata.is_normalized("NFC", text) for text in texts)


def test_mpd_reads_the_contracts_tags(library: Library, mpd: MpdClient) -> None:
    """META-001"""
    for file in library.files:
        (song,) = mpd.songs("file", uri(file))
        expected = {theirs: file.expected[ours] for theirs, ours in FIELDS.items() if ours in file.expected}
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
