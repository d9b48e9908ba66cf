"""Measure how long one song takes from the upload folder to the end of its run, and what it costs.

    python -m benchmarks.latency [--songs 7] [--stock] [--json FILE]

Starts the real system in a temporary home with an engine that only scales, and drops songs of 2 s one after the
other, each by rename when the last has ended. **Latency** is from the rename to the RUN_SUCCESS event of the song's
Dagster run, by that event's own time. **CPU** is what the fork server's reaped descendants used
(cutime + cstime): the run process, every media child, guard and engine worker; from it the median of runs of an
empty in-process job, started by the same launcher, is taken off. Services (code server, fork server, daemon,
webserver) are shown beside it, their idling included.

With --stock, six assets that do nothing run on `dagster dev` with everything at its default, alternating with ours
(A B A B), both systems up all the time; its sensor interval is Dagster's default, 30 s, unless --stock-interval says
otherwise.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console
from rich.table import Table

from benchmarks.installation import (
    SONG_S,
    Installation,
    await_reaped,
    fork_server,
    machine,
    running_installation,
    spent_by_children_s,
    spread,
)
from benchmarks.runs import Timeline, await_run, measure_empty_runs, read_timeline
from benchmarks.stock import running_stock
from ironclad_assets.contracts.v1.job import STAGES

TARGET_S = 6.0
TARGET_CPU_S = 3.0
SONG_TIMEOUT_S = 120.0
EMPTY_RUNS = 5
SERVICES = ("code-server", "daemon", "webserver")


@dataclass(frozen=True, slots=True)
class Song:
    """What one song took: seconds from the rename, and processor seconds."""

    timeline: Timeline
    taken_s: float
    run_cpu_s: float
    services_cpu_s: float


def measure_song(installation: Installation, instance: dg.DagsterInstance, *, number: int) -> Song:
    """Drop song `number`, counted from 0, and return what it took."""
    runs = fork_server(installation.pid("code-server"))
    song = installation.prepare_song(number)
    await_reaped(runs)
    before, services_before = spent_by_children_s(runs), _services_cpu_s(installation)
    dropped_at = installation.drop(song)
    installation.await_completed(number + 1, timeout_s=SONG_TIMEOUT_S)
    job = next(one for one in installation.ledger.jobs(limit=number + 1) if one.original_name == song.name)
    record = await_run(instance, run_id=job.run_id, timeout_s=SONG_TIMEOUT_S)
    services_after = _services_cpu_s(installation)
    await_reaped(runs)
    return Song(
        timeline=read_timeline(instance, record, dropped_at=dropped_at),
        taken_s=datetime.fromisoformat(job.created_at).timestamp() - dropped_at,
        run_cpu_s=spent_by_children_s(runs) - before,
        services_cpu_s=services_after - services_before,
    )


def _services_cpu_s(installation: Installation) -> float:
    ticks = 0
    for pid in (*map(installation.pid, SERVICES), fork_server(installation.pid("code-server"))):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        fields = stat.rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def draw(songs: Sequence[Song], *, stock: Sequence[Timeline], empty_runs: Sequence[float], console: Console) -> None:
    """Print totals and the breakdown."""
    empty_s = spread(empty_runs)[0]
    totals = Table(title=f"One song of {SONG_S:.0f} s, {len(songs)} times; {machine()}", title_justify="left")
    for name in ("", "median", "least", "most", "target"):
        totals.add_column(name, justify="left" if not name else "right")
    _add(totals, "rename to RUN_SUCCESS, s", [song.timeline.ended_s for song in songs], target=f"<= {TARGET_S:.1f}")
    _add(
        totals,
        "CPU s beyond an empty run",
        [song.run_cpu_s - empty_s for song in songs],
        target=f"<= {TARGET_CPU_S:.1f}",
    )
    _add(totals, "CPU s of run and children", [song.run_cpu_s for song in songs])
    _add(totals, "CPU s of an empty run", empty_runs)
    _add(totals, "CPU s of the services meanwhile", [song.services_cpu_s for song in songs])
    if stock:
        _add(totals, "stock Dagster, s", [one.ended_s for one in stock])
        _add(totals, "stock, from run creation, s", [one.ended_s - one.created_s for one in stock])
        _add(totals, "ours, from run creation, s", [one.timeline.ended_s - one.timeline.created_s for one in songs])
    console.print(totals)
    if stock:
        ours, theirs = (spread([one.ended_s for one in many])[0] for many in ([s.timeline for s in songs], stock))
        console.print(f"stock / ours: {theirs / ours:.1f}x\n")
    console.print(_breakdown(songs, stock=stock))


def _breakdown(songs: Sequence[Song], *, stock: Sequence[Timeline]) -> Table:
    table = Table(title="Medians, s: reached after the rename, and the time that took", title_justify="left")
    for name in ("event", "reached", "took", *(("stock reached", "stock took") if stock else ())):
        table.add_column(name, justify="left" if name == "event" else "right")
    rows = _events([song.timeline for song in songs])
    rows.insert(0, ("job in the ledger", spread([song.taken_s for song in songs])[0]))
    theirs = dict(_events(stock)) if stock else {}
    last = last_theirs = 0.0
    for name, reached in rows:
        row = [name, f"{reached:.2f}", f"{reached - last:.2f}"]
        if name in theirs:
            row += [f"{theirs[name]:.2f}", f"{theirs[name] - last_theirs:.2f}"]
            last_theirs = theirs[name]
        table.add_row(*row)
        last = reached
    return table


def _events(timelines: Sequence[Timeline]) -> list[tuple[str, float]]:
    """Return the median time of each event, in order."""
    events = [
        ("run created", [one.created_s for one in timelines]),
        ("run launched", [one.launched_s for one in timelines]),
        ("run started", [one.started_s for one in timelines]),
        ("first stage begins", [one.stages[STAGES[0]][0] for one in timelines]),
        *((f"{stage} done", [one.stages[stage][1] for one in timelines]) for stage in STAGES),
        ("RUN_SUCCESS", [one.ended_s for one in timelines]),
    ]
    return [(name, spread(values)[0]) for name, values in events]


def _add(table: Table, name: str, values: Sequence[float], *, target: str = "") -> None:
    table.add_row(name, *(f"{value:.2f}" for value in spread(values)), target)


def as_json(songs: Sequence[Song], *, stock: Sequence[Timeline], empty_runs: Sequence[float]) -> dict[str, Any]:
    """Return every figure, JSON values."""
    return {
        "at": time.strftime("%Y-%m-%d %H:%M:%S"),
        "machine": machine(),
        "songs": [asdict(song) for song in songs],
        "stock": [asdict(one) for one in stock],
        "empty_runs_cpu_s": list(empty_runs),
    }


def main() -> int:
    """Measure and print; return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=7, help="how many songs (default: 7)")
    parser.add_argument("--stock", action="store_true", help="alternate with stock Dagster")
    parser.add_argument("--stock-interval", type=int, help="its sensor interval in seconds (default: Dagster's, 30)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    console = Console()
    songs: list[Song] = []
    stock: list[Timeline] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ironclad-latency-")))
        empty_runs = measure_empty_runs(folder, count=EMPTY_RUNS)
        peer = stack.enter_context(running_stock(folder, interval_s=options.stock_interval)) if options.stock else None
        installation = stack.enter_context(running_installation())
        instance = stack.enter_context(installation.instance())
        for number in range(options.songs):
            songs.append(measure_song(installation, instance, number=number))
            console.print(f"song {number}: {songs[-1].timeline.ended_s:.2f} s", style="dim")
            if peer is not None:
                stock.append(peer.measure(number))
                console.print(f"stock {number}: {stock[-1].ended_s:.2f} s", style="dim")
    draw(songs, stock=stock, empty_runs=empty_runs, console=console)
    if options.json is not None:
        figures = as_json(songs, stock=stock, empty_runs=empty_runs)
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    empty_s = spread(empty_runs)[0]
    missed = (
        spread([song.timeline.ended_s for song in songs])[0] > TARGET_S
        or spread([song.run_cpu_s - empty_s for song in songs])[0] > TARGET_CPU_S
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
