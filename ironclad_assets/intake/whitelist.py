"""Which folders files are taken from that stay their owner's: those the operator named, or all.

Asked about a file that is open already, so that nobody can swap it, or a folder above it, between question and
copy. What is dropped into the upload folder is the business of `scan`.
"""

import os
from pathlib import Path

from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.intake.names import display_name
from ironclad_assets.settings import Settings


def check_folder(source: Path, *, descriptor: int, settings: Settings) -> None:
    """Raise unless the open file lies in a folder that files are taken from, every symbolic link followed.

    Args:
        source: how the file was named, for the message and where the system cannot say what is open.
        descriptor: the open file.
        settings: name the folders.

    Raises:
        Refusal: `PATH_REFUSED`.
    """
    roots = settings.submit_roots
    if not roots:
        return
    path = _find_path(source, descriptor=descriptor)
    if not any(path.is_relative_to(root) for root in roots):
        folders = ", ".join(map(str, roots))
        detail = f"{display_name(source.name)!r} lies in {path.parent}; files are taken from {folders}"
        raise Refusal(detail, code=ErrorCode.PATH_REFUSED)


def _find_path(source: Path, *, descriptor: int) -> Path:
    """Return the absolute path, without symbolic links, of what is open."""
    try:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115 - the link's text, whatever it names
    except OSError:  # no /proc
        return source.resolve()
