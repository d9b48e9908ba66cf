"""What `verify` found wrong, each with a stable code, and the list of the last time for those who mend it.

Looking is in `verify`; mending is a retry, `prune --kind corrupt`, or what the remedy says.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic

_LAST = Path("run") / "findings.jsonl"
_RETRY = "run `pipelinectl prune --kind corrupt`, then `pipelinectl retry SONG`"


class FindingCode(StrEnum):
    """Published codes of findings."""

    MANIFEST_DAMAGED = "manifest_damaged"
    MANIFEST_NEWER = "manifest_newer"
    FILE_MISSING = "file_missing"
    FILE_DAMAGED = "file_damaged"
    FILE_UNEXPECTED = "file_unexpected"
    NOTE_DAMAGED = "note_damaged"
    JOB_UNKNOWN = "job_unknown"
    ENTRY_MISSING = "entry_missing"
    ORIGINAL_MISSING = "original_missing"
    ORIGINAL_DAMAGED = "original_damaged"
    ORIGINAL_UNEXPECTED = "original_unexpected"
    ORPHANED = "orphaned"
    LIBRARY_FILE_MISSING = "library_file_missing"
    LIBRARY_FILE_CHANGED = "library_file_changed"
    LIBRARY_FILE_UNEXPECTED = "library_file_unexpected"
    LYRICS_DIFFER = "lyrics_differ"
    QUARANTINE_DAMAGED = "quarantine_damaged"
    COUNT_DIFFERS = "count_differs"


REMEDIES: Mapping[FindingCode, str] = MappingProxyType(
    {
        FindingCode.MANIFEST_DAMAGED: _RETRY,
        FindingCode.MANIFEST_NEWER: "upgrade this installation",
        FindingCode.FILE_MISSING: _RETRY,
        FindingCode.FILE_DAMAGED: _RETRY,
        FindingCode.FILE_UNEXPECTED: "look at it, and move it away",
        FindingCode.NOTE_DAMAGED: "look at it; nothing depends on it",
        FindingCode.JOB_UNKNOWN: "look for it in a backup of the ledger",
        FindingCode.ENTRY_MISSING: "run `pipelinectl retry SONG`",
        FindingCode.ORIGINAL_MISSING: "upload the same file again, or restore it from a backup",
        FindingCode.ORIGINAL_DAMAGED: "upload the same file again, or restore it from a backup",
        FindingCode.ORIGINAL_UNEXPECTED: "look at it, and move it away",
        FindingCode.ORPHANED: "run `pipelinectl prune --kind orphaned`",
        FindingCode.LIBRARY_FILE_MISSING: "run `pipelinectl retry SONG`",
        FindingCode.LIBRARY_FILE_CHANGED: "run `pipelinectl retry SONG`; what others changed in it is lost then",
        FindingCode.LIBRARY_FILE_UNEXPECTED: "look at it, and move it away",
        FindingCode.LYRICS_DIFFER: "run `pipelinectl library organise SONG`",
        FindingCode.QUARANTINE_DAMAGED: "see the song's job with `pipelinectl status SONG`",
        FindingCode.COUNT_DIFFERS: "run `pipelinectl usage --recount`",
    }
)
"""What mends each finding."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. `path` is relative to the store; `song` is empty where it is nobody's."""

    code: str
    path: str
    detail: str
    remedy: str
    song: str = ""


def found(code: FindingCode, path: str, detail: str, *, song: str = "") -> Finding:
    """Return a finding with the remedy of its code."""
    return Finding(code.value, path, detail, REMEDIES[code].replace("SONG", song or "SONG"), song)


def last_findings(settings: Settings) -> Iterator[Finding]:
    """Yield what the last `verify` found, if there was one."""
    try:
        with (settings.home_dir / _LAST).open(encoding="utf-8") as lines:
            for line in lines:
                with suppress(ValueError, TypeError):  # a deletion takes the names of what is gone out of it
                    yield Finding(**json.loads(line))
    except FileNotFoundError:
        return


def keep_findings(settings: Settings, findings: list[Finding]) -> None:
    """Keep findings in place of those of the last time."""
    path = settings.home_dir / _LAST
    atomic.make_folder(path.parent)
    atomic.write_bytes(path, "".join(f"{json.dumps(asdict(one))}\n" for one in findings).encode())
