"""The commands that work on songs again: retry, replay, rollback."""

from typing import Annotated, Any

import typer
from rich.progress import track

from ironclad_assets.cli.arguments import AsJson, Follow, JobName
from ironclad_assets.cli.control_show import way_document
from ironclad_assets.cli.exits import Exit, door, end, error_document
from ironclad_assets.cli.follow import follow_jobs
from ironclad_assets.cli.installation import Installation, open_installation
from ironclad_assets.cli.installed_engines import check_options
from ironclad_assets.cli.selection import EngineOption, StageOption, UserOption, read_selection, read_time
from ironclad_assets.cli.show import SHORT_ID, job_document, open_console, print_json
from ironclad_assets.cli.wish_arguments import (
    AllowSmallerModel,
    Bitrate,
    DjStems,
    Engine,
    Format,
    Model,
    Original,
    Parameters,
    PresetName,
    Residual,
    SampleFormatName,
    StemNames,
    Targets,
    read_options,
)
from ironclad_assets.contracts.v1.job import STAGES, Job
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError, Refusal
from ironclad_assets.intake.names import display_name, printable
from ironclad_assets.intake.options import change_options
from ironclad_assets.ledger.again import WayBack
from ironclad_assets.ledger.pauses import pause_title

OptionalJobName = Annotated[
    str | None,
    typer.Argument(help="A job id, the first characters of one, or a song id.", metavar="[JOB]", show_default=False),
]


def retry(
    job: OptionalJobName = None,
    all_failed: Annotated[
        bool, typer.Option("--all-failed", help="Every song whose latest job failed, instead of one.")
    ] = False,
    code: Annotated[
        str | None,
        typer.Option(
            help="With --all-failed: only those that failed with this code.", metavar="CODE", show_default=False
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="With --all-failed: only this user's songs.", show_default=False)
    ] = None,
    engine: Engine = None,
    model: Model = None,
    preset: PresetName = None,
    parameters: Parameters = None,
    targets: Targets = None,
    stems: StemNames = None,
    residual: Residual = None,
    original: Original = None,
    dj_stems: DjStems = None,
    format: Format = None,
    sample_format: SampleFormatName = None,
    bitrate: Bitrate = None,
    allow_smaller_model: AllowSmallerModel = None,
    follow: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Work on a song again, as a new attempt, with the same or other options.

    What may pass by itself is tried again by itself, twice, before a job fails. With --all-failed (and --user)
    many songs get a new attempt, each with its own options and what is named here.

    What the last attempt finished is used again where the options allow. Another engine, preset or format
    drops what was chosen for the one before.

    \b
    Examples:
      pipelinectl retry 3f2a91c0
      pipelinectl retry 3f2a91c0 --engine spectral --targets vocals --follow
      pipelinectl retry 3f2a91c0 --parameter shifts= --allow-smaller-model
      pipelinectl retry --all-failed --code engine_failed
    """
    with door(as_json=as_json):
        installation = open_installation()
        wish = read_options(
            engine=engine,
            model=model,
            preset=preset,
            parameters=parameters,
            targets=targets,
            stems=stems,
            residual=residual,
            original=original,
            dj_stems=dj_stems,
            format=format,
            sample_format=sample_format,
            bitrate=bitrate,
            allow_smaller_model=allow_smaller_model,
        )
        if all_failed:
            if job is not None:
                raise Refusal("name a job or --all-failed, not both", code=ErrorCode.BAD_OPTION)
            jobs = installation.ledger.again.failed(code=_known_code(code), user_id=user)
            _retry_each(installation, jobs, wish=wish, as_json=as_json)
            return
        if job is None or code is not None or user is not None:
            raise Refusal(
                "name a job, or --all-failed; --code and --user belong to --all-failed", code=ErrorCode.BAD_OPTION
            )
        before = installation.ledger.resolve(job)
        options = change_options(before.options, change=wish)
        check_options(installation, options, user_id=before.user_id)
        added = installation.ledger.retry(before.job_uuid, actor=installation.actor, options=options)
        _say_added(installation, added, follow=follow, as_json=as_json)


def replay(
    job: JobName,
    start: Annotated[str, typer.Option("--from", help=f"Stage to begin at: {', '.join(STAGES)}.", metavar="STAGE")],
    follow: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Work on a song again with the same options, and use nothing again that was made from a stage on.

    The stages before are used again where they are sound. A plain `retry` uses everything again that fits.

    \b
    Examples:
      pipelinectl replay 3f2a91c0 --from stems
      pipelinectl replay 3f2a91c0 --from validated_file --follow
    """
    with door(as_json=as_json):
        if start not in STAGES:
            raise Refusal(f"stage {start!r} is not one of {', '.join(STAGES)}", code=ErrorCode.BAD_OPTION)
        installation = open_installation()
        before = installation.ledger.resolve(job)
        added = installation.ledger.retry(
            before.job_uuid, actor=installation.actor, replay_from=start, detail=f"replay from {start}"
        )
        _say_added(installation, added, follow=follow, as_json=as_json)


def rollback(
    job: OptionalJobName = None,
    everything: Annotated[bool, typer.Option("--all", help="All songs, instead of one.")] = False,
    stage: StageOption = None,
    engine: EngineOption = None,
    user: UserOption = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Take back what completed since: a local time such as 2026-11-20T18:00, or an age such as 2h, 3d.",
            metavar="TIME",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    follow: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Go back to how a song was made before: a new attempt with the options of the earlier completed job.

    For one song that is its latest completed job made with other options than the newest one. With --since it is,
    for every song that completed since then (of a user, separated by an engine, or with a stage made anew), the
    last job completed before. Songs without one are left alone and listed.

    \b
    Examples:
      pipelinectl rollback 3f2a91c0
      pipelinectl rollback --engine demucs --since 2h --dry-run
      pipelinectl rollback --all --since 2026-11-20T18:00
    """
    with door(as_json=as_json):
        many = everything or any(choice is not None for choice in (stage, engine, user, since))
        if many == (job is not None) or (many and since is None):
            raise Refusal("name a job; or --since with --all, --stage, --engine or --user", code=ErrorCode.BAD_OPTION)
        kind, subject = read_selection(everything=everything, stage=stage, engine=engine, user=user)
        installation = open_installation()
        ledger = installation.ledger
        if job is None:
            ways = ledger.again.ways_back(kind, subject, since=read_time(str(since)))
        else:
            ways = [ledger.again.way_back(ledger.resolve(job).song)]
        if dry_run:
            _say_ways(ways, as_json=as_json)
        elif job is not None:
            _say_added(installation, _go_back(installation, ways[0]), follow=follow, as_json=as_json)
        else:
            _go_back_each(installation, ways, title=pause_title(kind, subject), as_json=as_json)


def _known_code(code: str | None) -> str | None:
    if code is not None and code not in {known.code for known in ErrorCode}:
        raise Refusal(f"{code!r} is no error code; see docs/errors.md", code=ErrorCode.BAD_OPTION)
    return code


def _retry_each(installation: Installation, jobs: list[Job], *, wish: JobOptions, as_json: bool) -> None:
    """Give each failed song a new attempt; what cannot be tried again is told and stops no other."""
    added: list[Job] = []
    errors: list[dict[str, str]] = []
    for job in track(jobs, description="retrying", disable=as_json, transient=True):
        try:
            options = change_options(job.options, change=wish)
            check_options(installation, options, user_id=job.user_id)
            added.append(installation.ledger.retry(job.job_uuid, actor=installation.actor, options=options))
        except IroncladError as error:
            errors.append({"job_uuid": job.job_uuid, **error_document(error)})
    installation.ledger.audit.write(
        "retry", "all failed", actor=installation.actor, detail=f"{len(added)} jobs queued, {len(errors)} not"
    )
    if as_json:
        print_json({"jobs": [job_document(job) for job in added], "errors": errors})
    else:
        for one in errors:
            print(printable(f"left alone: job {one['job_uuid'][:SHORT_ID]}: {one['code']}: {one['detail']}"))
        print(f"queued {len(added)} of {len(jobs)} songs again")
    end(Exit.REFUSED if errors else Exit.OK)


def _go_back(installation: Installation, way: WayBack) -> Job:
    """Queue the song with the options of its earlier job.

    Raises:
        IroncladError: an engine or model of then is not there, or the song has an active job by now.
    """
    check_options(installation, way.options, user_id=way.newest.user_id)
    earlier = way.earlier or way.newest
    return installation.ledger.retry(
        way.newest.job_uuid,
        actor=installation.actor,
        options=way.options,
        detail=f"rollback from job {way.newest.job_uuid} to job {earlier.job_uuid}",
    )


def _go_back_each(installation: Installation, ways: list[WayBack], *, title: str, as_json: bool) -> None:
    added: list[Job] = []
    alone = [way for way in ways if way.earlier is None]
    errors: list[dict[str, str]] = []
    back = [way for way in ways if way.earlier is not None]
    for way in track(back, description="going back", disable=as_json, transient=True):
        try:
            added.append(_go_back(installation, way))
        except IroncladError as error:
            errors.append({"song": way.newest.song, **error_document(error)})
    installation.ledger.audit.write(
        "rollback", title, actor=installation.actor, detail=f"{len(added)} songs queued, {len(alone)} left alone"
    )
    if as_json:
        left = [way_document(way) for way in alone]
        print_json({"jobs": [job_document(job) for job in added], "left_alone": left, "errors": errors})
    else:
        _say_left_alone(alone)
        for one in errors:
            print(printable(f"not done: song {one['song']}: {one['code']}: {one['detail']}"))
        print(f"{len(added)} songs go back to what was before")
    end(Exit.REFUSED if errors else Exit.OK)


def _say_ways(ways: list[WayBack], *, as_json: bool) -> None:
    """Show what a rollback would do."""
    if as_json:
        print_json({"rollback": [way_document(way) for way in ways]})
        return
    for way in ways:
        if way.earlier is not None:
            name = display_name(way.newest.original_name)
            print(f"song {way.newest.song} ({name}) would go back to job {way.earlier.job_uuid[:SHORT_ID]}")
    _say_left_alone([way for way in ways if way.earlier is None])
    print(f"{sum(way.earlier is not None for way in ways)} songs would go back; nothing was done")


def _say_left_alone(ways: list[WayBack]) -> None:
    for way in ways:
        print(f"left alone: song {way.newest.song} ({display_name(way.newest.original_name)}) {way.reason}")


def _say_added(installation: Installation, added: Job, *, follow: bool, as_json: bool) -> None:
    """Tell of a new attempt, and follow it where that was asked for."""
    document: dict[str, Any] = {"job": job_document(added)}
    if as_json and not follow:
        print_json(document)
    elif not as_json:
        print(f"queued job {added.job_uuid} (attempt {added.attempt}) for {display_name(added.original_name)}")
    if follow:
        end(follow_jobs(installation.ledger, [added.job_uuid], as_json=as_json, console=open_console()))
