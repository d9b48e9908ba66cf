"""Measure Dagster alone, as this project sets it up on Postgres: six assets that do nothing, from file to finished run.

    python -m benchmarks.trivial [--songs 7]

The instance is `deploy/postgres/dagster.yaml` on a Postgres of its own, with the daemon of this project, a code server,
an in-process job and a sensor that waits for files as the upload watcher does. What `benchmarks.postgres` takes
longer than this is the product's own work on a song. Each file comes to an idle system.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from benchmarks.installation import environment_of, machine, spread, stop
from benchmarks.postgres import TARGET_S, running_server
from benchmarks.runs import Timeline, start_code_server, start_module
from benchmarks.stock import Stock, write_project
from ironclad_assets.settings import Settings

YAML = Path(__file__).resolve().parent.parent / "deploy" / "postgres" / "dagster.yaml"
POLL_S = 20.0
SETTLE_S = 8.0
"""Time for the daemon's first ticks, and between files: Dagster begins a sensor's ticks five seconds apart."""


@contextmanager
def running(folder: Path, *, url: str) -> Iterator[Stock]:
    """Run a code server and the daemon on the trivial project, on the database `url`."""
    settings = Settings(home=folder / "home", database_url=url)
    settings.dagster_home.mkdir(parents=True)
    shutil.copy(YAML, settings.dagster_home / "dagster.yaml")
    inbox = folder / "inbox"
    inbox.mkdir()
    project, workspace = folder / "trivial_project.py", folder / "workspace.yaml"
    write_project(project, inbox=inbox, interval_s=1, poll_s=POLL_S, executor="dg.in_process_executor")
    with environment_of(settings), dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        environment = {**os.environ, "DAGSTER_DISABLE_TELEMETRY": "1"}
        processes = [start_code_server(project, workspace=workspace, environment=environment)]
        try:
            daemon = ("ironclad_assets.sensors.daemon", "-w", str(workspace))
            processes.append(start_module(*daemon, environment=environment))
            time.sleep(SETTLE_S)
            yield Stock(instance, inbox)
        finally:
            for process in processes:
                stop(process)


def main() -> int:
    """Measure and print; return 1 where the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=7, help="how many files (default: 7)")
    options = parser.parse_args()
    seen: list[Timeline] = []
    with tempfile.TemporaryDirectory(prefix="ironclad-trivial-") as folder, running_server() as postgres:
        postgres.create_database("trivial")
        with running(Path(folder), url=postgres.url("trivial")) as system:
            for number in range(options.songs + 1):
                seen.append(system.measure(number))
                time.sleep(SETTLE_S)
    print(f"{options.songs} files, {machine()}")
    for label, values in (
        ("run created", [one.created_s for one in seen[1:]]),
        ("run launched", [one.launched_s for one in seen[1:]]),
        ("run started", [one.started_s for one in seen[1:]]),
        ("RUN_SUCCESS", [one.ended_s for one in seen[1:]]),
    ):
        print("{:<14}{:6.2f} s ({:.2f} to {:.2f})".format(label, *spread(values)))
    return int(spread([one.ended_s for one in seen[1:]])[0] > TARGET_S)


if __name__ == "__main__":
    sys.exit(main())
