"""How the virus scanner is, in one sentence: for `pipelinectl health`.

Only asks; whether a job waits for the scanner is the ledger's business.
"""

import re
from datetime import UTC, datetime

from ironclad_assets.antivirus.clamd import Clamd
from ironclad_assets.antivirus.scan import read_version, require_honest
from ironclad_assets.settings import Settings

_LONGEST_WAIT_S = 5.0
_OLD_DAYS = 7.0


def describe_scanner(settings: Settings) -> str:
    """Return which scanner looks at uploads and how old its signatures are.

    Raises:
        ScannerAway: it does not answer, or not so that it can be relied on; songs are held meanwhile.
    """
    if settings.clamd_address is None:
        return "uploads are not scanned for malware; IRONCLAD_CLAMD_ADDRESS is not set"
    clamd = Clamd(settings.clamd_address, min(settings.clamd_timeout_s, _LONGEST_WAIT_S))
    version = read_version(clamd)
    require_honest(clamd)
    return f"{_doubt(version, now=datetime.now(UTC))}{version} at {settings.clamd_address}"


def _doubt(version: str, *, now: datetime) -> str:
    """Return a warning where the signatures are old or none of ClamAV's own are there."""
    match = re.fullmatch(r"[^/]+/(\d+)/(.+)", version)
    if match is None:
        return "warning: it has no signatures but local ones; "
    try:
        made = datetime.strptime(match[2], "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    except ValueError:
        return ""
    age_days = (now - made).total_seconds() / 86_400
    return f"warning: its signatures are {age_days:.0f} days old; " if age_days > _OLD_DAYS else ""
