"""The commands about jobs: status, queue, cancel. What works on songs again is in `attempt_commands`.

`status` and `queue` are asked often, so this imports what their lists need; what is needed besides is imported later.
"""

from typing import Annotated, Any

import typer

from ironclad_assets.cli.arguments import AnyJobName, AsJson, Follow, JobName, OneUser
from ironclad_assets.cli.control_show import pause_document, place_document, print_pauses, print_queue
from ironclad_assets.cli.exits import Exit, door, end
from ironclad_assets.cli.installation import open_installation
from ironclad_assets.cli.show import job_document, open_console, print_jobs, print_json
from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.intake.names import check_user

CANCEL_WAIT_S = 10.0
"""How long `cancel` waits for a running job to stop; it should within five seconds."""


def status(
    job: AnyJobName = None,
    follow: Follow = False,
    user: OneUser = None,
    state: Annotated[
        JobState | None, typer.Option(help="Only jobs in this state.", show_default=False, metavar="STATE")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many jobs to list.")] = 20,
    before: Annotated[
        str | None,
        typer.Option(
            help="Only jobs older than this one: the last of the page before.", metavar="JOB", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the latest jobs, or everything about one.

    With --follow and no JOB, follows all jobs that have not ended.

    \b
    Examples:
      pipelinectl status
      pipelinectl status 3f2a91c0 --follow
      pipelinectl status --state failed --json
    """
    with door(as_json=as_json):
        if user is not None:
            check_user(user)
        installation = open_installation()
        ledger = installation.ledger
        console = open_console()
        if job is None and not follow:
            since = None if before is None else ledger.resolve(before).job_uuid
            found = ledger.jobs(user_id=user, states=None if state is None else [state], limit=limit, before=since)
            pauses = ledger.pauses.all()
            if as_json:
                shown = [pause_document(pause) for pause in pauses]
                print_json({"jobs": [job_document(one) for one in found], "pauses": shown})
            else:
                print_jobs(console, found)
                print_pauses(console, pauses)
            return
        if follow:
            from ironclad_assets.cli.follow import follow_jobs  # noqa: PLC0415 - see the module

            active = [one for one in JobState if one.active]
            ids = (
                [one.job_uuid for one in ledger.jobs(user_id=user, states=active, limit=limit)]
                if job is None
                else [ledger.resolve(job).job_uuid]
            )
            end(follow_jobs(ledger, ids, as_json=as_json, console=console))
            return
        from ironclad_assets.cli.one_job import show_job  # noqa: PLC0415 - see the module

        show_job(installation, ledger.resolve(str(job)), as_json=as_json, console=console)


def queue(
    user: OneUser = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many jobs to list.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the waiting jobs in the order in which they will run, and why each waits.

    Higher priority goes first; among equals whoever had the fewest seconds of audio worked on. See docs/control.md.

    \b
    Examples:
      pipelinectl queue
      pipelinectl queue --user ada --limit 100 --json
    """
    with door(as_json=as_json):
        if user is not None:
            check_user(user)
        ledger = open_installation().ledger
        places = ledger.queue.places(limit=limit, user_id=user)
        counts = ledger.count_by_state()
        waiting = counts[JobState.QUEUED] + counts[JobState.HELD]
        found = ledger.pauses.all()
        if as_json:
            shown: list[dict[str, Any]] = [place_document(place) for place in places]
            print_json({"queue": shown, "waiting": waiting, "pauses": [pause_document(one) for one in found]})
        else:
            print_queue(open_console(), places, waiting=waiting, pauses=found)


def cancel(job: JobName, as_json: AsJson = False) -> None:
    """Cancel a job: at once if it waits, within five seconds if it runs.

    \b
    Example:
      pipelinectl cancel 3f2a91c0
    """
    from ironclad_assets.cli.follow import await_end  # noqa: PLC0415 - see the module

    with door(as_json=as_json):
        installation = open_installation()
        chosen = installation.ledger.resolve(job)
        installation.ledger.request_cancel(chosen.job_uuid, actor=installation.actor)
        after = await_end(installation.ledger, chosen.job_uuid, timeout_s=CANCEL_WAIT_S)
        if as_json:
            print_json({"job": job_document(after)})
        elif after.state.active:
            print(f"job {after.job_uuid} was asked to stop and has not stopped yet")
        else:
            print(f"job {after.job_uuid} is {after.state}")
        end(Exit.OK if after.state is JobState.CANCELED else Exit.JOB_FAILED)
