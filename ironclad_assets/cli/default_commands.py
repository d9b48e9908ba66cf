"""The commands about what a user wants by default: show, set, clear."""

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ironclad_assets.cli.arguments import AsJson, User
from ironclad_assets.cli.exits import door
from ironclad_assets.cli.installation import Installation, open_installation
from ironclad_assets.cli.installed_engines import engines_of
from ironclad_assets.cli.show import open_console, options_text, print_json
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
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.intake.choice import NOTHING, system_defaults
from ironclad_assets.intake.names import check_user, printable
from ironclad_assets.intake.options import change_options, check_options

Names = Annotated[
    list[str] | None,
    typer.Argument(help="Options to forget, such as engine or format; default: all.", metavar="[OPTION]..."),
]


def show_defaults(user: User = None, as_json: AsJson = False) -> None:
    """Show what a user wants by default, and what the system gives to who wants nothing.

    \b
    Examples:
      pipelinectl defaults show
      pipelinectl defaults show --user ada --json
    """
    with door(as_json=as_json):
        installation = open_installation()
        user_id = _user(installation, user)
        _print(installation, user_id, options=installation.ledger.user_defaults(user_id), as_json=as_json)


def set_defaults(
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
    as_json: AsJson = False,
) -> None:
    """Set what a user wants where a job names nothing else, dropped files included.

    It counts for every job that has not begun yet. What is not named here stays as it was,
    but for what belongs to another choice: parameters go with their model, a bit rate with its format.

    \b
    Examples:
      pipelinectl defaults set --engine demucs --preset best
      pipelinectl defaults set --user ada --format mp3 --bitrate 192 --stem none
    """
    with door(as_json=as_json):
        installation = open_installation()
        user_id = _user(installation, user)
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
        options = change_options(installation.ledger.user_defaults(user_id), change=wish)
        manifests = {name: engine.manifest for name, engine in engines_of(installation.settings).items()}
        # As the wish of a job: here everything that is named must be there.
        check_options(options, manifests, system=system_defaults(installation.settings))
        installation.ledger.set_user_defaults(user_id, options)
        _print(installation, user_id, options=options, as_json=as_json)


def clear_defaults(names: Names = None, user: User = None, as_json: AsJson = False) -> None:
    """Forget what a user wants by default, or some of it.

    \b
    Examples:
      pipelinectl defaults clear --user ada
      pipelinectl defaults clear format bitrate_kbps
    """
    with door(as_json=as_json):
        installation = open_installation()
        user_id = _user(installation, user)
        known = list(JobOptions.model_fields)
        for name in names or ():
            if name not in known:
                raise Refusal(f"{name!r} is no option, only {', '.join(known)}", code=ErrorCode.BAD_OPTION)
        kept = installation.ledger.user_defaults(user_id).named() if names else {}
        options = JobOptions.model_validate({name: value for name, value in kept.items() if name not in (names or ())})
        installation.ledger.set_user_defaults(user_id, options)
        _print(installation, user_id, options=options, as_json=as_json)


def _user(installation: Installation, user: str | None) -> str:
    """Return whose defaults are meant.

    Raises:
        Refusal: `BAD_USER`.
    """
    user_id = installation.settings.default_user if user is None else user
    check_user(user_id)
    return user_id


def _print(installation: Installation, user_id: str, *, options: JobOptions, as_json: bool) -> None:
    system = system_defaults(installation.settings)
    if as_json:
        document: dict[str, Any] = {"user": user_id, "defaults": options.named(), "system": system.named()}
        print_json(document)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("option", f"default of {user_id}", "default of the system"):
        table.add_column(heading)
    mine, others, contract = options_text(options), options_text(system), options_text(NOTHING, everything=True)
    for name in JobOptions.model_fields:
        given = others.get(name) or contract.get(name) or "the engine's"
        table.add_row(name, Text(printable(mine.get(name, ""))), Text(printable(given)))
    open_console().print(table)
