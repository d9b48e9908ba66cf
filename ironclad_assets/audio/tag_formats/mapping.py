"""The table of tags: what each field of a song is called in every family of containers, for both directions.

Names are those of MusicBrainz Picard (its appendix "Tag Mapping"), which the media servers read. What a value looks
like and how it is written is the families' own matter; names that are not here go into free fields as they are.
"""

from dataclasses import dataclass

FREE_ID3 = "TXXX:"
FREE_MP4 = "----:"
"""In `Mapping.mp4` this stands for ``----:com.apple.iTunes:``."""

UFID_OWNER = "http://musicbrainz.org"


@dataclass(frozen=True, slots=True)
class Mapping:
    """One field. `name` is also its Vorbis comment; an empty name elsewhere means: under `name` in a free field.

    Attributes:
        name: canonical name.
        id3: frame of ID3v2.4, ``TXXX:description``, or ``TIPL:role``.
        mp4: atom, or ``----:name``.
        asf: attribute of ASF (WMA), only read.
        info: chunk of RIFF INFO, only read.
        aliases: other spellings, in upper case, as Vorbis comments and APEv2 items have them.
    """

    name: str
    id3: str = ""
    mp4: str = ""
    asf: str = ""
    info: str = ""
    aliases: tuple[str, ...] = ()


def _musicbrainz(name: str, spoken: str, *, aliases: tuple[str, ...] = ()) -> Mapping:
    spelled = f"MusicBrainz {spoken}"
    return Mapping(
        name,
        f"{FREE_ID3}{spelled}",
        f"{FREE_MP4}{spelled}",
        f"MusicBrainz/{spoken}",
        aliases=(spelled.upper(), *aliases),
    )


MAPPINGS = (
    Mapping("TITLE", "TIT2", "\xa9nam", "Title", "INAM"),
    Mapping("ARTIST", "TPE1", "\xa9ART", "Author", "IART"),
    Mapping("ALBUM", "TALB", "\xa9alb", "WM/AlbumTitle", "IPRD"),
    Mapping("ALBUMARTIST", "TPE2", "aART", "WM/AlbumArtist", aliases=("ALBUM ARTIST", "ALBUM_ARTIST")),
    Mapping("ARTISTS", "TXXX:Artists", "----:ARTISTS", "WM/ARTISTS"),
    Mapping("ALBUMARTISTS", "TXXX:ALBUMARTISTS", "----:ALBUMARTISTS", "WM/ALBUMARTISTS"),
    Mapping("TRACKNUMBER", "TRCK", "trkn", "WM/TrackNumber", "ITRK", aliases=("TRACK",)),
    Mapping("TRACKTOTAL", "TRCK", "trkn", "WM/TrackNumber", aliases=("TOTALTRACKS",)),
    Mapping("DISCNUMBER", "TPOS", "disk", "WM/PartOfSet", aliases=("DISC",)),
    Mapping("DISCTOTAL", "TPOS", "disk", "WM/PartOfSet", aliases=("TOTALDISCS",)),
    Mapping("DATE", "TDRC", "\xa9day", "WM/Year", "ICRD", aliases=("YEAR",)),
    Mapping("ORIGINALDATE", "TDOR", "", "WM/OriginalReleaseTime"),
    Mapping("ORIGINALYEAR", "", "", "WM/OriginalReleaseYear"),
    Mapping("GENRE", "TCON", "\xa9gen", "WM/Genre", "IGNR"),
    Mapping("COMPILATION", "TCMP", "cpil", "WM/IsCompilation"),
    Mapping("COMPOSER", "TCOM", "\xa9wrt", "WM/Composer", "IMUS"),
    Mapping("COMMENT", "COMM", "\xa9cmt", "Description", "ICMT"),
    Mapping("LYRICS", "USLT", "\xa9lyr", "WM/Lyrics", "ILYC", aliases=("UNSYNCEDLYRICS", "UNSYNCED LYRICS")),
    Mapping("TITLESORT", "TSOT", "sonm", "WM/TitleSortOrder"),
    Mapping("ARTISTSORT", "TSOP", "soar", "WM/ArtistSortOrder", aliases=("XSOP",)),
    Mapping("ALBUMSORT", "TSOA", "soal", "WM/AlbumSortOrder", aliases=("XSOA",)),
    Mapping("ALBUMARTISTSORT", "TSO2", "soaa", "WM/AlbumArtistSortOrder"),
    Mapping("COMPOSERSORT", "TSOC", "soco", "WM/ComposerSortOrder"),
    Mapping("SUBTITLE", "TIT3", "", "WM/SubTitle"),
    Mapping("DISCSUBTITLE", "TSST", "", "WM/SetSubTitle"),
    Mapping("GROUPING", "TIT1", "\xa9grp", "WM/ContentGroupDescription", aliases=("GRP1",)),
    Mapping("WORK", "TXXX:WORK", "\xa9wrk", "WM/Work"),
    Mapping("MOVEMENTNAME", "MVNM", "\xa9mvn"),
    Mapping("LYRICIST", "TEXT", "", "WM/Writer", "IWRI"),
    Mapping("CONDUCTOR", "TPE3", "", "WM/Conductor"),
    Mapping("REMIXER", "TPE4", "", "WM/ModifiedBy", aliases=("MIXARTIST",)),
    Mapping("PERFORMER", "TMCL", "", "", "ISTR"),
    Mapping("PRODUCER", "TIPL:producer", "", "WM/Producer", "IPRO"),
    Mapping("ENGINEER", "TIPL:engineer", "", "WM/Engineer", "IENG"),
    Mapping("ARRANGER", "TIPL:arranger", "", "WM/Arranger"),
    Mapping("MIXER", "TIPL:mix", "", "WM/Mixer"),
    Mapping("DJMIXER", "TIPL:DJ-mix", "", "WM/DJMixer"),
    Mapping("DIRECTOR", "TXXX:DIRECTOR", "\xa9dir", "WM/Director"),
    Mapping("BPM", "TBPM", "tmpo", "WM/BeatsPerMinute", aliases=("TEMPO",)),
    Mapping("KEY", "TKEY", "----:initialkey", "WM/InitialKey", aliases=("INITIALKEY", "INITIAL KEY")),
    Mapping("MOOD", "TMOO", "", "WM/Mood"),
    Mapping("LANGUAGE", "TLAN", "", "WM/Language", "ILNG"),
    Mapping("SCRIPT", "TXXX:SCRIPT", "", "WM/Script"),
    Mapping("LABEL", "TPUB", "", "WM/Publisher", aliases=("PUBLISHER",)),
    Mapping("CATALOGNUMBER", "", "", "WM/CatalogNo", aliases=("CATALOG",)),
    Mapping("BARCODE", "", "", "WM/Barcode"),
    Mapping("ISRC", "TSRC", "", "WM/ISRC"),
    Mapping("ASIN"),
    Mapping("MEDIA", "TMED", "", "WM/Media", "IMED"),
    Mapping("COPYRIGHT", "TCOP", "cprt", "Copyright", "ICOP"),
    Mapping("LICENSE", "WCOP"),
    Mapping("WEBSITE", "WOAR", "", "WM/AuthorURL", aliases=("WEBLINK",)),
    Mapping("DESCRIPTION", "", "desc"),
    Mapping("ENCODEDBY", "TENC", "", "WM/EncodedBy", "ITCH", aliases=("ENCODED-BY", "ENCODED BY")),
    Mapping("ENCODER", "", "\xa9too", "", "ISFT"),
    Mapping("ENCODERSETTINGS", "TSSE", "", "WM/EncodingSettings"),
    Mapping("LENGTH", "TLEN"),
    Mapping("ORIGINALALBUM", "TOAL", "", "WM/OriginalAlbumTitle"),
    Mapping("ORIGINALARTIST", "TOPE", "", "WM/OriginalArtist", aliases=("ORIGINAL ARTIST",)),
    Mapping("ORIGINALFILENAME", "TOFN", "", "WM/OriginalFilename"),
    Mapping("ORIGINALLYRICIST", "TOLY", "", "WM/OriginalLyricist"),
    Mapping("RELEASETYPE", "TXXX:MusicBrainz Album Type", "----:MusicBrainz Album Type", "MusicBrainz/Album Type",
            aliases=("MUSICBRAINZ ALBUM TYPE", "MUSICBRAINZ_ALBUMTYPE")),
    Mapping("RELEASESTATUS", "TXXX:MusicBrainz Album Status", "----:MusicBrainz Album Status",
            "MusicBrainz/Album Status", aliases=("MUSICBRAINZ ALBUM STATUS", "MUSICBRAINZ_ALBUMSTATUS")),
    Mapping("RELEASECOUNTRY", "TXXX:MusicBrainz Album Release Country", "----:MusicBrainz Album Release Country",
            "MusicBrainz/Album Release Country", aliases=("MUSICBRAINZ ALBUM RELEASE COUNTRY",)),
    Mapping("MUSICBRAINZ_TRACKID", f"UFID:{UFID_OWNER}", "----:MusicBrainz Track Id", "MusicBrainz/Track Id",
            aliases=("MUSICBRAINZ TRACK ID",)),
    _musicbrainz("MUSICBRAINZ_RELEASETRACKID", "Release Track Id"),
    _musicbrainz("MUSICBRAINZ_ALBUMID", "Album Id"),
    _musicbrainz("MUSICBRAINZ_RELEASEGROUPID", "Release Group Id"),
    _musicbrainz("MUSICBRAINZ_ARTISTID", "Artist Id"),
    _musicbrainz("MUSICBRAINZ_ALBUMARTISTID", "Album Artist Id"),
    _musicbrainz("MUSICBRAINZ_WORKID", "Work Id"),
    _musicbrainz("MUSICBRAINZ_DISCID", "Disc Id"),
    _musicbrainz("MUSICBRAINZ_ORIGINALALBUMID", "Original Album Id"),
    _musicbrainz("MUSICBRAINZ_ORIGINALARTISTID", "Original Artist Id"),
    Mapping("ACOUSTID_ID", "TXXX:Acoustid Id", "----:Acoustid Id", "Acoustid/Id", aliases=("ACOUSTID ID",)),
    Mapping("ACOUSTID_FINGERPRINT", "TXXX:Acoustid Fingerprint", "----:Acoustid Fingerprint", "Acoustid/Fingerprint",
            aliases=("ACOUSTID FINGERPRINT",)),
    Mapping("REPLAYGAIN_TRACK_GAIN"),
    Mapping("REPLAYGAIN_TRACK_PEAK"),
    Mapping("REPLAYGAIN_ALBUM_GAIN"),
    Mapping("REPLAYGAIN_ALBUM_PEAK"),
    Mapping("R128_TRACK_GAIN"),
    Mapping("R128_ALBUM_GAIN"),
    Mapping("STEM"),
    Mapping("SEPARATION_ENGINE"),
    Mapping("SEPARATION_MODEL"),
    Mapping("SEPARATION_VERSION"),
    Mapping("SOURCE_SHA256"),
    Mapping("ORIGINAL_RECORDING_ID"),
)  # fmt: skip

KNOWN = frozenset(mapping.name for mapping in MAPPINGS)
ALIASES = {alias: mapping.name for mapping in MAPPINGS for alias in mapping.aliases}
"""Other spellings of names that have one meaning."""

ID3 = {mapping.name: mapping.id3 for mapping in MAPPINGS if mapping.id3}
MP4 = {mapping.name: mapping.mp4 for mapping in MAPPINGS if mapping.mp4}
ASF = {mapping.asf: mapping.name for mapping in MAPPINGS if mapping.asf}
INFO = {mapping.info: mapping.name for mapping in MAPPINGS if mapping.info}


def free_name(name: str, *, table: dict[str, str], prefix: str) -> str:
    """Return what a free field of `name` is called: as `table` spells it behind `prefix`, else as it is."""
    return table.get(name, "").removeprefix(prefix) if table.get(name, "").startswith(prefix) else name
