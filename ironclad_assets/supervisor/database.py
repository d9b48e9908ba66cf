"""Whether the database that the settings name can be used: asked before anything is started, told in a sentence."""

from importlib.util import find_spec

from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.ledger.database import Database
from ironclad_assets.settings import Settings

PACKAGES = ("psycopg2", "dagster_postgres")
"""What the extra `postgres` installs."""

REMEDY = "install them: pip install --no-deps -r constraints/postgres.txt"


def require_database(settings: Settings) -> None:
    """Refuse to start where the ledger's server cannot be spoken to; a SQLite file is made when it is needed.

    Raises:
        Refusal: with `BAD_OPTION`, the packages for Postgres are not installed.
        StorageUnavailable: with `STORAGE_AWAY`, the server does not answer; it is named without its password.
    """
    if not settings.on_postgres:
        return
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise Refusal(
            f"IRONCLAD_DATABASE_URL names a Postgres, and {' and '.join(missing)} is not installed; {REMEDY}",
            code=ErrorCode.BAD_OPTION,
        )
    database = Database(settings.ledger_url)
    try:
        with database.read():
            pass
    finally:
        database.close()
