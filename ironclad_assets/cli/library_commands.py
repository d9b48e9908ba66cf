"""The commands about the media library: preview what its paths would be, and move what is there to them."""

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ironclad_assets.cli.arguments import AsJson
from ironclad_assets.cli.exits import Exit, door, end
from ironclad_assets.cli.installation import Installation, open_installation
from ironclad_assets.cli.library_show import draw_moves, draw_tree, entry_document
from ironclad_assets.cli.show import SHORT_ID, open_console, print_json
from ironclad_assets.cli.wish_arguments import Format, Original, StemNames, Targets, split_targets
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.intake.choice import NOTHING
from ironclad_assets.intake.options import make_options
from ironclad_assets.pipeline.filed import songs_in_library
from ironclad_assets.pipeline.rearrange import Rearranged, Rearrangement
from ironclad_assets.pipeline.templates import Layout, read_layout
from ironclad_assets.servers.notes import note_entry

TELL_S = 10.0
"""How often progress is told where there is no terminal."""

Songs = Annotated[
    list[str] | None,
    typer.Argument(
        help="Job ids, the first characters of them, or song ids; default: everything in the library.",
        metavar="[JOB]...",
    ),
]
User = Annotated[str | None, typer.Option(help="Only this user's songs.", show_default=False)]
TemplateText = Annotated[
    str | None,
    typer.Option(
        "--template",
        help="Show what this template would do; default: IRONCLAD_LIBRARY_TEMPLATE.",
        metavar="TEMPLATE",
        show_default=False,
    ),
]
StemsTemplateText = Annotated[
    str | None,
    typer.Option(
        "--stems-template",
        help="The same for stems; default: IRONCLAD_STEMS_TEMPLATE, else the one of the library.",
        metavar="TEMPLATE",
        show_default=False,
    ),
]
Everything = Annotated[bool, typer.Option("--all", help="Also show what stays where it is.")]
AsTree = Annotated[bool, typer.Option("--tree", help="Show the folders as they would be.")]
Limit = Annotated[int, typer.Option(min=0, help="How many songs to show on a terminal; 0 for all.")]


@dataclass(slots=True)
class _Tally:
    """What a pass came to: the songs to show, and the counts of all."""

    shown: list[Rearranged] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, one: Rearranged, *, everything: bool) -> None:
        self.counts["songs"] += 1
        self.counts["moved_songs"] += bool(one.moves)
        self.counts["moved_files"] += len(one.moves)
        self.counts["left_alone"] += bool(one.reason)
        self.counts["missing_files"] += len(one.missing)
        if everything or one.moves or one.reason or one.missing:
            self.shown.append(one)

    def numbers(self) -> dict[str, int]:
        names = ("songs", "moved_songs", "moved_files", "left_alone", "missing_files")
        return {name: self.counts[name] for name in names}


def preview(
    songs: Songs = None,
    template: TemplateText = None,
    stems_template: StemsTemplateText = None,
    targets: Targets = None,
    stems: StemNames = None,
    original: Original = None,
    format: Format = None,
    user: User = None,
    everything: Everything = False,
    tree: AsTree = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Show where the songs in the library would be by the present tags and templates. Nothing is touched.

    A template has placeholders in braces; what stands in < > is left out where one in it is empty. See
    docs/library.md. With other targets, stems or format it shows what a retry with these options would leave.

    \b
    Examples:
      pipelinectl library preview
      pipelinectl library preview --template "{album_artist}/{album}< ({year})>/<{track} >{title}.{ext}" --tree
      pipelinectl library preview 3f2a91c0 --original --targets instrumental,vocals
      pipelinectl library preview --all --json
    """
    with door(as_json=as_json):
        installation = open_installation()
        layout = _layout(installation, template=template, stems_template=stems_template)
        wish = make_options(
            targets=split_targets(targets),
            stems=None if not stems else () if stems == ["none"] else tuple(stems),
            original=original,
            format=format,
        )
        tally = _pass(
            installation, layout=layout, songs=songs, user=user, pretend=True, everything=everything, wish=wish
        )
        if as_json:
            entries = [entry_document(one) for one in tally.shown]
            print_json({**_templates(layout), **tally.numbers(), "entries": entries})
            return
        console = open_console()
        shown = tally.shown if limit == 0 else tally.shown[:limit]
        console.print(draw_tree(shown) if tree else draw_moves(shown), soft_wrap=not tree)
        if len(shown) < len(tally.shown):
            print(f"... and {len(tally.shown) - len(shown)} more songs; --limit 0 shows all")
        print(_summary(tally, would=True))


def organise(songs: Songs = None, user: User = None, as_json: AsJson = False) -> None:
    """Move the songs in the library to where the present tags and templates want them.

    Only files of this installation are moved, each in one step; nothing is computed again. Ctrl-C stops after
    the songs at hand (64 at most), and the next call goes on. Songs that a job works on are left alone.

    \b
    Examples:
      pipelinectl library organise
      pipelinectl library organise --user ada --json
    """
    with door(as_json=as_json):
        installation = open_installation()
        layout = _layout(installation, template=None, stems_template=None)
        with _interruptible() as stopped:
            tally = _pass(installation, layout=layout, songs=songs, user=user, pretend=False, stop=stopped)
        if tally.counts["moved_files"]:
            note_entry(installation.settings)
        if as_json:
            entries = [entry_document(one) for one in tally.shown]
            print_json({**_templates(layout), **tally.numbers(), "interrupted": stopped(), "entries": entries})
        else:
            left = [one for one in tally.shown if one.reason or one.missing]
            if left:
                open_console().print(draw_moves(left), soft_wrap=True)
            print(_summary(tally, would=False))
            if stopped():
                print("interrupted; run it again to go on", file=sys.stderr)
        end(Exit.INTERRUPTED if stopped() else Exit.OK)


def _pass(
    installation: Installation,
    *,
    layout: Layout,
    songs: Sequence[str] | None,
    user: str | None,
    pretend: bool,
    everything: bool = False,
    wish: JobOptions = NOTHING,
    stop: Callable[[], bool] = lambda: False,
) -> _Tally:
    """Go through the chosen songs with progress on standard error."""

    def busy(song: str) -> str | None:
        job = installation.ledger.active_job(song)
        return None if job is None else f"job {job.job_uuid[:SHORT_ID]} is {job.state}"

    chosen = songs_in_library(installation.store)
    if songs:
        asked = {installation.ledger.resolve(name).song for name in songs}
        chosen = [song for song in chosen if song in asked]
    tally = _Tally()
    with _progress("looking" if pretend else "moving") as tell:
        work = Rearrangement(
            store=installation.store,
            layout=layout,
            pretend=pretend,
            busy=(lambda song: None) if pretend else busy,
            stop=stop,
            tell=tell,
            user_id=user,
            wish=wish if wish.named() else None,
        )
        for one in work.run(chosen):
            tally.add(one, everything=everything)
    return tally


def _layout(installation: Installation, *, template: str | None, stems_template: str | None) -> Layout:
    settings = installation.settings
    stems = settings.stems_template if stems_template is None else stems_template
    return read_layout(settings.library_template if template is None else template, stems=stems)


def _templates(layout: Layout) -> dict[str, Any]:
    return {"template": layout.output.text, "stems_template": layout.stems.text}


def _summary(tally: _Tally, *, would: bool) -> str:
    numbers = tally.numbers()
    moved = f"{numbers['moved_files']} files of {numbers['moved_songs']} songs {'would move' if would else 'moved'}"
    parts = [f"{numbers['songs']} songs in the library", moved]
    if numbers["left_alone"]:
        parts.append(f"{numbers['left_alone']} songs left alone")
    if numbers["missing_files"]:
        parts.append(f"{numbers['missing_files']} files are not there; `pipelinectl retry` makes them again")
    return "; ".join(parts)


@contextmanager
def _progress(words: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that tells how far the work is: a bar on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        columns = (TextColumn(words), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(words)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    told_s = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= TELL_S:
            told_s = time.monotonic()
            print(f"{words}: {done} of {total} songs", file=sys.stderr, flush=True)

    yield tell


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether Ctrl-C was pressed; the songs at hand are finished first."""
    pressed = False

    def press(*_signal: object) -> None:
        nonlocal pressed
        pressed = True

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
