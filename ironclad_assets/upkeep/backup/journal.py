"""The file that says that a restore into a home is not done, and keeps everything else out until it is.

It is written and removed by `restore`; every command looks for it, so that nothing else is imported here.
"""

from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.settings import Settings

JOURNAL = "restore.json"


def require_no_restore(settings: Settings) -> None:
    """Raise while a restore into this home is not done.

    Raises:
        PermanentFailure: with `HOME_IN_USE`.
    """
    journal = settings.home_dir / JOURNAL
    if journal.exists():
        raise failure(
            ErrorCode.HOME_IN_USE, f"a restore is not done ({journal}); run the same `pipelinectl restore` again"
        )
