"""A process that brings in files side by side: ``python -m tests.unit.intake.uploading FOLDER URL FILE...``.

It prints a line for each file: taken, or the code of the refusal.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import IroncladError
from ironclad_assets.intake.upload import take_file
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store


def main() -> int:
    """Bring in every file at one time."""
    home, url, *files = sys.argv[1:]
    settings = Settings(home=Path(home), disk_reserve_bytes=1, database_url=url)
    store, ledger = Store(settings.store_root, reserve_bytes=1), Ledger(settings.ledger_url)

    def take(file: str) -> str:
        try:
            registration = take_file(
                Path(file),
                ledger=ledger,
                store=store,
                settings=settings,
                user_id="ada",
                options=JobOptions(),
                door="test",
                actor="test",
            )
        except IroncladError as error:
            return error.code.code
        return "duplicate" if registration.duplicate else "taken"

    with ThreadPoolExecutor(len(files)) as pool:
        sys.stdout.write("\n".join(pool.map(take, files)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
