"""MP4 atoms to and from a `TagSheet`: names as iTunes and Picard have them, everything else as free-form atoms."""

from mutagen.mp4 import AtomDataType, MP4Cover, MP4FreeForm, MP4Tags

from ironclad_assets.audio.tag_formats.sheet import DESCRIPTIONS, FRONT_COVER, Picture, TagSheet

_ATOMS = {
    "\xa9nam": "TITLE", "\xa9ART": "ARTIST", "\xa9alb": "ALBUM", "aART": "ALBUMARTIST", "\xa9day": "DATE",
    "\xa9gen": "GENRE", "\xa9wrt": "COMPOSER", "\xa9cmt": "COMMENT", "\xa9lyr": "LYRICS", "\xa9grp": "GROUPING",
    "\xa9too": "ENCODER", "cprt": "COPYRIGHT", "desc": "DESCRIPTION", "soaa": "ALBUMARTISTSORT",
    "soal": "ALBUMSORT", "soar": "ARTISTSORT", "soco": "COMPOSERSORT", "sonm": "TITLESORT", "tmpo": "BPM",
}  # fmt: skip
_ATOMS_BY_NAME = {name: atom for atom, name in _ATOMS.items() if atom != "tmpo"}
_FREEFORM = "----:"
_OWNER = f"{_FREEFORM}com.apple.iTunes:"
_GAPLESS = ("ITUNSMPB", "ITUNNORM")
"""What iTunes writes for its own players: numbers of the file, not tags of the song."""

_NUMBERED = {"trkn": ("TRACKNUMBER", "TRACKTOTAL"), "disk": ("DISCNUMBER", "DISCTOTAL")}
_MAX_NUMBER = 0xFFFF


def read_mp4(tags: MP4Tags | None) -> TagSheet:
    """Return the sheet of loaded `MP4Tags`."""
    sheet = TagSheet()
    for atom, values in (tags or {}).items():
        if atom in _NUMBERED:
            for name, value in zip(_NUMBERED[atom], values[0], strict=True):
                sheet.add(name, [value or ""])
        elif atom == "cpil":
            sheet.add("COMPILATION", ["1"] if values else [])
        elif atom == "covr":
            sheet.pictures.extend(Picture(data=bytes(value), kind=FRONT_COVER) for value in values)
        elif atom.startswith(_FREEFORM):
            name = atom.split(":", 2)[2]
            if name.upper() not in _GAPLESS:
                sheet.add(name, (bytes(value).decode("utf-8", "replace") for value in values))
        elif atom in _ATOMS:
            sheet.add(_ATOMS[atom], values)
    return sheet


def fill_mp4(tags: MP4Tags, *, sheet: TagSheet, cover: bytes | None) -> None:
    """Replace everything in `tags` by the sheet and the JPEG `cover`."""
    tags.clear()
    fields = dict(sheet.fields)
    for atom, (name, total) in _NUMBERED.items():
        pair = _numbers(fields.get(name, []), fields.get(total, []))
        if pair is not None:
            tags[atom] = [pair]
            fields.pop(name)
            fields.pop(total, None)
    if fields.get("COMPILATION") == ["1"]:
        tags["cpil"] = True
        del fields["COMPILATION"]
    for name, values in fields.items():
        if name in _ATOMS_BY_NAME:
            tags[_ATOMS_BY_NAME[name]] = values
        else:
            tags[_OWNER + DESCRIPTIONS.get(name, name)] = [
                MP4FreeForm(value.encode(), dataformat=AtomDataType.UTF8) for value in values
            ]
    if cover is not None:
        tags["covr"] = [MP4Cover(cover, imageformat=MP4Cover.FORMAT_JPEG)]


def _numbers(number: list[str], total: list[str]) -> tuple[int, int] | None:
    """Return what the atom of a number and its total can hold; None leaves both to free-form atoms."""
    if len(number) != 1 or len(total) > 1:
        return None
    pair = tuple(map(_exact, (*number, *total)))
    if not all(0 < value <= _MAX_NUMBER for value in pair):
        return None
    return pair[0], pair[1] if total else 0


def _exact(text: str) -> int:
    """Return the number written as plain as it will come back, or 0."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 and str(int(text)) == text else 0
