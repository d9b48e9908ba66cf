"""The commands about users: list, add, role, disable, enable; and about the terms: show, list, accept."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ironclad_assets.cli.arguments import AsJson
from ironclad_assets.cli.arguments import User as UserOption
from ironclad_assets.cli.exits import door
from ironclad_assets.cli.installation import open_installation
from ironclad_assets.cli.quantities import bytes_text
from ironclad_assets.cli.show import open_console, print_json
from ironclad_assets.contracts.v1.limits import Role, User
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.intake.names import check_user, printable

MOST_TEXT_BYTES = 1_000_000
"""Longest text of terms that is printed."""

UserName = Annotated[str, typer.Argument(help="1 to 64 of a-z, 0-9, hyphen and underscore.", metavar="USER")]
RoleName = Annotated[Role, typer.Argument(help="admin, member or guest.", metavar="ROLE")]


def list_users(as_json: AsJson = False) -> None:
    """List the users with their roles, and what they store.

    \b
    Example:
      pipelinectl users list --json
    """
    with door(as_json=as_json):
        installation = open_installation()
        users = installation.ledger.users.list()
        if as_json:
            print_json({"users": [user.model_dump(mode="json") for user in users]})
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("user", "role", "state", "stored", "since"):
            table.add_column(heading)
        for user in users:
            state = "disabled" if user.disabled else "enabled"
            table.add_row(user.user_id, user.role.value, state, bytes_text(user.stored_bytes), user.created_at[:10])
        open_console().print(table if users else Text("there are no users yet"))


def add_user(
    user: UserName,
    role: Annotated[Role, typer.Option(help="admin, member or guest.", metavar="ROLE")] = Role.MEMBER,
    as_json: AsJson = False,
) -> None:
    """Make a user, or give one who is there the role.

    Users are also made when they are seen for the first time, unless IRONCLAD_UNKNOWN_USERS is closed.

    \b
    Examples:
      pipelinectl users add ada
      pipelinectl users add visitor --role guest
    """
    with door(as_json=as_json):
        check_user(user)
        installation = open_installation()
        _say(installation.ledger.users.add(user, role=role, actor=installation.actor), as_json=as_json)


def change_role(user: UserName, role: RoleName, as_json: AsJson = False) -> None:
    """Give a user another role, and so other limits.

    \b
    Example:
      pipelinectl users role ada admin
    """
    with door(as_json=as_json):
        installation = open_installation()
        _say(installation.ledger.users.set_role(user, role, actor=installation.actor), as_json=as_json)


def disable_user(user: UserName, as_json: AsJson = False) -> None:
    """Take nothing more in from a user. Files that are dropped wait in the upload folder; jobs go on.

    \b
    Example:
      pipelinectl users disable ada
    """
    with door(as_json=as_json):
        installation = open_installation()
        _say(installation.ledger.users.set_disabled(user, True, actor=installation.actor), as_json=as_json)


def enable_user(user: UserName, as_json: AsJson = False) -> None:
    """Take in from a user again; what waits in the upload folder is taken by itself.

    \b
    Example:
      pipelinectl users enable ada
    """
    with door(as_json=as_json):
        installation = open_installation()
        _say(installation.ledger.users.set_disabled(user, False, actor=installation.actor), as_json=as_json)


def show_terms(as_json: AsJson = False) -> None:
    """Show the current terms: their version, where they are, and the text if it is a file here.

    \b
    Example:
      pipelinectl terms show
    """
    with door(as_json=as_json):
        settings = open_installation().settings
        text = _read_terms(settings.terms_url)
        if as_json:
            print_json({"version": settings.terms_version, "url": settings.terms_url, "text": text})
        elif settings.terms_version is None:
            print("there are no terms; set IRONCLAD_TERMS_VERSION to have some")
        else:
            print(f"version {settings.terms_version}" + (f", {settings.terms_url}" if settings.terms_url else ""))
            if text:
                print("\n".join(printable(line) for line in text.splitlines()))


def list_acceptances(user: UserOption = None, as_json: AsJson = False) -> None:
    """List who accepted which version of the terms, and when; the latest first.

    \b
    Examples:
      pipelinectl terms list
      pipelinectl terms list --user ada --json
    """
    with door(as_json=as_json):
        found = open_installation().ledger.terms.acceptances(user)
        if as_json:
            print_json({"acceptances": [one.model_dump(mode="json") for one in found]})
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("user", "version", "accepted at", "by"):
            table.add_column(heading)
        for one in found:
            table.add_row(one.user_id, one.version, one.at[:19], Text(printable(one.actor)))
        open_console().print(table if found else Text("nobody has accepted any terms"))


def accept_terms(
    user: UserOption = None,
    version: Annotated[
        str | None, typer.Option(help="Version that was accepted; default: the current one.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Record that a user accepted the terms. Jobs that were held for them go on by themselves.

    \b
    Examples:
      pipelinectl terms accept --user ada
      pipelinectl terms accept --user ada --version 2026-11
    """
    with door(as_json=as_json):
        installation = open_installation()
        user_id = installation.settings.default_user if user is None else user
        check_user(user_id)
        wanted = version or installation.settings.terms_version
        if wanted is None:
            raise Refusal("there are no terms; set IRONCLAD_TERMS_VERSION", code=ErrorCode.BAD_OPTION)
        accepted = installation.ledger.terms.accept(user_id, wanted, actor=installation.actor)
        if as_json:
            print_json({"acceptance": accepted.model_dump(mode="json")})
        else:
            print(f"user {accepted.user_id} accepted version {accepted.version} of the terms at {accepted.at[:19]}")


def _read_terms(place: str | None) -> str | None:
    """Return the text of terms that are a file on this machine."""
    if place is None or "://" in place:
        return None
    try:
        with Path(place).expanduser().open("rb") as file:
            return file.read(MOST_TEXT_BYTES).decode("utf-8", errors="replace")
    except OSError as error:
        raise Refusal(f"the terms {place!r}: {error.strerror}", code=ErrorCode.UNREADABLE) from error


def _say(user: User, *, as_json: bool) -> None:
    document: dict[str, Any] = user.model_dump(mode="json")
    if as_json:
        print_json({"user": document})
    else:
        print(f"user {user.user_id} is {user.role.value}" + (", disabled" if user.disabled else ""))
