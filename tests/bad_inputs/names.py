"""Rows about what a file is called: 38 to 43. Whatever the name, it is text to be shown and never a path."""

from collections.abc import Callable
from pathlib import Path

from tests import synth
from tests.bad_inputs.table import Case, Row

_API = "a name that no file system holds comes only through the HTTP API"
_made = iter(range(1_000_000))


def _song(path: Path) -> Path:
    """Write a song of its own: the same bytes would be a duplicate."""
    plain = synth.write_wav(path.parent / "plain.wav", synth.noise(0.6, seed=10_000 + next(_made)))
    return plain.rename(path)


def _cases(*names: str | bytes, make: Callable[[Path], object] = _song) -> tuple[Case, ...]:
    return tuple(Case(name, make) for name in names)


ROWS = (
    Row(38, "names that are paths: `..%2f..%2fetc`, `..\\x`, UTF-16", "accepted under an id of ours",
        None, _cases("%2e%2e%2f..%2fetc%2fpasswd.wav", "a\\..\\..\\x.wav", "C:\\x\\y.wav",
                     b"\xff\xfeu\x01t\x01f\x01.wav"),
        later=f"`../../x` and absolute names: {_API}", proof=("test_a_name_is_never_a_path",)),
    Row(39, "NUL in a name", "removed from what is shown", None, proof=("test_a_name_is_never_a_path",),
        later=f"400: {_API}"),
    Row(40, "a name of 255 bytes", "accepted; what is shown is cut at a character to 200 bytes", None,
        _cases("n" * 251 + ".wav", "ö" * 125 + ".wav"), proof=("test_a_name_is_never_a_path",),
        later=f"256 bytes and more: {_API}"),
    Row(41, "right-to-left override, bidi, homoglyphs, zero width", "accepted; what is invisible is not shown", None,
        _cases("photo\u202egpj.wav", "\u2066isolated\u2069.wav", "p\u0430ypal.wav", "zero\u200bwidth.wav")),
    Row(42, "one name in NFC and in NFD", "both accepted, each a song of its own", None,
        _cases("caf\u00e9.wav", "cafe\u0301.wav"), proof=("test_names_that_look_the_same_do_not_collide",)),
    Row(43, "`CON`, `NUL`, `-rf`, a leading blank, line breaks, bytes that are no UTF-8", "accepted",
        None, _cases("CON.wav", "NUL", "-rf.wav", "--help.wav", " .wav", "new\nline.wav", "tab\tand\rreturn.wav",
                     b"not \xff\xfe utf-8.wav", "quote's \"and\" `ticks` $(id).wav", "\U0001f3b5 emoji.wav"),
        proof=("test_hostile_tags_and_names_stay_inside_the_library",)),
)  # fmt: skip
