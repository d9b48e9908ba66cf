"""The command that hands in songs, `submit`: what is refused before a file is read, and each file by itself."""

import os
import sys
from pathlib import Path
from typing import Any

from ironclad_assets.cli.arguments import AsJson, Files, Follow, Priority, User
from ironclad_assets.cli.exits import Exit, MissingFile, door, end, error_document, exit_code, say_error
from ironclad_assets.cli.follow import follow_jobs
from ironclad_assets.cli.installation import Installation, open_installation
from ironclad_assets.cli.installed_engines import check_options
from ironclad_assets.cli.show import SHORT_ID, job_document, open_console, print_json, print_json_line
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
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError, Refusal
from ironclad_assets.intake.names import display_name, printable
from ironclad_assets.intake.options import change_options
from ironclad_assets.intake.upload import take_file
from ironclad_assets.ledger.queue import check_priority
from ironclad_assets.ledger.registration import Registration

LONGEST_SHOWN = 200
"""Characters of a path that an error repeats."""


def submit(
    files: Files,
    user: User = None,
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
    priority: Priority = 0,
    follow: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Hand in songs. The files are copied and stay where they are.

    What is not named follows from the user's defaults (see `pipelinectl defaults`), else the system's.

    \b
    Examples:
      pipelinectl submit song.flac
      pipelinectl submit song.flac --engine demucs --preset best --stem vocals --stem drums --residual
      pipelinectl submit song.flac --engine demucs --model htdemucs --parameter shifts=2
      pipelinectl submit song.flac --format opus --bitrate 160
      pipelinectl submit *.mp3 --user ada --targets instrumental,vocals --format mp3 --follow
    """
    with door(as_json=as_json):
        check_priority(priority)
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
        options = _check_wish(installation, wish, user=user, priority=priority)
        taken: list[Registration] = []
        errors: list[dict[str, str]] = []
        worst = Exit.OK
        for path in files:
            try:
                registration = _submit_one(installation, path, user_id=user, options=options, priority=priority)
            except IroncladError as error:
                worst = max(worst, exit_code(error))
                errors.append({"file": display_name(path.name), **error_document(error)})
                if not as_json:
                    say_error(error, as_json=False)
                elif follow:
                    print_json_line({"error": errors[-1]})
                continue
            taken.append(registration)
            worst = max(worst, Exit.REFUSED) if registration.duplicate else worst
            if not as_json:
                _say_taken(registration)
            elif follow:
                print_json_line({"job": _taken_document(registration)})
        if as_json and not follow:
            print_json({"jobs": [_taken_document(one) for one in taken], "errors": errors})
        if follow and taken:
            ids = [registration.job.job_uuid for registration in taken]
            worst = max(worst, follow_jobs(installation.ledger, ids, as_json=as_json, console=open_console()))
        end(worst)


def _check_wish(installation: Installation, wish: JobOptions, *, user: str | None, priority: int) -> JobOptions:
    """Return the options to submit with, after everything that can be refused before a file is read."""
    check_priority(priority)
    options = change_options(JobOptions(), change=wish)
    check_options(installation, options, user_id=installation.settings.default_user if user is None else user)
    return options


def _submit_one(
    installation: Installation, path: Path, *, user_id: str | None, options: JobOptions, priority: int
) -> Registration:
    """Copy one file in; a link is followed, for it is the user's own choice.

    Raises:
        MissingFile: there is none of that name.
        Refusal: `UNREADABLE`, naming why; or what the door refuses.
    """
    shown = _cut(printable(str(path)))
    try:
        source = Path(os.path.realpath(path, strict=True))
        if source.is_dir():
            raise Refusal(f"{shown!r} is a folder; name its files", code=ErrorCode.UNREADABLE)
        return take_file(
            source,
            ledger=installation.ledger,
            store=installation.store,
            settings=installation.settings,
            user_id=installation.settings.default_user if user_id is None else user_id,
            options=options,
            door="cli",
            original_name=path.name,
            keep_source=True,
            actor=installation.actor,
            priority=priority,
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFile(f"there is no file {shown!r}") from error
    except OSError as error:  # what the store cannot do has a code of its own by now: this is about the file
        raise Refusal(f"{shown!r}: {error.strerror}", code=ErrorCode.UNREADABLE) from error


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _taken_document(registration: Registration) -> dict[str, Any]:
    """Return the job as JSON shows it, with whether the song was there before."""
    warnings = {"warnings": list(registration.warnings)} if registration.warnings else {}
    return {**job_document(registration.job), "duplicate": registration.duplicate, **warnings}


def _say_taken(registration: Registration) -> None:
    job = registration.job
    name = display_name(job.original_name)
    if registration.duplicate:
        code = ErrorCode.DUPLICATE
        print(
            f"{code.code}: {name} is song {job.song}, job {job.job_uuid[:SHORT_ID]}, {job.state}; {code.facts.remedy}"
        )
        return
    waits = "" if job.error is None else f"; {printable(job.error.detail)}; {job.error.remedy}"
    print(f"{job.state} {name} as job {job.job_uuid}, song {job.song}{waits}")
    for line in registration.warnings:
        print(f"near a limit: {line}", file=sys.stderr)
