"""What a command is about: everything, a stage, an engine or a user; and since when."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from ironclad_assets.cli.installation import Installation
from ironclad_assets.cli.installed_engines import engine_of
from ironclad_assets.contracts.v1.job import STAGES
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.intake.names import check_user
from ironclad_assets.ledger.pauses import PauseKind, check_subject

StageOption = Annotated[
    str | None, typer.Option("--stage", help=f"One stage: {', '.join(STAGES)}.", metavar="STAGE", show_default=False)
]
EngineOption = Annotated[
    str | None,
    typer.Option("--engine", help="One engine; see `pipelinectl engines list`.", metavar="ENGINE", show_default=False),
]
UserOption = Annotated[str | None, typer.Option("--user", help="One user.", metavar="USER", show_default=False)]

_UNITS_S = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def read_selection(
    *, everything: bool, stage: str | None, engine: str | None, user: str | None
) -> tuple[PauseKind, str]:
    """Return what was chosen; nothing named means everything.

    Raises:
        Refusal: `BAD_OPTION`: several were named, or there is no such stage; `BAD_USER`.
    """
    named = [
        (kind, subject)
        for kind, subject in ((PauseKind.STAGE, stage), (PauseKind.ENGINE, engine), (PauseKind.USER, user))
        if subject is not None
    ]
    if len(named) + everything > 1:
        raise Refusal("choose one of --all, --stage, --engine and --user", code=ErrorCode.BAD_OPTION)
    kind, subject = named[0] if named else (PauseKind.ALL, "")
    if kind is PauseKind.USER:
        check_user(subject)
    check_subject(kind, subject)
    return kind, subject


def check_known(installation: Installation, kind: PauseKind, subject: str) -> None:
    """Refuse an engine that is not installed here, naming those that are.

    Raises:
        Refusal: `UNKNOWN_ENGINE`.
    """
    if kind is PauseKind.ENGINE:
        engine_of(installation.settings, subject)


def read_time(text: str) -> str:
    """Return the time that people mean by ``2h``, ``3d`` or ``2026-11-20 18:00`` (local), as the ledger writes times.

    Raises:
        Refusal: `BAD_OPTION`.
    """
    ago = re.fullmatch(r"(\d{1,6})([mhdw])", text.strip())
    try:
        if ago is not None:
            at = datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _UNITS_S[ago[2]])
        else:
            at = datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        why = "is neither a time such as 2026-11-20T18:00 nor an age such as 90m, 2h, 3d or 1w"
        raise Refusal(f"{text!r} {why}", code=ErrorCode.BAD_OPTION) from error
    return at.isoformat(timespec="microseconds")
