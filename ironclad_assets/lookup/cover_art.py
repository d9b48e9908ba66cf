"""Fetches front covers from the Cover Art Archive: a release's own, else its group's.

The picture is only fetched here and looked at by its first bytes; it is opened in a sandboxed child (`covers`).
Runs in the lookup's child.
"""

from ironclad_assets.lookup.courier import Courier, Question
from ironclad_assets.lookup.names import COVER_ART_ARCHIVE, SOURCES

NAME = SOURCES[COVER_ART_ARCHIVE]
PIXELS = 500
MAX_PICTURE_BYTES = 10 * 1024 * 1024
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
KINDS = ("release", "release-group")


def fetch_front(courier: Courier, *, base_url: str, kind: str, mbid: str) -> bytes | None:
    """Return the front cover of a release or a release group, None where there is none.

    Raises:
        NoAnswer: it cannot be had.
    """
    question = Question(
        source=COVER_ART_ARCHIVE,
        name=NAME,
        url=f"{base_url}/{kind}/{mbid}/front-{PIXELS}",
        key="",
        max_bytes=MAX_PICTURE_BYTES,
        check=_check,
    )
    return courier.ask(question)


def _check(body: bytes) -> bool:
    if not body.startswith(SIGNATURES):
        raise ValueError("neither JPEG nor PNG")
    return True
