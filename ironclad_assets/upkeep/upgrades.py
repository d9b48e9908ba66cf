"""Changing the ledger's schema with a way back: a copy of the ledger is kept in the home before anything moves.

The copy is lines of JSON (`ledger/dump.py`), small beside any song, and can be loaded into an empty ledger of either
database. Migrations themselves are `ledger/schema.py`'s.
"""

from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ironclad_assets.errors import ErrorCode, Refusal, failure
from ironclad_assets.ledger import schema
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.upkeep.backup.journal import require_no_restore

FOLDER = "upgrades"
KEPT = 5


def migrate_ledger(settings: Settings, *, to: str = schema.HEAD) -> Path | None:
    """Bring the ledger to the schema `to`, after a copy of it was kept; return the copy, None where none was needed.

    Raises:
        TransientFailure: `SCHEMA_MISMATCH`, where a newer release wrote the ledger.
        Refusal: `BAD_OPTION`, where `to` is no version of this release.
        StorageUnavailable: the database does not answer, or the copy cannot be kept; then nothing is changed.
    """
    if to not in schema.known_versions():
        known = ", ".join(schema.known_versions())
        raise Refusal(f"{to!r} is no schema version of this release, only {known}", code=ErrorCode.BAD_OPTION)
    ledger = Ledger(settings.ledger_url)
    try:
        found = ledger.dump.version()
        kept = None if found in (None, to) else keep_copy(ledger, settings=settings, version=str(found))
        ledger.migrate(to=to)
    finally:
        ledger.close()
    return kept


def keep_copy(ledger: Ledger, *, settings: Settings, version: str) -> Path:
    """Write a copy of the ledger into the home's folder of upgrades, and return it; the newest few are kept."""
    folder = settings.home_dir / FOLDER
    atomic.make_folder(folder)
    file = folder / f"ledger-{version}-{datetime.now(UTC):%Y%m%dt%H%M%S%fz}.jsonl"
    export_ledger(ledger, file)
    for old in sorted(folder.glob("ledger-*.jsonl"), key=lambda path: path.name.rpartition("-")[2])[:-KEPT]:
        old.unlink(missing_ok=True)
    return file


def export_ledger(ledger: Ledger, file: Path) -> dict[str, int]:
    """Write the ledger to `file`, whole or not at all; return how many rows each table has."""
    rows: dict[str, int] = {}
    atomic.write_atomically(file, lambda stream: rows.update(ledger.dump.write(stream).rows), mode=0o600)
    return rows


def import_ledger(ledger: Ledger, file: Path) -> dict[str, int]:
    """Fill an empty ledger with a copy; return how many rows each table got.

    Raises:
        PermanentFailure: `HOME_IN_USE`, where the ledger has rows; `BACKUP_DAMAGED`, for a file that is no whole copy.
    """
    with file.open("rb") as stream:
        return ledger.dump.load(stream).rows


def stopped(settings: Settings) -> FileLock:
    """Return the lock that keeps the system from starting meanwhile, held: a context manager.

    Raises:
        TransientFailure: with `ALREADY_RUNNING`, while it runs.
        PermanentFailure: with `HOME_IN_USE`, while a restore into the home is not done.
    """
    require_no_restore(settings)
    atomic.make_folder(settings.home_dir / "run")
    lock = FileLock(settings.home_dir / "run" / "supervisor.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise failure(ErrorCode.ALREADY_RUNNING, f"{settings.home_dir} is run by `pipelinectl up`") from None
    return lock
