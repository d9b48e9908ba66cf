"""The commands about the ledger as a database: migrate, export, import."""

from pathlib import Path
from typing import Annotated

import typer

from ironclad_assets.cli.arguments import AsJson
from ironclad_assets.cli.exits import MissingFile, door
from ironclad_assets.cli.installation import open_installation
from ironclad_assets.cli.show import print_json
from ironclad_assets.intake.names import printable
from ironclad_assets.ledger.schema import HEAD
from ironclad_assets.upkeep.upgrades import export_ledger, import_ledger, migrate_ledger, stopped

DumpFile = Annotated[Path, typer.Argument(help="The copy: lines of JSON.", metavar="FILE")]


def migrate(
    to: Annotated[
        str, typer.Option(help="Schema version to go to; an earlier one goes back, for an earlier release.")
    ] = HEAD,
    as_json: AsJson = False,
) -> None:
    """Bring the ledger to this release's schema, or back to an earlier one. The system must be stopped.

    `pipelinectl up` goes forward by itself. Before anything changes, a copy of the ledger is kept in the home's
    `upgrades`; killed at any moment, the ledger has the old schema or the new one.

    \b
    Examples:
      pipelinectl migrate
      pipelinectl migrate --to 0002
    """
    with door(as_json=as_json):
        settings = open_installation(require_ledger=False).settings
        with stopped(settings):
            kept = migrate_ledger(settings, to=to)
        if as_json:
            print_json({"schema": to, "copy": None if kept is None else str(kept)})
        else:
            print(f"the ledger has schema {to}" + (f"; a copy of it before is {kept}" if kept else " already"))


def export_ledger_command(file: DumpFile, as_json: AsJson = False) -> None:
    """Write the whole ledger into a file, as of one moment, while the system runs.

    \b
    Example:
      pipelinectl ledger export ledger.jsonl
    """
    with door(as_json=as_json):
        installation = open_installation(require_ledger=False)
        if not file.absolute().parent.is_dir():
            raise MissingFile(f"there is no folder {printable(str(file.absolute().parent))!r}")
        rows = export_ledger(installation.ledger, file.absolute())
        _say(rows, what=f"wrote {printable(str(file))}", as_json=as_json)


def import_ledger_command(file: DumpFile, as_json: AsJson = False) -> None:
    """Fill an empty ledger from a file, in whichever database IRONCLAD_DATABASE_URL names. The system must be stopped.

    This is how a ledger moves from SQLite to Postgres, or back: export, change the setting, import. What was deleted
    since the copy was made is deleted again when the system starts.

    \b
    Example:
      IRONCLAD_DATABASE_URL=postgresql+psycopg2://ironclad@db/ironclad pipelinectl ledger import ledger.jsonl
    """
    with door(as_json=as_json):
        installation = open_installation(require_ledger=False)
        if not file.is_file():
            raise MissingFile(f"there is no {printable(str(file))!r}")
        with stopped(installation.settings):
            rows = import_ledger(installation.ledger, file)
        _say(rows, what=f"filled {installation.ledger.place}", as_json=as_json)


def _say(rows: dict[str, int], *, what: str, as_json: bool) -> None:
    if as_json:
        print_json({"rows": rows})
    else:
        print(f"{what}: {sum(rows.values())} rows, {rows.get('songs', 0)} songs, {rows.get('jobs', 0)} jobs")
