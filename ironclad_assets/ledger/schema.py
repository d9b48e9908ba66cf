"""The ledger's schema version: checking it is cheap, changing it is Alembic's work.

`HEAD` is the version this release writes; a test keeps it equal to the newest migration. A ledger of a newer
release is refused, never guessed at.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from ironclad_assets.errors import ErrorCode, TransientFailure
from ironclad_assets.ledger.database import Database

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0005"
VERSION_TABLE = "ledger_version"  # its own: Dagster keeps another in the same Postgres
MIGRATIONS = Path(__file__).resolve().parent / "migrations"


def check_schema(database: Database) -> None:
    """Raise unless the ledger has exactly the schema of this release.

    Raises:
        TransientFailure: with `SCHEMA_MISMATCH`.
        StorageUnavailable: the database does not answer.
    """
    with database.read() as connection:
        found = _version(connection)
    if found != HEAD:
        raise _mismatch(database, found=found)


def find_version(database: Database) -> str | None:
    """Return the version of the ledger's schema, or None where there is none yet."""
    if database.file is not None and not database.file.exists():
        return None
    with database.read() as connection:
        return _version(connection)


def require_version(connection: Connection, database: Database) -> str:
    """Return the version that `connection` sees, whichever it is.

    Raises:
        TransientFailure: with `SCHEMA_MISMATCH`, where there is no ledger.
    """
    found = _version(connection)
    if found is None:
        raise _mismatch(database, found=None)
    return found


def known_versions() -> list[str]:
    """Return the schema versions that this release has a migration to, the oldest first."""
    return sorted(path.name[1:5] for path in (MIGRATIONS / "versions").glob("v*.py"))


def migrate(database: Database, *, to: str = HEAD) -> None:
    """Bring the ledger, created if missing, to version `to` (``base`` empties it), in one transaction.

    Raises:
        TransientFailure: with `SCHEMA_MISMATCH`, where a newer release wrote it, or `to` is none that this one knows.
    """
    # Alembic costs a quarter of a second that only this function needs.
    from alembic import command  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    if to not in ("base", *known_versions()):
        raise TransientFailure(
            f"this release knows no schema version {to!r}, only {', '.join(known_versions())}",
            code=ErrorCode.SCHEMA_MISMATCH,
        )
    with database.create() as connection:
        config = _config(connection)
        known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
        found = _version(connection)
        if found is not None and found not in known:
            raise _mismatch(database, found=found)
        if found == to:
            return
        going_up = to != "base" and (found is None or known.index(to) < known.index(found))
        (command.upgrade if going_up else command.downgrade)(config, to)


def _config(connection: Connection) -> "Config":
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    return config


def _version(connection: Connection) -> str | None:
    """Return the version written in the database, or None where there is no ledger."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a constant


def _mismatch(database: Database, *, found: str | None) -> TransientFailure:
    there = f"has schema version {found}" if found else "has no tables yet"
    return TransientFailure(
        f"the ledger at {database.place} {there}, this release needs {HEAD}", code=ErrorCode.SCHEMA_MISMATCH
    )
