"""Takes every file of an upload folder and says each that was acknowledged: ``python -m tests.chaos.uploader HOME``.

Says ``ready`` first, and begins when it is told to.
"""

import sys
from pathlib import Path

from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import IroncladError
from ironclad_assets.intake.upload import take_file
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import MEBIBYTE, Settings
from ironclad_assets.storage.store import Store


def installation(home: Path) -> tuple[Settings, Store, Ledger]:
    """Return the installation whose home and store are both below `home`."""
    settings = Settings(home=home, disk_reserve_bytes=MEBIBYTE)
    return settings, Store(settings.store_root, settings.disk_reserve_bytes), Ledger(settings.ledger_url)


def main(home: Path) -> int:
    """Take what is there; end with 1 at the first file that cannot be taken."""
    settings, store, ledger = installation(home)
    files = sorted((store.input / "ada").iterdir())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for path in files:
        try:
            taken = take_file(
                path, ledger=ledger, store=store, settings=settings, user_id="ada", options=JobOptions(), door="test",
                actor="test",
            )  # fmt: skip
        except (IroncladError, OSError) as error:
            sys.stdout.write(f"lost {error}\n")
            return 1
        sys.stdout.write(f"took {path.name} {taken.job.song}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
