"""Measure how many songs the whole system gets through when many arrive at once, and that none is lost or doubled.

    python -m benchmarks.throughput [--songs 200] [--json FILE]

Starts the real system in a temporary home with an engine that only scales, drops all songs (2 s each, every one
different) by rename as fast as they can be renamed, and waits until every job has completed. **Songs per minute** is
from the first rename to the last RUN_SUCCESS event. Afterwards partitions, runs, jobs and library entries are
counted against each other.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.table import Table

from benchmarks.installation import (
    Installation,
    await_reaped,
    fork_server,
    machine,
    running_installation,
    spent_by_children_s,
)
from ironclad_assets.contracts.v1.job import JobState

TARGET_PER_MINUTE = 30.0
SECONDS_PER_SONG = 20.0
START_S = 60.0
PARTITIONS = "songs"


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of a burst of songs."""

    songs: int
    seconds: float
    per_minute: float
    cpu_s_per_song: float
    partitions: int
    runs: int
    successes: int
    failures: int
    duplicates: int
    jobs_completed: int
    library_entries: int

    @property
    def exact(self) -> bool:
        """Whether each song became one partition, one successful run, one job and one library entry."""
        counts = (self.partitions, self.runs, self.successes, self.jobs_completed, self.library_entries)
        return all(count == self.songs for count in counts) and not self.failures and not self.duplicates


def measure(
    installation: Installation, instance: dg.DagsterInstance, *, songs: int, say: Callable[[str], None]
) -> Figures:
    """Drop `songs` songs at once and return what became of them."""
    paths = [installation.prepare_song(number) for number in range(songs)]
    forking = fork_server(installation.pid("code-server"))
    spent = spent_by_children_s(forking)
    dropped_at = min([installation.drop(path) for path in paths])
    say(f"{songs} songs dropped in {time.time() - dropped_at:.2f} s")
    installation.await_completed(songs, timeout_s=START_S + SECONDS_PER_SONG * songs)
    await_reaped(forking, timeout_s=START_S)
    records = instance.get_run_records()
    seconds = max(record.end_time or 0.0 for record in records) - dropped_at
    runs_of_song = Counter(record.dagster_run.tags["dagster/partition"] for record in records)
    statuses = Counter(record.dagster_run.status for record in records)
    return Figures(
        songs=songs,
        seconds=seconds,
        per_minute=60.0 * songs / seconds,
        cpu_s_per_song=(spent_by_children_s(forking) - spent) / songs,
        partitions=len(instance.get_dynamic_partitions(PARTITIONS)),
        runs=len(records),
        successes=statuses[dg.DagsterRunStatus.SUCCESS],
        failures=statuses[dg.DagsterRunStatus.FAILURE],
        duplicates=sum(count - 1 for count in runs_of_song.values()),
        jobs_completed=installation.ledger.count_by_state().get(JobState.COMPLETED, 0),
        library_entries=len(
            list((installation.settings.store_root / "stages" / "library_entry").glob("*/manifest.json"))
        ),
    )


def draw(figures: Figures, *, console: Console) -> None:
    """Print the figures."""
    table = Table(title=f"{figures.songs} songs at once; {machine()}", title_justify="left")
    table.add_column("")
    table.add_column("measured", justify="right")
    table.add_column("target", justify="right")
    table.add_row("songs per minute", f"{figures.per_minute:.1f}", f">= {TARGET_PER_MINUTE:.0f}")
    table.add_row("seconds, first rename to last RUN_SUCCESS", f"{figures.seconds:.1f}", "")
    table.add_row("CPU s per song, run and children", f"{figures.cpu_s_per_song:.2f}", "")
    for name in ("partitions", "runs", "successes", "jobs_completed", "library_entries"):
        table.add_row(name.replace("_", " "), str(getattr(figures, name)), str(figures.songs))
    for name in ("failures", "duplicates"):
        table.add_row(name, str(getattr(figures, name)), "0")
    console.print(table)


def main() -> int:
    """Measure and print; return 1 where a song was lost, failed or was done twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=200, help="how many songs (default: 200)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    console = Console()
    with running_installation() as installation, installation.instance() as instance:
        figures = measure(installation, instance, songs=options.songs, say=console.print)
    draw(figures, console=console)
    if options.json is not None:
        document = {"at": time.strftime("%Y-%m-%d %H:%M:%S"), "machine": machine(), **asdict(figures)}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return int(not figures.exact)


if __name__ == "__main__":
    sys.exit(main())
