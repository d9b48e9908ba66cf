"""The commands that look after the store: prune lets go of what is not needed, verify reads everything again."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ironclad_assets.cli.arguments import AsJson
from ironclad_assets.cli.exits import Exit, door, end, error_document
from ironclad_assets.cli.installation import open_installation
from ironclad_assets.cli.show import open_console, print_json
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.intake.names import printable
from ironclad_assets.upkeep.findings import Finding
from ironclad_assets.upkeep.prune.plan import Kind, Removal
from ironclad_assets.upkeep.prune.sweep import ALL_KINDS, Sweep, Swept
from ironclad_assets.upkeep.verify.verification import Part, Verification, Verified

TELL_S = 0.2
MOST_FINDINGS = 100

_GIGABYTE = 1e9

Kinds = Annotated[
    list[Kind] | None,
    typer.Option("--kind", help="Only this kind; give it again for more. Default: all.", show_default=False),
]
User = Annotated[str | None, typer.Option(help="Only what belongs to this user.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would go; nothing is touched.")]
Confirm = Annotated[
    bool,
    typer.Option(
        "--confirm", help="Sweep though it takes more than its share of the store, or the clock looks doubtful."
    ),
]
Limit = Annotated[int, typer.Option(min=0, help="How many lines to show on a terminal; 0 for all.")]
OneSong = Annotated[
    str | None, typer.Argument(help="A song or job id; default: everything.", metavar="[SONG]", show_default=False)
]
Subset = Annotated[
    str | None,
    typer.Option(help="Read part N of T parts of the store, such as 1/4.", metavar="N/T", show_default=False),
]


def prune(
    kind: Kinds = None,
    user: User = None,
    dry_run: DryRun = False,
    confirm: Confirm = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Let go of what is not needed any more: left-over, orphaned, intermediate, damaged and old files.

    Nothing that an active job needs is touched, and nothing at all while the storage is away. Orphaned and damaged
    files are moved to orphaned/ and stay there for some days. See docs/upkeep.md.

    \b
    Examples:
      pipelinectl prune --dry-run
      pipelinectl prune --kind intermediate --kind partial
      pipelinectl prune --kind old --user ada --confirm --json
    """
    with door(as_json=as_json):
        installation = open_installation()
        with _progress() as say:
            sweep = Sweep(
                store=installation.store,
                ledger=installation.ledger,
                settings=installation.settings,
                actor=installation.actor,
                kinds=frozenset(kind) if kind else ALL_KINDS,
                user_id=user,
                confirmed=confirm,
                tell=lambda step, done: say(f"{done} things {step}"),
            )
            if dry_run:
                with sweep.plan() as (swept, removals):
                    _show_plan(swept, removals, limit=limit, as_json=as_json)
                return
            swept = sweep.run()
        if as_json:
            print_json(_swept_document(swept))
        else:
            _show_swept(swept)
        if swept.refusal is not None:
            raise swept.refusal


def verify(song: OneSong = None, subset: Subset = None, as_json: AsJson = False) -> None:
    """Read every byte of the store again and compare it with manifests, names and the ledger.

    Ends with an exit code other than 0 where something is wrong, and says what mends it. Songs that are being worked
    on are left for the next time.

    \b
    Examples:
      pipelinectl verify
      pipelinectl verify --subset 1/4
      pipelinectl verify 3f2a91c0 --json
    """
    with door(as_json=as_json):
        part = _read_part(subset)
        installation = open_installation()
        with _progress() as say:
            verified = Verification(
                store=installation.store,
                ledger=installation.ledger,
                settings=installation.settings,
                part=part,
                song=None if song is None else installation.ledger.resolve(song).song,
                tell=lambda so_far: say(f"{so_far.songs} songs, {so_far.bytes_read / _GIGABYTE:.2f} GB read"),
            ).run()
        if as_json:
            print_json(_verified_document(verified))
        else:
            _show_verified(verified)
        end(Exit.UNHEALTHY if verified.found else Exit.OK)


def _read_part(subset: str | None) -> Part:
    """Return the part that ``N/T`` names.

    Raises:
        Refusal: `BAD_OPTION`.
    """
    if subset is None:
        return Part()
    number, _, parts = subset.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts) <= 100_000):
        raise Refusal(f"--subset: {subset!r} is not N/T with N from 1 to T", code=ErrorCode.BAD_OPTION)
    return Part(int(number), int(parts))


def _show_plan(swept: Swept, removals: Iterable[Removal], *, limit: int, as_json: bool) -> None:
    """Print the plan as it is read, so that its length does not matter."""
    if as_json:
        print('{"removals": [')
        for number, one in enumerate(removals):
            print(f"{',' if number else ''}{json.dumps({**asdict(one), 'paths': one.paths})}")
        document = {**_swept_document(swept), "dry_run": True}
        print(f"], {json.dumps(document)[1:]}")
        return
    shown = 0
    for one in removals:
        shown += 1
        if limit and shown > limit:
            continue
        for path in one.paths:
            print(printable(f"{one.kind:<12} {one.how:<6} {one.base}:{path}  ({one.why})"))
    if limit and shown > limit:
        print(f"... and {shown - limit} more; --limit 0 shows all")
    print(_summary(swept.planned, swept.bytes_planned, words="would go"))
    if swept.refusal is not None:
        said = "this would be left" if swept.left else "the sweep would be refused"
        print(printable(f"without --confirm {said}: {swept.refusal.describe()}"))
    _show_left(swept)


def _show_swept(swept: Swept) -> None:
    print(_summary(swept.removed, swept.bytes_removed, words="gone"))
    _show_left(swept)


def _show_left(swept: Swept) -> None:
    for why, count in sorted(swept.skipped.items()):
        print(printable(f"{count} left: {why}"))
    for user_id, size_bytes in swept.left.most_common():
        print(printable(f"left without --confirm: {size_bytes / 1e6:.1f} MB of {user_id or 'nobody'}"))


def _summary(files: dict[str, int], sizes: dict[str, int], *, words: str) -> str:
    parts = [f"{Kind(kind)}: {files[kind]} files, {sizes[kind] / 1e6:.1f} MB" for kind in sorted(files)]
    total = f"{sum(files.values())} files, {sum(sizes.values()) / 1e6:.1f} MB {words}"
    return f"{total} ({'; '.join(parts)})" if parts else f"nothing {words}"


def _swept_document(swept: Swept) -> dict[str, Any]:  # any JSON value
    """Return what a sweep came to, as JSON shows it."""
    return {
        "planned": {Kind(kind).value: count for kind, count in swept.planned.items()},
        "planned_bytes": {Kind(kind).value: size for kind, size in swept.bytes_planned.items()},
        "removed": {Kind(kind).value: count for kind, count in swept.removed.items()},
        "removed_bytes": {Kind(kind).value: size for kind, size in swept.bytes_removed.items()},
        "skipped": dict(swept.skipped),
        "left_bytes": dict(swept.left),
        "store_bytes": swept.store_bytes,
        "refusal": None if swept.refusal is None else error_document(swept.refusal),
    }


def _verified_document(verified: Verified) -> dict[str, Any]:  # any JSON value
    return {
        "well": not verified.found,
        "found": verified.found,
        "songs": verified.songs,
        "busy": verified.busy,
        "findings": [asdict(one) for one in verified.findings],
    }


def _show_verified(verified: Verified) -> None:
    if verified.findings:
        open_console().print(_finding_table(verified.findings[:MOST_FINDINGS]))
    if verified.found > MOST_FINDINGS:
        print(f"... and {verified.found - MOST_FINDINGS} more; --json shows {len(verified.findings)}")
    busy = f", {verified.busy} left because they are worked on" if verified.busy else ""
    print(f"{verified.songs} songs looked at{busy}; {verified.found} findings")


def _finding_table(findings: list[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    for one in findings:
        said = f"{one.path}: {one.detail}; {one.remedy}"
        table.add_row(Text(one.code, style="red"), Text(printable(said), overflow="fold"))
    return table


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Give a function that tells how far the work is, on a terminal, at most five times a second."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    told_s = 0.0
    with Console(stderr=True).status("looking") as status:

        def say(text: str) -> None:
            nonlocal told_s
            if time.monotonic() - told_s >= TELL_S:
                told_s = time.monotonic()
                status.update(text)

        yield say
