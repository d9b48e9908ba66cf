"""MP4 atoms to and from a `TagSheet`: names as iTunes and Picard have them, everything else as free-form atoms."""

from typing import Any

from mutagen.mp4 import AtomDataType, MP4Cover, MP4FreeForm, MP4Tags

from ironclad_assets.audio.tag_formats.mapping import FREE_MP4, MP4, free_name
from ironclad_assets.audio.tag_formats.sheet import FRONT_COVER, Picture, TagSheet

_OWNER = f"{FREE_MP4}com.apple.iTunes:"
_GAPLESS = ("ITUNSMPB", "ITUNNORM")
"""What iTunes writes for its own players: numbers of the file, not tags of the song."""

_SPECIAL = ("trkn", "disk", "cpil", "covr")
_ATOMS = {atom: name for name, atom in MP4.items() if not atom.startswith(FREE_MP4) and atom not in _SPECIAL}
_NUMBERS = ("tmpo",)
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
        elif atom.startswith(FREE_MP4):
            name = atom.split(":", 2)[2]
            if name.upper() not in _GAPLESS:
                sheet.add(name, filter(None, map(_free_text, values)))
        else:
            sheet.add(_ATOMS.get(atom, atom), values if isinstance(values, list) else [int(values)])
    for atom in sorted(tags._failed_atoms if tags is not None else ()):  # mutagen tells of them nowhere else
        if atom in _ATOMS or atom in _NUMBERED:
            sheet.warn(f"the atom {atom} cannot be read")
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
        atom = MP4.get(name, "")
        if atom in _NUMBERS and len(values) == 1 and _exact(values[0]):
            tags[atom] = [int(values[0])]
        elif atom in _ATOMS and atom not in _NUMBERS:
            tags[atom] = values
        else:
            tags[_OWNER + free_name(name, table=MP4, prefix=FREE_MP4)] = [
                MP4FreeForm(value.encode(), dataformat=AtomDataType.UTF8) for value in values
            ]
    if cover is not None:
        tags["covr"] = [MP4Cover(cover, imageformat=MP4Cover.FORMAT_JPEG)]


def _free_text(value: Any) -> str:  # noqa: ANN401 - mutagen's bytes that know their type
    """Return the text of a free-form value; nothing where it holds none."""
    content, kind = bytes(value), getattr(value, "dataformat", AtomDataType.UTF8)
    if kind == AtomDataType.INTEGER:
        return str(int.from_bytes(content, "big", signed=True))
    try:
        return content.decode("utf-16-be" if kind == AtomDataType.UTF16 else "utf-8")
    except UnicodeDecodeError:
        return ""


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
