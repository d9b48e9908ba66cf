"""The commands that steer the pipeline: pause, resume, pauses, priority."""

from typing import Annotated

import typer

from ironclad_assets.cli.arguments import AsJson, JobName
from ironclad_assets.cli.control_show import pause_document, print_pauses
from ironclad_assets.cli.exits import door
from ironclad_assets.cli.installation import open_installation
from ironclad_assets.cli.selection import (
    EngineOption,
    StageOption,
    UserOption,
    check_known,
    read_selection,
)
from ironclad_assets.cli.show import SHORT_ID, job_document, open_console, print_json
from ironclad_assets.intake.names import printable
from ironclad_assets.ledger.pauses import pause_title

Everything = Annotated[bool, typer.Option("--all", help="Everything; also meant where nothing is named.")]
PriorityNumber = Annotated[int, typer.Argument(help="-100 to 100; larger goes first.", metavar="PRIORITY")]


def pause(
    everything: Everything = False,
    stage: StageOption = None,
    engine: EngineOption = None,
    user: UserOption = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever sees it.", metavar="TEXT")] = "",
    as_json: AsJson = False,
) -> None:
    """Begin no more work, until `pipelinectl resume`; what runs goes on. Uploads are still taken in.

    A pause of everything or of a user asks for no more runs. A job that comes to a paused stage, or would be
    separated by a paused engine, is held there. Nothing is lost, the order stays, and pauses survive restarts.

    \b
    Examples:
      pipelinectl pause
      pipelinectl pause --engine demucs --reason "new driver"
      pipelinectl pause --stage library_entry
      pipelinectl pause --user ada
    """
    with door(as_json=as_json):
        kind, subject = read_selection(everything=everything, stage=stage, engine=engine, user=user)
        installation = open_installation()
        check_known(installation, kind, subject)
        new = installation.ledger.pauses.set(kind, subject, actor=installation.actor, reason=reason)
        found = installation.ledger.pauses.of(kind, subject)
        if as_json:
            print_json({"pause": None if found is None else pause_document(found), "new": new})
        else:
            print(f"{pause_title(kind, subject)} {'is paused' if new else 'was paused already'}")


def resume(
    everything: Everything = False,
    stage: StageOption = None,
    engine: EngineOption = None,
    user: UserOption = None,
    as_json: AsJson = False,
) -> None:
    """End a pause. The jobs that waited for it go on by themselves within seconds, in their order.

    Each pause is ended by the option that began it; what is still paused is shown.

    \b
    Examples:
      pipelinectl resume
      pipelinectl resume --engine demucs
    """
    with door(as_json=as_json):
        kind, subject = read_selection(everything=everything, stage=stage, engine=engine, user=user)
        installation = open_installation()
        pauses = installation.ledger.pauses
        if pauses.of(kind, subject) is None:
            check_known(installation, kind, subject)
        lifted = pauses.lift(kind, subject, actor=installation.actor)
        remaining = pauses.all()
        if as_json:
            print_json({"resumed": lifted, "pauses": [pause_document(one) for one in remaining]})
            return
        print(f"{pause_title(kind, subject)} {'goes on' if lifted else 'was not paused'}")
        for one in remaining:
            print(f"still paused: {printable(one.describe())}")


def pauses(as_json: AsJson = False) -> None:
    """Show what is paused, since when, by whom and why.

    \b
    Example:
      pipelinectl pauses
    """
    with door(as_json=as_json):
        found = open_installation().ledger.pauses.all()
        if as_json:
            print_json({"pauses": [pause_document(one) for one in found]})
        elif found:
            print_pauses(open_console(), found)
        else:
            print("nothing is paused")


def priority(job: JobName, number: PriorityNumber, as_json: AsJson = False) -> None:
    """Let a waiting job run earlier or later. Jobs have 0 unless they were submitted with another.

    \b
    Examples:
      pipelinectl priority 3f2a91c0 10
      pipelinectl priority 3f2a91c0 -- -5
    """
    with door(as_json=as_json):
        installation = open_installation()
        ledger = installation.ledger
        changed = ledger.queue.set_priority(ledger.resolve(job).job_uuid, number, actor=installation.actor)
        if as_json:
            print_json({"job": job_document(changed)})
        else:
            print(f"job {changed.job_uuid[:SHORT_ID]} has priority {changed.priority}")
