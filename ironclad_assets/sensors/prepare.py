"""Start-up work that needs Dagster, as one short process: ``python -m ironclad_assets.sensors.prepare``.

It creates or migrates Dagster's tables before anyone else opens them (two processes on an empty SQLite home
race; machines that share a Postgres take turns), keeps a copy of the ledger and migrates it, creates the store,
deletes again what an older ledger brought back, and reconciles what the last stop left, unless another machine works.
A store that is away stops nothing: work pauses until it is back.
"""

import json
import sys
from contextlib import ExitStack

import dagster as dg
from sqlalchemy import text

from ironclad_assets.errors import IroncladError, StorageUnavailable
from ironclad_assets.ledger.database import Database, take_turns
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.sensors.leader import Leadership
from ironclad_assets.sensors.reconcile import reconcile
from ironclad_assets.settings import Settings, load_settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.opening import open_store
from ironclad_assets.storage.store import KNOWN_STORES
from ironclad_assets.upkeep.backup.postgres import FOLDER, load_tables
from ironclad_assets.upkeep.erase import tombstones
from ironclad_assets.upkeep.upgrades import migrate_ledger

TABLES_OF = "tables-of"
"""File in DAGSTER_HOME that names the release of Dagster that its tables were last migrated for."""

LEADER_S = 3.0
"""How long the daemon of a system that was just killed may take to lose its lock."""


def main() -> int:
    """Prepare everything that must be there before the daemon starts; return the exit code."""
    settings = load_settings()
    try:
        away = prepare_store(settings)
        ledger = Ledger(settings.ledger_url, rules=Rules.from_settings(settings))
        migrate_ledger(settings)
        with dg.DagsterInstance.get() as instance:
            again = "" if away else delete_again(ledger, settings)
            migrate_dagster(instance, settings)
            untold = load_tables(settings, folder=settings.dagster_home / FOLDER)
            mended = mend(ledger, instance, settings)
    except IroncladError as error:
        sys.stderr.write(f"{error.describe()}\n")
        return 1
    sys.stdout.write(f"ready; {away or again or mended or untold or 'nothing to mend'}\n")
    return 0


def mend(ledger: Ledger, instance: dg.DagsterInstance, settings: Settings) -> str:
    """Reconcile what the last stop left, unless another machine works; return what was done, or nothing."""
    with ExitStack() as stack:
        if settings.on_postgres:
            leadership = Leadership(settings.ledger_url)
            stack.callback(leadership.close)
            if not leadership.take(wait_s=LEADER_S):
                return "another machine works and mends"
        return reconcile(ledger, instance, starting=True, store=open_store(settings)).describe()


def prepare_store(settings: Settings) -> str:
    """Create the store where there never was one; return why work has to wait, or nothing."""
    store = open_store(settings)
    memory = settings.home_dir / KNOWN_STORES
    known: dict[str, str] = json.loads(memory.read_bytes()) if memory.exists() else {}
    try:
        if str(store.root) not in known or store.sentinel.is_file():
            store.create()
        store.require_ready()
    except StorageUnavailable as error:
        return f"paused: {error.describe()}"
    known[str(store.root)] = store.sentinel.read_text(encoding="utf-8").strip()
    atomic.write_json(memory, known)
    return ""


def delete_again(ledger: Ledger, settings: Settings) -> str:
    """Open the deletion again of what an older ledger brought back; return what that is, or nothing."""
    count = tombstones.adopt_missing(open_store(settings), ledger)
    return f"{count} songs and users that were deleted had come back and are deleted again" if count else ""


def migrate_dagster(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Create or migrate Dagster's tables, once per release: it looks at every run there ever was."""
    marker = settings.dagster_home / TABLES_OF
    if marker.exists() and marker.read_text(encoding="utf-8") == dg.__version__:
        return
    if settings.on_postgres:
        database = Database(settings.ledger_url)
        with database.write() as connection:  # one machine at a time, however long it takes
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            take_turns(connection, "tables of Dagster")
            instance.upgrade()
        database.close()
    else:
        instance.upgrade()
    atomic.write_bytes(marker, dg.__version__.encode())


if __name__ == "__main__":
    sys.exit(main())
