"""Whether a file is clean: what clamd says of it as it is, and of the same bytes behind one more.

ClamAV does not look into files that it takes for MP3 or Ogg; behind one byte it takes them for nothing and looks.
Signatures that are anchored to an offset match only the plain bytes, so each file is scanned both ways. Where a
result is in doubt the file counts as not scanned, never as clean.
"""

import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path

from ironclad_assets.antivirus.clamd import CHUNK_BYTES, Clamd, ScannerAway
from ironclad_assets.errors import ErrorCode, PermanentFailure, Refusal
from ironclad_assets.storage.hashing import carry_on

_SHIFT = b"\x01"
_CLEAN = "stream: OK"
_FOUND = re.compile(r"stream: ([ -~]{1,200}) FOUND")
_GAVE_UP = "Heuristics.Limits.Exceeded"
_VERSION = re.compile(r"ClamAV [ -~]{1,200}")
_QUICK_S = 30.0
"""How long questions may take that need no file."""

_DEEPEST = 101
"""Archives within each other; clamd looks into 100 at most, whatever its settings."""


class Outcome(StrEnum):
    """What came of a scan."""

    CLEAN = "clean"
    FOUND = "found"
    NOT_SCANNED = "not scanned"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The scanner's word on one file.

    Attributes:
        outcome: clean, found, or not scanned.
        detail: name of what was found, or why nothing was scanned.
        scanner: version of the scanner and of its signatures, as it names them; empty where it said nothing.
        at: UTC in ISO 8601.
    """

    outcome: Outcome
    detail: str
    scanner: str
    at: str


def scan_file(path: Path, *, clamd: Clamd, sha256: str, heed: Callable[[], None] = carry_on) -> Verdict:
    """Return the scanner's word on the file at `path`, which must have the checksum `sha256`.

    Args:
        path: the file; it is read twice.
        clamd: who is asked.
        sha256: of the file, in hexadecimal, so that what was scanned is what will be used.
        heed: called several times a second; what it raises ends the scan.

    Raises:
        PermanentFailure: `ARTIFACT_DAMAGED`, the file has other bytes.
    """
    scanner, at = "", datetime.now(UTC).isoformat(timespec="seconds")
    digest = hashlib.sha256()
    try:
        quick = replace(clamd, timeout_s=min(clamd.timeout_s, _QUICK_S))
        scanner = read_version(quick)
        require_honest(quick)
        name = _look(clamd, _blocks(path, prefix=b"", note=digest.update), heed=heed)
        if name is None:
            if digest.hexdigest() != sha256:
                raise PermanentFailure(
                    f"{path.name} has other bytes than were uploaded", code=ErrorCode.ARTIFACT_DAMAGED
                )
            name = _look(clamd, _blocks(path, prefix=_SHIFT), heed=heed)
    except ScannerAway as error:
        return Verdict(Outcome.NOT_SCANNED, error.detail, scanner, at)
    return Verdict(Outcome.CLEAN if name is None else Outcome.FOUND, name or "", scanner, at)


def require_clean(verdict: Verdict) -> None:
    """Raise unless the file was found clean.

    Raises:
        Refusal: `MALWARE`, naming what was found.
        ScannerAway: it was not scanned.
    """
    if verdict.outcome is Outcome.FOUND:
        raise Refusal(f"{verdict.scanner} found {verdict.detail}", code=ErrorCode.MALWARE)
    if verdict.outcome is not Outcome.CLEAN:
        raise ScannerAway(verdict.detail)


def read_version(clamd: Clamd) -> str:
    """Return the version of the scanner and, behind slashes, number and date of its signatures.

    Raises:
        ScannerAway: it does not say.
    """
    reply = clamd.ask("VERSION")
    if _VERSION.fullmatch(reply) is None:
        raise ScannerAway(f"clamd at {clamd.address} said {reply[:100]!r} when asked for its version")
    return reply


def require_honest(clamd: Clamd) -> None:
    """Raise where clamd would call a file clean that it gave up on, which is what it does by default.

    An archive that nobody looks into to its end tells: with ``AlertExceedsMax yes`` it is reported.

    Raises:
        ScannerAway: it would, or does not answer.
    """
    match = _FOUND.fullmatch(clamd.stream([_deep_archive()]))
    if match is None or not match[1].startswith(_GAVE_UP):
        raise ScannerAway(
            f"clamd at {clamd.address} calls files clean that it gave up on; set AlertExceedsMax yes in its clamd.conf"
        )


def _look(clamd: Clamd, blocks: Iterator[bytes], *, heed: Callable[[], None]) -> str | None:
    """Return what was found in a stream, or None where it is clean.

    Raises:
        ScannerAway: everything else.
    """
    reply = clamd.stream(blocks, heed=heed)
    if reply == _CLEAN:
        return None
    match = _FOUND.fullmatch(reply)
    if match is None:
        raise ScannerAway(f"clamd at {clamd.address} said {reply[:200]!r}{_remedy(reply)}")
    if match[1].startswith(_GAVE_UP):
        raise ScannerAway(f"clamd at {clamd.address} gave up on the file: {match[1]}")
    return match[1]


def _remedy(reply: str) -> str:
    return "; raise StreamMaxLength in clamd.conf" if "size limit exceeded" in reply else ""


def _blocks(path: Path, *, prefix: bytes, note: Callable[[bytes], None] = lambda block: None) -> Iterator[bytes]:
    if prefix:
        yield prefix
    with path.open("rb") as stream:
        while block := stream.read(CHUNK_BYTES):
            note(block)
            yield block


@cache
def _deep_archive() -> bytes:
    content = b""
    for _ in range(_DEEPEST):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo("a"), content)
        content = buffer.getvalue()
    return content
