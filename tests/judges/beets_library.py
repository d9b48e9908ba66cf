"""A beets library of the test's own: what a tagger that groups by folder makes of the delivered files."""

from pathlib import Path

from tests.judges.album import Fields
from tests.judges.programs import run, text

CONFIGURATION = """
directory: {folder}
library: {folder}/library.db
import:
    copy: no
    write: no
    autotag: no
    quiet: yes
plugins: []
"""
FIELDS = {
    "title": "TITLE", "artist": "ARTIST", "album": "ALBUM", "albumartist": "ALBUMARTIST", "track": "TRACKNUMBER",
    "tracktotal": "TRACKTOTAL", "disc": "DISCNUMBER", "disctotal": "DISCTOTAL", "genre": "GENRE",
    "composer": "COMPOSER", "artist_sort": "ARTISTSORT", "albumartist_sort": "ALBUMARTISTSORT",
    "mb_artistid": "MUSICBRAINZ_ARTISTID", "mb_albumartistid": "MUSICBRAINZ_ALBUMARTISTID",
    "mb_workid": "MUSICBRAINZ_WORKID",
}  # fmt: skip
"""beets' names of what it reads, and the contract's; the date it has in three numbers."""

_SEPARATOR = "\x1f"


class BeetsLibrary:
    """What was imported from some folders, left where it is and as it is."""

    def __init__(self, *roots: Path, folder: Path) -> None:
        self._folder = folder
        (folder / "config.yaml").write_text(CONFIGURATION.format(folder=folder), encoding="utf-8")
        run("beet", "import", "-A", "-q", "-C", *roots, home=folder)

    def listed(self, *names: str, albums: bool = False) -> list[dict[str, str]]:
        """Return these fields of every item, or of every album."""
        form = _SEPARATOR.join(f"${name}" for name in names)
        lines = text("beet", "ls", *(["-a"] if albums else []), "-f", form, home=self._folder).splitlines()
        return [dict(zip(names, line.split(_SEPARATOR), strict=True)) for line in lines]

    def fields(self) -> dict[Path, Fields]:
        """Return every file's fields under the contract's names."""
        found = {}
        for item in self.listed("path", "year", "month", "day", *FIELDS):
            fields = {ours: (_plain(ours, item[theirs]),) for theirs, ours in FIELDS.items() if item[theirs]}
            fields["DATE"] = (f"{item['year']}-{item['month']}-{item['day']}",)
            found[Path(item["path"])] = fields
        return found


def _plain(name: str, value: str) -> str:
    """Return a number as it is written in tags; beets shows ``01``."""
    return str(int(value)) if name.startswith(("TRACK", "DISC")) else value
