"""The ledger as lines of JSON: a copy that does not depend on the database it came from.

Everything is read in one consistent snapshot while others write. A dump of SQLite can be loaded into Postgres and
the other way round; one of an earlier schema is loaded as it was and migrated then. What a backup holds beside the
ledger is `upkeep/backup/create.py`'s.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from sqlalchemy import JSON, Connection, MetaData, Table, Text, cast, func, insert, select, text

from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.ledger import schema, tables
from ironclad_assets.ledger.database import Database

FORMAT = "ironclad-ledger-1"
ROWS_AT_ONCE = 1000
LONGEST_LINE = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class DumpFacts:
    """What a dump holds: the schema's version, and how many rows of each table."""

    schema: str
    rows: dict[str, int]


class LedgerDump:
    """Dumps of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, stream: BinaryIO) -> DumpFacts:
        """Write every row of every table of the ledger, of whatever schema it is, as of one moment.

        Raises:
            TransientFailure: with `SCHEMA_MISMATCH`, where there is no ledger.
        """
        counted: Counter[str] = Counter()
        with self._database.snapshot() as connection:
            version = schema.require_version(connection, self._database)
            stream.write(_line({"format": FORMAT, "schema": version}))
            for table in _reflect(connection):
                stream.write(_line({"table": table.name, "columns": [column.name for column in table.columns]}))
                for row in _rows(connection, table):
                    stream.write(_line(row))
                    counted[table.name] += 1
        facts = DumpFacts(schema=version, rows=dict(sorted(counted.items())))
        stream.write(_line({"end": facts.rows}))
        return facts

    def version(self) -> str | None:
        """Return the version of the ledger's schema; None where there is no ledger."""
        return schema.find_version(self._database)

    def load(self, stream: BinaryIO) -> DumpFacts:
        """Fill an empty ledger, made if missing, with a dump, and bring it to this release's schema.

        Interrupted at any moment it can be done again: rows are there all or none.

        Raises:
            PermanentFailure: `BACKUP_DAMAGED`, the stream is no whole dump; `HOME_IN_USE`, the ledger has other rows.
            TransientFailure: with `SCHEMA_MISMATCH`, where a newer release made the dump.
        """
        lines = iter_lines(stream)
        version = _head(next(lines, None))
        if schema.find_version(self._database) in (None, version):
            schema.migrate(self._database, to=version)
            facts = self._fill(lines, version=version)
        else:
            facts = self._count(lines, version=version)
        schema.migrate(self._database)
        return facts

    def _fill(self, lines: Iterator[Any], *, version: str) -> DumpFacts:
        with self._database.write() as connection:
            known = {table.name: table for table in _reflect(connection)}
            present = _count_rows(connection, known.values())
            filling = not present
            counted: Counter[str] = Counter()
            for table, rows in _batches(lines, known=known, counted=counted):
                if filling:
                    connection.execute(insert(table), rows)
            facts = DumpFacts(schema=version, rows=dict(sorted(counted.items())))
            if not filling and present != facts.rows:
                raise failure(ErrorCode.HOME_IN_USE, f"the ledger at {self._database.place} has rows already")
            for table in known.values():
                _advance_sequence(connection, table)
        return facts

    def _count(self, lines: Iterator[Any], *, version: str) -> DumpFacts:
        """Return the facts of a dump whose rows are in the ledger already, at a newer schema."""
        with self._database.read() as connection:
            known = {table.name: table for table in _reflect(connection)}
            counted: Counter[str] = Counter()
            for _ in _batches(lines, known=known, counted=counted):
                pass
            facts = DumpFacts(schema=version, rows=dict(sorted(counted.items())))
            present = _count_rows(connection, known.values())
            if any(present.get(name) != count for name, count in facts.rows.items()):  # a migration may add rows
                raise failure(ErrorCode.HOME_IN_USE, f"the ledger at {self._database.place} has rows already")
        return facts


def iter_lines(stream: BinaryIO) -> Iterator[Any]:
    """Yield the JSON values of a dump's lines.

    Raises:
        PermanentFailure: `BACKUP_DAMAGED`.
    """
    while line := stream.readline(LONGEST_LINE):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise _damaged(f"a line is not JSON: {error}") from error


def iter_rows(lines: Iterable[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a dump's lines, its first one left out, each with its table; JSON columns are text.

    Raises:
        PermanentFailure: `BACKUP_DAMAGED`, also where the end is missing or counts other rows.
    """
    counted: Counter[str] = Counter()
    table = ""
    columns: list[str] = []
    for line in lines:
        if isinstance(line, list) and table and len(line) == len(columns):
            counted[table] += 1
            yield table, dict(zip(columns, line, strict=True))
        elif isinstance(line, dict) and "table" in line:
            table, columns = line["table"], line["columns"]
        elif isinstance(line, dict) and line.get("end") == dict(counted):
            return
        else:
            raise _damaged("rows are missing or too many")
    raise _damaged("its end is missing")


def _batches(
    lines: Iterator[Any], *, known: dict[str, Table], counted: Counter[str]
) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
    """Yield rows as they are inserted, some at once, each batch with its table."""
    batch: list[dict[str, Any]] = []
    current: Table | None = None
    for name, row in iter_rows(lines):
        if name not in known or not set(row) <= {column.name for column in known[name].columns}:
            raise _damaged(f"the schema has no table {name!r} with these columns")
        if batch and current is not None and (current.name != name or len(batch) >= ROWS_AT_ONCE):
            yield current, batch
            batch = []
        current = known[name]
        counted[name] += 1
        batch.append(_decode(row, table=current))
    if batch and current is not None:
        yield current, batch


def _head(line: Any) -> str:  # noqa: ANN401 - any JSON value
    if not isinstance(line, dict) or line.get("format") != FORMAT or not isinstance(line.get("schema"), str):
        raise _damaged(f"it does not begin as a {FORMAT} does")
    return str(line["schema"])


def _reflect(connection: Connection) -> list[Table]:
    """Return the ledger's tables as they are in the database, what others refer to first."""
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name in tables.metadata.tables)
    for table in found.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, JSON):
                column.type = JSON(none_as_null=True)
    return found.sorted_tables


def _rows(connection: Connection, table: Table) -> Iterator[list[Any]]:
    columns = [cast(column, Text) if isinstance(column.type, JSON) else column for column in table.columns]
    chosen = select(*columns).order_by(*table.primary_key.columns)
    streamed = connection.execution_options(stream_results=True, yield_per=ROWS_AT_ONCE)
    for row in streamed.execute(chosen):
        yield list(row)


def _decode(row: dict[str, Any], *, table: Table) -> dict[str, Any]:
    """Return the values to insert: a database's NULL stays NULL, JSON's null stays JSON."""
    values = dict(row)
    for name, value in row.items():
        if value is not None and isinstance(table.columns[name].type, JSON):
            loaded = json.loads(value)
            values[name] = JSON.NULL if loaded is None else loaded
    return values


def _count_rows(connection: Connection, known: Iterable[Table]) -> dict[str, int]:
    """Return how many rows each table has, without the empty ones."""
    counts = {
        table.name: int(connection.execute(select(func.count()).select_from(table)).scalar_one()) for table in known
    }
    return {name: count for name, count in sorted(counts.items()) if count}


def _advance_sequence(connection: Connection, table: Table) -> None:
    """Let Postgres count on after the rows that are there; SQLite does by itself."""
    if connection.dialect.name != "postgresql" or "sequence" not in table.columns:
        return
    name = table.name  # one of our own tables
    statement = f"SELECT setval(pg_get_serial_sequence('{name}', 'sequence'), (SELECT max(sequence) FROM {name}))"  # noqa: S608
    connection.execute(text(statement))


def _line(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _damaged(why: str) -> Exception:
    return failure(ErrorCode.BACKUP_DAMAGED, f"the copy of the ledger is damaged: {why}")
