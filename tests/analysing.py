"""What tests of the analysis share: the functions that librosa compiles, kept from run to run."""

import getpass
import tempfile
from pathlib import Path

from ironclad_assets.settings import Settings


def compiled_folder() -> Path:
    """Return a folder of this user's and this machine's; numba recognises what is stale in it."""
    folder = Path(tempfile.gettempdir()) / f"ironclad-tests-compiled-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def share_compiled(settings: Settings) -> None:
    """Let an installation use that folder as its own."""
    link = settings.home_dir / "cache" / "analysis"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(compiled_folder())
