"""The commands about limits: show, set, clear; and what is used of them: usage."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from ironclad_assets.cli.arguments import AsJson
from ironclad_assets.cli.exits import door
from ironclad_assets.cli.installation import Installation, open_installation
from ironclad_assets.cli.quantities import bar_text, bytes_text, quantity_text, read_quantity
from ironclad_assets.cli.show import open_console, print_json
from ironclad_assets.contracts.v1.base import Contract
from ironclad_assets.contracts.v1.limits import LIMITS, LimitScope, Role, Usage
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.intake.names import check_user
from ironclad_assets.ledger.usage import warn_near
from ironclad_assets.upkeep.recount import recount

UserOption = Annotated[str | None, typer.Option(help="The limits of this user.", show_default=False, metavar="USER")]
RoleOption = Annotated[
    Role | None, typer.Option(help="Those of users of this role: admin, member or guest.", metavar="ROLE")
]
SystemOption = Annotated[bool, typer.Option("--system", help="Those of the whole installation.")]
_SET_FOR = {
    None: "nobody",
    LimitScope.USER: "the user",
    LimitScope.ROLE: "the role",
    LimitScope.SYSTEM: "everybody",
}
"""Whom a limit was set for; where it was for nobody, it follows from the settings."""

LimitName = Annotated[str, typer.Argument(help=f"One of {', '.join(LIMITS)}.", metavar="NAME")]


def show_limits(user: UserOption = None, as_json: AsJson = False) -> None:
    """Show every limit: of the roles and of the installation, or all that hold for one user.

    A user's own limit overrules that of the role, which overrules the settings.

    \b
    Examples:
      pipelinectl limits show
      pipelinectl limits show --user ada --json
    """
    with door(as_json=as_json):
        installation = open_installation()
        if user is None:
            _show_all(installation, as_json=as_json)
        else:
            check_user(user)
            _show_user(installation, user, as_json=as_json)


def set_limit(
    name: LimitName,
    value: Annotated[
        str, typer.Argument(help="A number such as 20G, 90m or 30; types with commas; or none.", metavar="VALUE")
    ],
    user: UserOption = None,
    role: RoleOption = None,
    system: SystemOption = False,
    as_json: AsJson = False,
) -> None:
    """Set one limit of a user, a role or the whole installation. It holds at once.

    \b
    Examples:
      pipelinectl limits set stored_bytes 20G --user ada
      pipelinectl limits set songs_per_day 50 --role guest
      pipelinectl limits set types flac,wav --role guest
      pipelinectl limits set concurrent_jobs 4 --system
      pipelinectl limits set keep_stems_days 30 --system
    """
    with door(as_json=as_json):
        scope, subject = _read_subject(user, role=role, system=system)
        if name not in LIMITS:
            raise Refusal(f"{name!r} is no limit, only {', '.join(LIMITS)}", code=ErrorCode.BAD_OPTION)
        wanted = read_quantity(value, unit=LIMITS[name].unit)
        installation = open_installation()
        installation.ledger.limits.set(scope, subject, name, wanted, actor=installation.actor)
        if as_json:
            print_json({"limit": {"scope": scope.value, "subject": subject, "name": name, "value": wanted}})
        else:
            print(f"{name} of {_title(scope, subject)} is {quantity_text(wanted, unit=LIMITS[name].unit)}")


def clear_limit(
    name: Annotated[str | None, typer.Argument(help="Which; default: all that were set.", metavar="NAME")] = None,
    user: UserOption = None,
    role: RoleOption = None,
    system: SystemOption = False,
    as_json: AsJson = False,
) -> None:
    """Forget a limit that was set, so that what it overruled holds again.

    \b
    Examples:
      pipelinectl limits clear stored_bytes --user ada
      pipelinectl limits clear --role guest
    """
    with door(as_json=as_json):
        scope, subject = _read_subject(user, role=role, system=system)
        if name is not None and name not in LIMITS:
            raise Refusal(f"{name!r} is no limit, only {', '.join(LIMITS)}", code=ErrorCode.BAD_OPTION)
        installation = open_installation()
        cleared = installation.ledger.limits.clear(scope, subject, name, actor=installation.actor)
        if as_json:
            print_json({"cleared": cleared})
        else:
            print(f"{cleared} limits of {_title(scope, subject)} cleared")


def usage(
    user: Annotated[
        str | None, typer.Option(help="Of this user; default: of all.", show_default=False, metavar="USER")
    ] = None,
    again: Annotated[
        bool, typer.Option("--recount", help="First count again what the store holds; do it while nothing runs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is used of the limits: bytes stored, songs and minutes of the last 24 hours, running jobs.

    \b
    Examples:
      pipelinectl usage
      pipelinectl usage --user ada --json
    """
    with door(as_json=as_json):
        installation = open_installation()
        if user is not None:
            check_user(user)
        corrected = _recount(installation, as_json=as_json) if again else None
        subjects = [one.user_id for one in installation.ledger.users.list()] if user is None else [user]
        documents = [_usage_document(installation, one) for one in (*([None] if user is None else []), *subjects)]
        if as_json:
            print_json({"usage": documents, **({} if corrected is None else {"corrected": corrected})})
            return
        if corrected is not None:
            print(f"{corrected} entries of the account were corrected")
        console = open_console()
        for document in documents:
            _print_usage(console, document)


def _recount(installation: Installation, *, as_json: bool) -> int:
    with Progress(disable=as_json, transient=True) as progress:
        task = progress.add_task("songs counted", total=None)
        return recount(
            installation.ledger, store=installation.store, progress=lambda done: progress.update(task, completed=done)
        )


def _usage_document(installation: Installation, user_id: str | None) -> dict[str, Any]:
    """Return what a user, or the installation, uses of which limits."""
    ledger = installation.ledger
    used = ledger.usage.system() if user_id is None else ledger.usage.of(user_id)
    limits: Contract = ledger.limits.system() if user_id is None else ledger.limits.effective(user_id)
    whose = "the installation" if user_id is None else f"user {user_id!r}"
    counted = used.model_dump(mode="json")
    return {
        "user": user_id,
        "used": counted,
        "limits": {name: getattr(limits, name, None) for name in counted},
        "warnings": warn_near(used, limits, whose=whose),  # type: ignore[arg-type]
    }


def _print_usage(console: Console, document: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=False)
    for _ in range(3):
        table.add_column()
    for name in Usage.model_fields:
        used, most, unit = document["used"][name], document["limits"][name], LIMITS[name].unit
        shown = bytes_text(used) if unit == "bytes" else f"{used:,g}"
        if most is None:
            table.add_row(f"  {name}", shown, "no limit")
        else:
            # As Text: rich would read the bar's brackets as markup.
            table.add_row(f"  {name}", f"{shown} of {quantity_text(most, unit=unit)}", Text(bar_text(used, most=most)))
    console.print(document["user"] or "all together", style="bold", markup=False, highlight=False)
    console.print(table, highlight=False)
    for line in document["warnings"]:
        console.print(f"  near its limit: {line}", markup=False, highlight=False, soft_wrap=True)


def _show_user(installation: Installation, user: str, *, as_json: bool) -> None:
    role, limits, sources = installation.ledger.limits.explain(user)
    if as_json:
        said = {name: scope.value for name, scope in sources.items()}
        print_json({"user": user, "role": role.value, "limits": limits.model_dump(mode="json"), "set_for": said})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("limit", f"of {user} ({role.value})", "set for", "what it limits"):
        table.add_column(heading, no_wrap=heading == "limit")
    for name, facts in LIMITS.items():
        source = sources.get(name)
        table.add_row(
            name,
            quantity_text(getattr(limits, name), unit=facts.unit),
            "the settings"
            if source is None
            else {LimitScope.USER: "the user", LimitScope.ROLE: "the role"}.get(source, "all"),
            facts.meaning,
        )
    open_console().print(table, highlight=False)


def _show_all(installation: Installation, *, as_json: bool) -> None:
    limits = installation.ledger.limits
    roles = {role.value: limits.of_role(role) for role in Role}
    system, rows = limits.system(), limits.rows()
    mine = [row for row in rows if row.scope is LimitScope.USER]
    if as_json:
        found = {name: one.model_dump(mode="json") for name, one in roles.items()}
        own = [{"user": row.subject, "name": row.name, "value": row.value} for row in mine]
        print_json({"roles": found, "system": system.model_dump(mode="json"), "users": own})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("limit", *roles, "all together"):
        table.add_column(heading, no_wrap=heading == "limit")
    for name, facts in LIMITS.items():
        values = [quantity_text(getattr(one, name), unit=facts.unit) for one in roles.values()]
        total = quantity_text(getattr(system, name), unit=facts.unit) if name in type(system).model_fields else ""
        table.add_row(name, *values, total)
    console = open_console()
    console.print(table, highlight=False)
    for row in mine:
        value = quantity_text(row.value, unit=LIMITS[row.name].unit)
        console.print(f"user {row.subject}: {row.name} {value}", markup=False, highlight=False)


def _read_subject(user: str | None, *, role: Role | None, system: bool) -> tuple[LimitScope, str]:
    """Return whose limit is meant.

    Raises:
        Refusal: `BAD_OPTION`: not exactly one was named; `BAD_USER`.
    """
    if (user is not None) + (role is not None) + system != 1:
        raise Refusal("name one of --user, --role and --system", code=ErrorCode.BAD_OPTION)
    if user is not None:
        check_user(user)
        return LimitScope.USER, user
    return (LimitScope.ROLE, role.value) if role is not None else (LimitScope.SYSTEM, "")


def _title(scope: LimitScope, subject: str) -> str:
    return "the installation" if scope is LimitScope.SYSTEM else f"{scope.value} {subject}"
