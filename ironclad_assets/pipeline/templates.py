"""Templates of library paths: what may be written in one, and what is refused before any song is filed by it.

A template is ``{album_artist}/{album}/<{track} - >{title}.{ext}``: names in braces stand for tags, ``/`` parts
folders, and what stands in ``< >`` is left out where a name in it stands for nothing. Neither sign can be in a file
name, so nothing needs escaping. How a path is made of it, whatever the tags say, is `pipeline/naming.py`'s.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.settings import DEFAULT_LIBRARY_TEMPLATE, Settings

PLACEHOLDERS = {
    "album_artist": "the album's artist, `Various Artists` on a compilation",
    "album": "the album with its label: `Far (Instrumental)`",
    "year": "year of the date, or nothing",
    "title": "the title with its label: `Run (Instrumental)`",
    "artist": "the song's artist",
    "compilation_artist": "the song's artist on a compilation, else nothing",
    "track": "track number of two digits, or nothing",
    "disc": "disc number where the album has several, else nothing",
    "label": "what the file is: `Instrumental`, `Vocals`; nothing for an original",
    "ext": "file extension without its dot",
}
"""Every placeholder and what it stands for."""

ALBUM_PLACEHOLDERS = ("album_artist", "album", "year")
"""Those that say the same of every song of an album, so that folders may be named after them."""

MAX_TEMPLATE_CHARACTERS = 500
MAX_LITERAL_BYTES = 60
MAX_FOLDERS = 6

_TOKEN = re.compile(r"\{([^{}<>/]*)\}|([{}<>/])|([^{}<>/]+)")
_FORBIDDEN = re.compile(r'[:"\\|?*\x00-\x1f\x7f-\x9f]')


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a folder's or file's name: words as they are, a placeholder, or pieces left out together."""

    literal: str = ""
    placeholder: str = ""
    optional: tuple["Piece", ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """A checked template: the pieces of each folder's name, and of the file's."""

    text: str
    folders: tuple[tuple[Piece, ...], ...]
    file: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The template of each library root."""

    output: Template
    stems: Template

    def template(self, root: Literal["output", "output-stems"]) -> Template:
        """Return the template of the root."""
        return self.output if root == "output" else self.stems


def layout_of(settings: Settings) -> Layout:
    """Return the templates that the settings name.

    Raises:
        Refusal: `BAD_OPTION`, naming the setting, its value and what there is.
    """
    return read_layout(settings.library_template, stems=settings.stems_template)


def read_layout(output: str, *, stems: str | None = None) -> Layout:
    """Return the layout of two templates; stems are named like everything else where they have none of their own.

    Raises:
        Refusal: `BAD_OPTION`.
    """
    return Layout(
        output=parse_template(output, name="IRONCLAD_LIBRARY_TEMPLATE"),
        stems=parse_template(output if stems is None else stems, name="IRONCLAD_STEMS_TEMPLATE"),
    )


@lru_cache(maxsize=32)
def parse_template(text: str, *, name: str = "template") -> Template:
    """Return the template that `text` is, as checked as its later use needs.

    Args:
        text: as an administrator wrote it.
        name: of the setting it comes from, for the refusal.

    Raises:
        Refusal: `BAD_OPTION`, naming the value, what is wrong with it, and the placeholders there are.
    """
    try:
        if len(text) > MAX_TEMPLATE_CHARACTERS:
            raise ValueError(f"it has {len(text)} characters; {MAX_TEMPLATE_CHARACTERS} are allowed")
        *folders, file = [_parse_component(component) for component in _split(text)]
        _check_folders(folders)
        _check_file(file)
    except ValueError as error:
        known = ", ".join(f"{{{placeholder}}}" for placeholder in PLACEHOLDERS)
        shown = text if len(text) <= MAX_TEMPLATE_CHARACTERS else f"{text[:MAX_TEMPLATE_CHARACTERS]}..."
        raise Refusal(f"{name} {shown!r}: {error}; placeholders are {known}", code=ErrorCode.BAD_OPTION) from error
    return Template(text=text, folders=tuple(folders), file=file)


def _split(text: str) -> list[list[re.Match[str]]]:
    """Return the tokens of each component; a ``/`` inside ``< >`` or two in a row are no way to write one."""
    components: list[list[re.Match[str]]] = [[]]
    depth = 0
    for token in _TOKEN.finditer(text):
        sign = token[2]
        depth += {"<": 1, ">": -1}.get(sign, 0)
        if depth < 0 or sign in ("{", "}"):
            raise ValueError(f"{sign!r} at character {token.start() + 1} has no partner")
        if sign != "/":
            components[-1].append(token)
        elif depth:
            raise ValueError("a / between < and > would make a folder come and go")
        else:
            components.append([])
    if depth:
        raise ValueError("'<' has no partner")
    if not all(components):
        raise ValueError("it begins or ends with /, or has two in a row; paths are below the library")
    return components


def _parse_component(tokens: list[re.Match[str]]) -> tuple[Piece, ...]:
    stack: list[list[Piece]] = [[]]
    for token in tokens:
        placeholder, sign, literal = token.groups()
        if sign == "<":
            stack.append([])
        elif sign == ">":
            inner = stack.pop()
            if not any(piece.placeholder or piece.optional for piece in inner):
                raise ValueError("there is no placeholder between < and >")
            stack[-1].append(Piece(optional=tuple(inner)))
        elif literal is not None:
            stack[-1].append(Piece(literal=_checked_literal(literal)))
        elif placeholder in PLACEHOLDERS:
            stack[-1].append(Piece(placeholder=placeholder))
        else:
            raise ValueError(f"{{{placeholder}}} is no placeholder")
    pieces = tuple(stack[0])
    literals = "".join(piece.literal for piece in _walk(pieces))
    if len(literals.encode()) > MAX_LITERAL_BYTES:
        raise ValueError(f"{literals!r} are more than {MAX_LITERAL_BYTES} bytes of words of your own")
    if literals.strip(". ") == "" and not any(piece.placeholder for piece in _walk(pieces)):
        raise ValueError(f"{literals!r} is no name for a folder")
    if literals.startswith(".") and pieces[0].literal:
        raise ValueError("a name that begins with a dot is hidden from media servers")
    return pieces


def _checked_literal(text: str) -> str:
    bad = _FORBIDDEN.search(text)
    if bad:
        raise ValueError(f"{bad[0]!r} cannot be in a file name everywhere")
    return text


def _check_folders(folders: list[tuple[Piece, ...]]) -> None:
    """Refuse folders that would mix albums, spread one over several folders, or leave songs in an artist's folder."""
    if not 2 <= len(folders) <= MAX_FOLDERS:
        raise ValueError(f"a song needs a folder of its artist and one of its album below it, {MAX_FOLDERS} at most")
    for pieces in folders:
        for piece in _walk(pieces):
            if piece.placeholder and piece.placeholder not in ALBUM_PLACEHOLDERS:
                raise ValueError(f"{{{piece.placeholder}}} in a folder's name would spread one album over many")
    if "album" not in _required(folders[-1]):
        raise ValueError("the last folder must be the album's: {album}")
    if not any("album_artist" in _required(pieces) for pieces in folders[:-1]):
        raise ValueError("a folder above the album's must be the artist's: {album_artist}")


def _check_file(pieces: tuple[Piece, ...]) -> None:
    if "title" not in _required(pieces):
        raise ValueError("the file's name must have {title}")
    if pieces[-1].placeholder != "ext" or len(pieces) < 2 or not pieces[-2].literal.endswith("."):
        raise ValueError("the file's name must end with .{ext}")
    if [piece.placeholder for piece in _walk(pieces)].count("ext") > 1:
        raise ValueError("{ext} is there twice")


def _required(pieces: tuple[Piece, ...]) -> set[str]:
    """Return the placeholders that are not optional."""
    return {piece.placeholder for piece in pieces}


def _walk(pieces: tuple[Piece, ...]) -> Iterator[Piece]:
    for piece in pieces:
        if piece.optional:
            yield from _walk(piece.optional)
        else:
            yield piece


DEFAULT = read_layout(DEFAULT_LIBRARY_TEMPLATE)
"""The layout of the settings as they come."""
