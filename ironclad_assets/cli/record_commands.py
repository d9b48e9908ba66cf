"""The commands that tell who did what: audit, and the history of one song."""

from typing import Annotated

import typer

from ironclad_assets.cli.arguments import AsJson, JobName
from ironclad_assets.cli.control_show import audit_document, print_audit, print_history
from ironclad_assets.cli.exits import door
from ironclad_assets.cli.installation import open_installation
from ironclad_assets.cli.show import open_console, print_json


def audit(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many of the latest lines to show.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show what people and schedules did to the installation: pauses, users, limits, sweeps, deletions, backups.

    What happened to one job is shown by `pipelinectl history`. No line is ever changed.

    \b
    Examples:
      pipelinectl audit
      pipelinectl audit --limit 1000 --json
    """
    with door(as_json=as_json):
        lines = open_installation().ledger.audit.latest(limit=limit)
        if as_json:
            print_json({"audit": [audit_document(line) for line in lines]})
        else:
            print_audit(open_console(), lines)


def history(job: JobName, as_json: AsJson = False) -> None:
    """Show everything that ever happened to a job; named by its song, to every job of the song.

    \b
    Examples:
      pipelinectl history 3f2a91c0
      pipelinectl history s20261121-180000-ab12cd --json
    """
    with door(as_json=as_json):
        ledger = open_installation().ledger
        chosen = ledger.resolve(job)
        jobs = ledger.jobs_of(chosen.song) if job == chosen.song else [chosen]
        lines = [(one.job_uuid, line) for one in jobs for line in ledger.history(one.job_uuid)]
        if as_json:
            print_json(
                {"history": [{"job_uuid": job_uuid, **line.model_dump(mode="json")} for job_uuid, line in lines]}
            )
        else:
            print_history(open_console(), lines)
