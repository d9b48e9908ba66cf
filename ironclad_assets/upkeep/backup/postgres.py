"""Dagster's tables in Postgres, into a backup and back: a file for each, all as of one moment.

Rows are copied as Postgres itself writes them (COPY). They are loaded into the empty tables that the same release of
Dagster has made, at the first start after a restore; another release's are left alone. Dagster's SQLite databases are
copied as files by `sources`.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, text

from ironclad_assets.ledger.postgres import make_engine
from ironclad_assets.settings import Settings

SCHEMA = "dagster"
FOLDER = "postgres"
"""In DAGSTER_HOME, where a restore puts the files and the next start finds them."""

SUFFIX = ".copy"
STATEMENT_S = 3600.0

_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = :schema AND table_type = 'BASE TABLE'"
_COLUMNS = (
    "SELECT column_name, is_identity, column_default FROM information_schema.columns "
    "WHERE table_schema = :schema AND table_name = :name ORDER BY ordinal_position"
)


def dump_tables(settings: Settings, *, folder: Path) -> Iterator[Path]:
    """Write each of Dagster's tables into `folder` and yield the file; all are of one moment.

    The file begins with a line of JSON that names table and columns.
    """
    with _connected(settings, isolation="REPEATABLE READ") as connection:
        for name in _tables(connection):
            columns = [row.column_name for row in _columns(connection, name)]
            file = folder / f"{name}{SUFFIX}"
            with file.open("wb") as stream:
                stream.write(json.dumps({"table": name, "columns": columns}).encode() + b"\n")
                _copy(connection, f"COPY (SELECT {_listed(columns)} FROM {_full(name)}) TO STDOUT", stream)  # noqa: S608
            yield file


def load_tables(settings: Settings, *, folder: Path) -> str:
    """Fill Dagster's empty tables from the files in `folder`, then remove it; return why not, or nothing.

    One transaction: interrupted, it is done again at the next start.
    """
    if not folder.is_dir():
        return ""
    if not settings.on_postgres:
        return "Dagster's run history in the backup was in Postgres and stays in " + str(folder)
    with _connected(settings, isolation="READ COMMITTED") as connection:
        found = {file.name.removesuffix(SUFFIX): file for file in sorted(folder.glob(f"*{SUFFIX}"))}
        why = _why_not(connection, found)
        if why:
            return f"{why}; Dagster's run history in the backup stays in {folder}"
        for name, file in found.items():
            _load(connection, name, file)
        connection.commit()
    shutil.rmtree(folder)
    return ""


def _why_not(connection: Connection, found: dict[str, Path]) -> str:
    """Return why the files cannot be loaded, or nothing."""
    present = _tables(connection)
    if "runs" in present and connection.execute(text(f"SELECT 1 FROM {_full('runs')} LIMIT 1")).first():  # noqa: S608
        return "Dagster has runs already"
    for name, file in found.items():
        columns = [row.column_name for row in _columns(connection, name)] if name in present else []
        with file.open("rb") as stream:
            if columns != json.loads(stream.readline())["columns"]:
                return f"table {name} of this release of Dagster is another"
    return ""


def _load(connection: Connection, name: str, file: Path) -> None:
    connection.execute(text(f"DELETE FROM {_full(name)}"))  # noqa: S608 - a name that the schema has
    with file.open("rb") as stream:
        columns = json.loads(stream.readline())["columns"]
        _copy(connection, f"COPY {_full(name)} ({_listed(columns)}) FROM STDIN", stream)
    for row in _columns(connection, name):
        if str(row.column_default or "").startswith("nextval") or row.is_identity == "YES":
            column = row.column_name
            largest = f"SELECT max({_quoted(column)}) FROM {_full(name)}"  # noqa: S608
            advance = f"SELECT setval(pg_get_serial_sequence(:table, :column), ({largest}))"
            connection.execute(text(advance), {"table": _full(name), "column": column})


def _copy(connection: Connection, statement: str, stream: BinaryIO) -> None:
    cursor: Any = connection.connection.cursor()  # the driver's own; SQLAlchemy has no word for COPY
    try:
        cursor.copy_expert(statement, stream)
    finally:
        cursor.close()


def _tables(connection: Connection) -> list[str]:
    return sorted(row.table_name for row in connection.execute(text(_TABLES), {"schema": SCHEMA}))


def _columns(connection: Connection, name: str) -> list[Any]:
    return list(connection.execute(text(_COLUMNS), {"schema": SCHEMA, "name": name}))


@contextmanager
def _connected(settings: Settings, *, isolation: str) -> Iterator[Connection]:
    engine = make_engine(settings.ledger_url, kept=1, most=1, statement_timeout_s=STATEMENT_S)
    try:
        with engine.connect() as connection:
            yield connection.execution_options(isolation_level=isolation)
    finally:
        engine.dispose()


def _full(name: str) -> str:
    return f"{_quoted(SCHEMA)}.{_quoted(name)}"


def _listed(columns: list[str]) -> str:
    return ", ".join(_quoted(column) for column in columns)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
