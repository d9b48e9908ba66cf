"""The installation that a command talks to: settings, ledger, store. Its engines are in `installed_engines`."""

import getpass
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.templates import layout_of
from ironclad_assets.settings import Settings, load_settings
from ironclad_assets.storage.opening import open_store
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.backup.journal import require_no_restore


@dataclass(frozen=True, slots=True)
class Installation:
    """Everything a command needs, found through the environment."""

    settings: Settings
    ledger: Ledger
    store: Store

    @property
    def actor(self) -> str:
        """Who types, for the history."""
        try:
            return f"cli:{getpass.getuser()}"
        except (KeyError, OSError):  # a container's user need not be in the password file
            return f"cli:{os.getuid()}"

    @property
    def watcher_file(self) -> Path:
        return self.settings.home_dir / "run" / "watcher.json"

    @property
    def processes_file(self) -> Path:
        return self.settings.home_dir / "run" / "processes.json"


def read_settings() -> Settings:
    """Return the settings of the environment.

    Raises:
        Refusal: with `BAD_OPTION`, naming the variable.
    """
    try:
        settings = load_settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise Refusal(f"IRONCLAD_{name}: {first['msg']}", code=ErrorCode.BAD_OPTION) from error
    if settings.database_url is not None:
        _check_database_url(settings.database_url)
    layout_of(settings)
    return settings


def _check_database_url(url: str) -> None:
    """Refuse a URL whose database cannot be spoken to from here; it may hold a password, so it is not repeated."""
    try:
        make_url(url).get_dialect().import_dbapi()
    except (ArgumentError, ImportError) as error:
        remedy = "such as sqlite:////srv/ironclad/ledger.db"
        if url.startswith("postgres"):
            remedy = "for Postgres: pip install --no-deps -r constraints/postgres.txt"
        raise Refusal(
            f"IRONCLAD_DATABASE_URL: not the SQLAlchemy URL of a database with a driver installed here; {remedy}",
            code=ErrorCode.BAD_OPTION,
        ) from error


def open_installation(*, require_ledger: bool = True) -> Installation:
    """Return the installation of the environment.

    Args:
        require_ledger: refuse one whose ledger is missing, has another schema, or is not restored yet.
    """
    settings = read_settings()
    installation = Installation(
        settings=settings,
        ledger=Ledger(settings.ledger_url, rules=Rules.from_settings(settings)),
        store=open_store(settings),
    )
    if require_ledger:
        require_no_restore(settings)
        installation.ledger.check_schema()
    return installation
