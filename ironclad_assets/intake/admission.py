"""Whether an upload may come in, asked before anything is copied; and how long the song in it may be.

The deciding question is asked again by the ledger when it registers the song (`ledger.admission`), so this one
only saves work. Lengths are guesses from the size, until the audio is decoded.
"""

from types import MappingProxyType

from ironclad_assets.ledger.admission import Wish
from ironclad_assets.ledger.store import Ledger

BYTES_PER_S = MappingProxyType(
    {
        "wav": 176_400,  # 44.1 kHz, 16 bit, stereo, as are the next two
        "aiff": 176_400,
        "aif": 176_400,
        "flac": 110_000,  # about 5/8 of that, typical of pop
        "wv": 105_000,
        "mp3": 28_000,  # 224 kbit/s, between the two usual bit rates
        "m4a": 32_000,
        "mp4": 32_000,
        "aac": 24_000,
        "ogg": 24_000,
        "oga": 24_000,
        "opus": 16_000,
        "wma": 20_000,
    }
)
"""Bytes that a second of audio takes in a file of that ending."""

OTHER_BYTES_PER_S = 40_000


def expected_s(name: str, *, size_bytes: int) -> float:
    """Return the seconds of audio that a file of this name and size suggests."""
    ending = name.rpartition(".")[2].lower()
    return round(size_bytes / BYTES_PER_S.get(ending, OTHER_BYTES_PER_S), 1)


def require_admission(ledger: Ledger, *, user_id: str, name: str, size_bytes: int) -> None:
    """Raise if the upload would be refused now, unread.

    Raises:
        Refusal: `UNKNOWN_USER` or `USER_DISABLED`; `QUOTA_EXCEEDED`, `DAILY_LIMIT` or `RATE_LIMITED`, then with
            the time after which it is worth trying again, where that is known.
    """
    ledger.admission.check(Wish(user_id, size_bytes, expected_s(name, size_bytes=size_bytes)))
