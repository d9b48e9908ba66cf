"""Compacting: deleted rows are only marked as free; this lets a database's own files forget their bytes.

SQLite is rewritten and its write-ahead log emptied, which needs as much free space as the file has. Postgres clears
what no transaction sees any more; its own write-ahead log and its backups are the operator's (`docs/deleting.md`).
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection

from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.tables import metadata

BUSY_S = 30.0


def compact(database: Database) -> None:
    """Compact the ledger.

    Raises:
        StorageUnavailable: somebody reads or writes all the time; nothing is lost, try again.
    """
    if database.file is not None:
        compact_sqlite(database.file)
    elif database.url.get_backend_name() == "postgresql":
        with database.read() as connection:
            vacuum_tables(connection, (table.name for table in metadata.sorted_tables))


def compact_sqlite(file: Path) -> None:
    """Rewrite the SQLite database in `file` and empty its log; one that is not there has nothing to forget.

    Raises:
        StorageUnavailable: somebody reads or writes all the time, or there is no room for the copy.
    """
    if not file.is_file():
        return
    location = f"{file.absolute().as_uri()}?mode=rw"
    try:
        with closing(sqlite3.connect(location, uri=True, isolation_level=None, timeout=BUSY_S)) as connection:
            connection.execute("VACUUM")
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError as error:
        raise StorageUnavailable(f"{file} cannot be compacted: {error}", code=ErrorCode.STORAGE_AWAY) from error
    if busy:
        raise StorageUnavailable(f"{file} is being read all the time", code=ErrorCode.STORAGE_AWAY)


def vacuum_tables(connection: Connection, tables: Iterable[str]) -> None:
    """Let Postgres clear the tables; the connection must not be in a transaction yet."""
    alone = connection.execution_options(isolation_level="AUTOCOMMIT")
    for table in tables:
        alone.exec_driver_sql(f'VACUUM "{table}"')
