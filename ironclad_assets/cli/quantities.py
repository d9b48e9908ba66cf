"""Numbers with units, as people write and read them: 5G, 90m, 2.0 GiB."""

import re

from ironclad_assets.errors import ErrorCode, Refusal

NO_LIMIT = "none"
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_WORDS = ("B", "KiB", "MiB", "GiB", "TiB")


def read_quantity(text: str, *, unit: str) -> int | float | tuple[str, ...] | None:
    """Return what `text` says: a number in `unit`, a list of types, or None for no limit.

    Bytes take K, M, G and T (powers of 1024); seconds take s, m and h.

    Raises:
        Refusal: `BAD_OPTION`, naming what can be written.
    """
    if text.strip().lower() == NO_LIMIT:
        return None
    if unit == "types":
        return tuple(part.strip().lower() for part in text.split(",") if part.strip())
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,6})?)\s*([a-z]*)", text.strip().lower())
    if found is None:
        raise _refusal(text, unit=unit)
    number, suffix = float(found[1]), found[2]
    if unit == "bytes" and suffix.removesuffix("ib").removesuffix("b") in _POWERS:
        return int(number * 1024 ** _POWERS[suffix.removesuffix("ib").removesuffix("b")])
    if unit == "seconds" and suffix in _SECONDS:
        return number * _SECONDS[suffix]
    if suffix not in ("", unit, unit[:1]):
        raise _refusal(text, unit=unit)
    if unit in ("days", "minutes"):
        return number
    if not number.is_integer():
        raise _refusal(text, unit=unit)
    return int(number)


def quantity_text(value: float | tuple[str, ...] | None, *, unit: str) -> str:
    """Return `value` for people."""
    if value is None:
        return NO_LIMIT if unit != "types" else "all"
    if isinstance(value, tuple):
        return ", ".join(value)
    if unit == "bytes":
        return bytes_text(value)
    return f"{value:,g} {unit}" if value < 1e6 else f"{value:,.0f} {unit}"


def bytes_text(size_bytes: float) -> str:
    """Return a number of bytes for people."""
    power = 0
    while size_bytes >= 1024 and power < len(_WORDS) - 1:
        size_bytes, power = size_bytes / 1024, power + 1
    return f"{size_bytes:.0f} B" if power == 0 else f"{size_bytes:.1f} {_WORDS[power]}"


def bar_text(used: float, *, most: float, width: int = 20) -> str:
    """Return a bar of `width` characters that is as full as `used` is of `most`, and the share."""
    share = 1.0 if most <= 0 else used / most
    full = min(width, round(width * share))
    return f"[{'#' * full}{'.' * (width - full)}] {share:4.0%}"


def _refusal(text: str, *, unit: str) -> Refusal:
    examples = {"bytes": "500M or 20G", "seconds": "90s, 30m or 4h", "days": "30"}
    wanted = examples.get(unit, "a whole number" if unit != "minutes" else "a number")
    return Refusal(f"{text!r} is no number of {unit}; write {wanted}, or {NO_LIMIT}", code=ErrorCode.BAD_OPTION)
