"""The commands that delete for good: delete-song, delete-user, and receipts, the proof."""

import subprocess
import sys
import time
from contextlib import suppress
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ironclad_assets.cli.arguments import AsJson, JobName
from ironclad_assets.cli.exits import Exit, door, end
from ironclad_assets.cli.installation import Installation, open_installation
from ironclad_assets.cli.show import open_console, print_json
from ironclad_assets.errors import StorageUnavailable
from ironclad_assets.intake.names import check_user, printable
from ironclad_assets.ledger.deletions import Deletion
from ironclad_assets.supervisor.erasing import start_eraser
from ironclad_assets.upkeep.erase.store import erase_uploads_of
from ironclad_assets.upkeep.erase.tally import Tally
from ironclad_assets.upkeep.reachable import require_reachable
from ironclad_assets.upkeep.running import is_system_running

WAIT_S = 600.0
"""How long a command waits for a deletion; what is not done by then goes on without it."""

LOOK_S = 0.5
END_S = 20.0
TELL_S = 10.0

RECEIPT = 36
"""Characters of a receipt, which is shown whole."""

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Only ask for it; the running system does it within minutes.")]
UserName = Annotated[str, typer.Argument(help="The user.", metavar="USER", show_default=False)]
Receipt = Annotated[
    str | None,
    typer.Argument(help="A receipt, or the first characters of one; default: the latest.", metavar="[RECEIPT]"),
]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many to list.")]


def delete_song(song: JobName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Delete a song for good: upload, results, library files, records, logs. It cannot be undone.

    A job of the song that runs is stopped first. Backups keep the song until they expire, and a restore deletes it
    again. The receipt that is printed proves the deletion and names nothing; keep it.

    \b
    Examples:
      pipelinectl delete-song 3f2a9c41
      pipelinectl delete-song s06e3zk9v1xy0qj4m7r2t8w5bcd --yes --json
    """
    with door(as_json=as_json):
        installation = open_installation()
        chosen = installation.ledger.resolve(song)
        if not yes:
            asked = f"Delete {printable(chosen.original_name)!r} of {chosen.user_id} and everything made from it?"
            typer.confirm(asked, abort=True, err=True)
        deletion = installation.ledger.deletions.request_song(chosen.song, actor=installation.actor)
        _carry_out(installation, deletion, no_wait=no_wait, as_json=as_json)


def delete_user(user: UserName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Delete a user for good, with every song, upload, setting and record. It cannot be undone.

    What comes under the same name afterwards belongs to a new user. The receipt that is printed proves the deletion
    and names nobody; keep it.

    \b
    Examples:
      pipelinectl delete-user ada
      pipelinectl delete-user ada --yes --no-wait
    """
    with door(as_json=as_json):
        installation = open_installation()
        check_user(user)
        if not yes:
            typer.confirm(f"Delete the user {user} and everything that is theirs?", abort=True, err=True)
        folder = installation.store.input / user
        known = folder.is_dir() and not folder.is_symlink()
        deletion = installation.ledger.deletions.request_user(user, actor=installation.actor, known=known)
        _drop_uploads(installation, user, deletion=deletion)
        _carry_out(installation, deletion, no_wait=no_wait, as_json=as_json)


def receipts(receipt: Receipt = None, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Show deletions: when each was asked for and by whom, when it ended, and how much went.

    A receipt never tells what it was about.

    \b
    Examples:
      pipelinectl receipts
      pipelinectl receipts 7d0c --json
    """
    with door(as_json=as_json):
        deletions = open_installation().ledger.deletions
        found = deletions.receipts(limit=limit) if receipt is None else [deletions.receipt(receipt)]
        if as_json:
            documents = [receipt_document(one) for one in found]
            print_json({"receipts": documents} if receipt is None else documents[0])
        elif receipt is not None:
            _say_receipt(found[0])
        else:
            _print_table(found)


def receipt_document(deletion: Deletion) -> dict[str, Any]:
    """Return a deletion as JSON shows it; what it is about is left out, also while it is still known."""
    return {
        "receipt": deletion.receipt,
        "kind": deletion.kind,
        "state": deletion.state,
        "requested_at": deletion.requested_at,
        "requested_by": deletion.actor,
        "completed_at": deletion.completed_at,
        "removed": {kind: dict(counts) for kind, counts in (deletion.removed or {}).items()},
    }


def _drop_uploads(installation: Installation, user: str, *, deletion: Deletion) -> None:
    """Remove what waits in the user's upload folder before it is taken in; the eraser looks again and counts."""
    try:
        require_reachable(installation.store)
    except StorageUnavailable:
        return  # nothing can be taken in meanwhile either
    settings = installation.settings
    erase_uploads_of(installation.store, user, deletion=deletion, default_user=settings.default_user, tally=Tally())


def _carry_out(installation: Installation, deletion: Deletion, *, no_wait: bool, as_json: bool) -> None:
    """Wait until the deletion is done, by the running system or by a process of our own, and show the receipt."""
    if not no_wait:
        if not as_json:
            print(f"receipt {deletion.receipt}; deleting", file=sys.stderr, flush=True)
        deletion = _wait(installation, deletion)
    if as_json:
        print_json(receipt_document(deletion))
    else:
        _say_receipt(deletion)
    end(Exit.OK if deletion.done or no_wait else Exit.UNHEALTHY)


def _wait(installation: Installation, deletion: Deletion) -> Deletion:
    """Return the deletion when it is done, or when nobody is at it any more, or the time is up."""
    process = None if is_system_running(installation.settings) else start_eraser(installation.settings)
    deadline, told = time.monotonic() + WAIT_S, time.monotonic()
    ended = False
    while True:
        known = installation.ledger.deletions.receipt(deletion.receipt)
        if known.done or ended or time.monotonic() >= deadline:
            break
        ended = process is not None and process.poll() is not None
        if time.monotonic() - told >= TELL_S:
            told = time.monotonic()
            print("still deleting; it goes on when you press Ctrl-C", file=sys.stderr, flush=True)
        time.sleep(LOOK_S)
    if process is not None and known.done:
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)  # it has only to close its files
    return known


def _say_receipt(deletion: Deletion) -> None:
    ended = f"done at {deletion.completed_at}" if deletion.done else "not done yet; it goes on by itself"
    print(
        f"receipt {deletion.receipt}: a {deletion.kind}, asked at {deletion.requested_at} by {deletion.actor}, {ended}"
    )
    for kind, counts in (deletion.removed or {}).items():
        size = f", {counts['bytes']} bytes" if counts.get("bytes") else ""
        print(f"  {kind.replace('_', ' ')}: {counts['count']}{size}")


def _print_table(found: list[Deletion]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("receipt", "kind", "state", "asked", "by", "done", "things"):
        table.add_column(heading, no_wrap=heading == "receipt", min_width=RECEIPT if heading == "receipt" else None)
    for one in found:
        things = sum(counts.get("count", 0) for counts in (one.removed or {}).values())
        ended = (one.completed_at or "")[:19]
        row = (one.receipt, one.kind, one.state, one.requested_at[:19], printable(one.actor), ended, str(things))
        table.add_row(*(Text(cell) for cell in row))
    open_console().print(table if found else "nothing was ever deleted here")
