"""Whether a system runs on this home: its supervisor holds a lock for as long."""

from filelock import FileLock, Timeout

from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic


def is_system_running(settings: Settings) -> bool:
    """Return whether `pipelinectl up` runs this home."""
    atomic.make_folder(settings.home_dir / "run")
    lock = FileLock(settings.home_dir / "run" / "supervisor.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
