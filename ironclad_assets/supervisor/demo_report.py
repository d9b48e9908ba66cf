"""The picture at the demo's end: time per stage, separation against the truth, the library, what to do next.

It only draws what `demo` found out, on the screen and as SVG and HTML files that need no network.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ironclad_assets.contracts.v1.job import Job
from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack
from ironclad_assets.contracts.v1.stems import Stems
from ironclad_assets.storage import atomic

WIDTH = 100
_CHART_WIDTH = 44
_SDR_SCALE_DB = 20.0


@dataclass(frozen=True, slots=True)
class SdrRow:
    """How close one separated stem is to the true one, in dB; None where the ratio is not finite."""

    name: str
    sdr_db: float | None
    doing_nothing_db: float | None


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Everything the demo found out about its song.

    `dropped_at` is when the file got its name in the upload folder, `ended_at` when its run had filed it.
    """

    title: str
    job: Job
    dropped_at: datetime
    ended_at: datetime
    stems: Stems
    track: RecombinedTrack
    entry: LibraryEntry
    sdr: Sequence[SdrRow]
    start_s: float
    store_root: Path
    home: Path
    dagster_url: str
    running: bool


def draw(result: DemoResult) -> RenderableType:
    """Return the whole picture."""
    return Group(
        Panel.fit(_headline(result), border_style="green"),
        _section("Time per stage", _timeline(result)),
        _section("Separation against the true stems", _sdr_table(result)),
        _section("The library", _library_tree(result)),
        _section("Where things are", _places(result)),
    )


def save(result: DemoResult, *, folder: Path) -> list[Path]:
    """Write the picture as `report.svg` and `report.html` in `folder`; return their paths."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(draw(result))
    svg = console.export_svg(title="Ironclad demo", clear=False)
    documents = {
        "report.svg": re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL),  # the fonts would be downloaded
        "report.html": console.export_html(),
    }
    for name, text in documents.items():
        atomic.write_bytes(folder / name, text.encode())
    return [folder / name for name in documents]


def _section(title: str, content: RenderableType) -> RenderableType:
    return Group(Text(f"\n{title}", style="bold"), Padding(content, (0, 0, 0, 2)))


def _headline(result: DemoResult) -> Text:
    audio = result.stems.stems[0].audio
    engine = result.stems.engine
    took_s = (result.ended_at - result.dropped_at).total_seconds()
    return Text.assemble(
        (result.title, "bold"),
        f" ({audio.duration_s:.0f} s) went from the upload folder to the library in ",
        (f"{took_s:.1f} s", "bold green"),
        f"\nengine {engine.engine} {engine.version}, job {result.job.job_uuid}, state {result.job.state}",
        f"\nbefore that the system started in {result.start_s:.1f} s",
    )


def _timeline(result: DemoResult) -> Table:
    """Return one bar per stage on a common time axis that begins when the file was dropped."""
    total_s = (result.ended_at - result.dropped_at).total_seconds()
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    previous_s = 0.0
    for index, timing in enumerate(result.job.stages):
        begin_s = (datetime.fromisoformat(timing.started_at) - result.dropped_at).total_seconds()
        if index == 0:
            table.add_row(*_bar("intake, queue, start of the run", 0.0, begin_s, total_s, "bright_black"))
        seconds = timing.seconds or 0.0
        table.add_row(*_bar(timing.stage, begin_s, begin_s + seconds, total_s, "cyan"))
        previous_s = begin_s + seconds
    table.add_row(*_bar("end of the run", previous_s, total_s, total_s, "bright_black"))
    return table


def _bar(name: str, begin_s: float, end_s: float, total_s: float, colour: str) -> tuple[RenderableType, ...]:
    bar = Bar(total_s, begin_s, max(end_s, begin_s), width=_CHART_WIDTH, color=colour)
    return Text(name), Text(f"{end_s - begin_s:.2f} s"), bar


def _sdr_table(result: DemoResult) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    for _ in range(3):
        table.add_column(justify="right")
    table.add_row(*(Text(heading, style="dim") for heading in ("stem", "SDR", "doing nothing", "better by")))
    for row in result.sdr:
        better = None if row.sdr_db is None or row.doing_nothing_db is None else row.sdr_db - row.doing_nothing_db
        filled = Bar(_SDR_SCALE_DB, 0, min(max(better or 0.0, 0.0), _SDR_SCALE_DB), width=24, color="green")
        table.add_row(row.name, _db(row.sdr_db), _db(row.doing_nothing_db), _db(better), filled)
    residual = result.stems.residual_db
    difference = "not at all" if residual is None else f"by {residual:.0f} dB"
    note = f"0 dB is what silence would get. The sum of the stems differs from the song {difference}."
    return Group(table, Text(note, style="dim"))


def _db(value: float | None) -> Text:
    return Text("-" if value is None else f"{value:+.1f} dB")


def _library_tree(result: DemoResult) -> Tree:
    tree = Tree(Text(str(result.store_root), style="bold"), guide_style="bright_black")
    branches: dict[tuple[str, ...], Tree] = {}
    loudness = {track.name: track.levels.loudness_lufs for track in result.track.tracks}
    for file in sorted(result.entry.files, key=lambda file: (file.root, file.file.path)):
        *folders, name = (file.root, *file.file.path.split("/"))
        parent = tree
        for depth in range(1, len(folders) + 1):
            path = tuple(folders[:depth])
            if path not in branches:
                branches[path] = parent.add(Text(f"{path[-1]}/", style="blue"))
            parent = branches[path]
        parent.add(_leaf(name, file, loudness.get(file.name)))
    return tree


def _leaf(name: str, file: EntryFile, loudness_lufs: float | None) -> Text:
    facts = [decimal(file.file.size_bytes)]
    if file.role != "cover" and loudness_lufs is not None:
        facts.append(f"{loudness_lufs:.1f} LUFS")
    return Text.assemble(name, ("  " + ", ".join(facts), "dim"))


def _places(result: DemoResult) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("library", str(result.store_root / "output"))
    table.add_row("stems", str(result.store_root / "output-stems"))
    table.add_row("upload folder", str(result.store_root / "input"))
    table.add_row("true stems", str(result.home / "synthesis" / "stems"))
    table.add_row("this picture", str(result.home / "report.svg"))
    if result.running:
        table.add_row("Dagster UI", f"{result.dagster_url} (until you press Ctrl-C)")
    else:
        table.add_row("Dagster UI", f"IRONCLAD_HOME={result.home} make up")
        table.add_row("", "then open the address it prints, and drop songs of your own")
    return table
