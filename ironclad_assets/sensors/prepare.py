"""Start-up work that needs Dagster, as one short process: ``python -m ironclad_assets.sensors.prepare``.

It creates or migrates Dagster's tables before anyone else opens them (two processes on an empty SQLite home
race), migrates the ledger, creates the store, and reconciles what the last stop left.
"""

import sys

import dagster as dg

from ironclad_assets.errors import IroncladError
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.sensors.reconcile import reconcile
from ironclad_assets.settings import load_settings
from ironclad_assets.storage.store import Store


def main() -> int:
    """Prepare everything that must be there before the daemon starts; return the exit code."""
    settings = load_settings()
    try:
        Store(settings.store_root, settings.disk_reserve_bytes).create()
        ledger = Ledger(settings.ledger_url)
        ledger.migrate()
        with dg.DagsterInstance.get() as instance:
            instance.upgrade()
            done = reconcile(ledger, instance, starting=True)
    except IroncladError as error:
        sys.stderr.write(f"{error.describe()}\n")
        return 1
    sys.stdout.write(f"ready; {done.describe() or 'nothing to mend'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
