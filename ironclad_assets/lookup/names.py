"""The sources of metadata: the keys they have in files and metrics, and their names for people."""

MUSICBRAINZ = "musicbrainz"
COVER_ART_ARCHIVE = "cover_art_archive"
ACOUSTID = "acoustid"

SOURCES = {MUSICBRAINZ: "MusicBrainz", COVER_ART_ARCHIVE: "the Cover Art Archive", ACOUSTID: "AcoustID"}
