"""What tests of the analysis share: the functions that librosa compiles, kept from run to run."""

import getpass
import resource
import tempfile
from pathlib import Path
from typing import Any

from ironclad_assets.audio.analysis import analyse_song
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


def analyse_and_weigh(report: Any, **arguments: Any) -> dict[str, Any]:
    """Analyse a song as a task of the sandbox; return the most memory that took, in MiB, and the points drawn."""
    found = analyse_song(report, **arguments)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "peak_mib": peak_mib,
        "points": len(found["envelopes"][0]["peak"]),
        "beats": len(found["rhythm"]["beats_s"]),
    }
