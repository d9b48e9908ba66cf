"""Stock Dagster on the same task: six trivial assets per file, everything at its default.

`dagster dev` over a minimal project: multiprocess executor, default file IO manager, daemon intervals as they
come, SQLite. The assets do nothing but hand a text on, so that all that is measured is Dagster's own way from
file to finished run.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from benchmarks.installation import BenchmarkError, free_ports, stop, tool
from benchmarks.runs import Timeline, await_run, read_timeline
from ironclad_assets.supervisor.ports import answers

START_TIMEOUT_S = 180.0
RUN_TIMEOUT_S = 300.0
FIRST_TICK_S = 5.0

PROJECT = """
import time
from pathlib import Path

import dagster as dg

INBOX = Path({inbox!r})
songs = dg.DynamicPartitionsDefinition(name="songs")


@dg.asset(partitions_def=songs)
def validated_file(context) -> str:
    return context.partition_key


@dg.asset(partitions_def=songs)
def song_metadata(validated_file: str) -> str:
    return validated_file


@dg.asset(partitions_def=songs)
def staged_chunks(song_metadata: str) -> str:
    return song_metadata


@dg.asset(partitions_def=songs)
def stems(staged_chunks: str) -> str:
    return staged_chunks


@dg.asset(partitions_def=songs)
def recombined_track(stems: str) -> str:
    return stems


@dg.asset(partitions_def=songs)
def library_entry(recombined_track: str) -> str:
    return recombined_track


process_song = dg.define_asset_job("process_song", selection="*", partitions_def=songs{executor})


@dg.sensor(job=process_song, default_status=dg.DefaultSensorStatus.RUNNING{interval})
def inbox(context):
    known = set(context.instance.get_dynamic_partitions("songs"))
    deadline = time.monotonic() + {poll_s}
    while True:
        new = [name for name in sorted(path.stem for path in INBOX.iterdir()) if name not in known]
        if new or time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=name, partition_key=name) for name in new],
        dynamic_partitions_requests=[songs.build_add_request(new)] if new else [],
    )


defs = dg.Definitions(
    assets=[validated_file, song_metadata, staged_chunks, stems, recombined_track, library_entry],
    jobs=[process_song],
    sensors=[inbox],
)
"""


@dataclass(frozen=True, slots=True)
class Stock:
    """A running stock project."""

    instance: dg.DagsterInstance
    inbox: Path

    def measure(self, number: int) -> Timeline:
        """Drop one file by rename and return the timeline of its run."""
        name = f"song-{number:04d}"
        source = self.inbox.parent / name
        source.write_text(name, encoding="utf-8")
        at = time.time()
        source.rename(self.inbox / f"{name}.flac")
        record = await_run(self.instance, tags={"dagster/partition": name}, timeout_s=RUN_TIMEOUT_S)
        return read_timeline(self.instance, record, dropped_at=at)


@contextmanager
def running_stock(folder: Path, *, interval_s: int | None) -> Iterator[Stock]:
    """Run `dagster dev` on the minimal project; None keeps the sensor's default interval, 30 s."""
    home, inbox = folder / "stock-home", folder / "stock-inbox"
    home.mkdir(parents=True)
    inbox.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    write_project(folder / "stock_project.py", inbox=inbox, interval_s=interval_s)
    (port,) = free_ports(1)
    with (folder / "stock.log").open("wb") as log:
        process = subprocess.Popen(
            [tool("dagster"), "dev", "-m", "stock_project", "-h", "127.0.0.1", "-p", str(port)],
            env={**os.environ, "DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(folder)},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        _await_ticks(home, port=port, process=process, log=folder / "stock.log")
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield Stock(instance, inbox)
    finally:
        stop(process)


def write_project(
    file: Path, *, inbox: Path, interval_s: int | None = None, poll_s: float = 0.0, executor: str = ""
) -> None:
    """Write six trivial assets, their job and a sensor that looks into `inbox`, once a tick or for `poll_s` seconds."""
    interval = "" if interval_s is None else f", minimum_interval_seconds={interval_s}"
    given = f", executor_def={executor}" if executor else ""
    text = PROJECT.format(inbox=str(inbox), interval=interval, poll_s=poll_s, executor=given)
    file.write_text(text, encoding="utf-8")


def _await_ticks(home: Path, *, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once the webserver answers and the daemon has had time for its first ticks."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (answers(port) and (home / "schedules").exists()):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
            raise BenchmarkError(f"stock Dagster did not come up: {tail}")
        time.sleep(0.5)
    time.sleep(FIRST_TICK_S)
