"""What Dagster recorded about a run, as times since a file was dropped, and what starting an empty run costs.

All times come from the run's own events in the instance, none from polling.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from benchmarks.installation import (
    BenchmarkError,
    await_reaped,
    fork_server,
    free_ports,
    run_processes,
    spent_by_children_s,
    stop,
    tool,
)
from ironclad_assets.supervisor.ports import answers

START_TIMEOUT_S = 120.0
LOOK_S = 0.2

EMPTY_PROJECT = """
import dagster as dg


@dg.op
def nothing():
    pass


@dg.job(executor_def=dg.in_process_executor)
def empty():
    nothing()


defs = dg.Definitions(jobs=[empty])
"""

EMPTY_INSTANCE = """
storage:
  custom:
    module: ironclad_assets.resources.dagster_storage
    class: PooledSqliteStorage
    config: {base_dir: {env: DAGSTER_HOME}}
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
telemetry: {enabled: false}
"""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Seconds from the rename of one file to each event of its run.

    Attributes:
        created_s: the run exists.
        launched_s: the queue handed it to a launcher.
        started_s: its process has loaded the code and begins.
        ended_s: the run succeeded.
        stages: begin and end of each step.
    """

    run_id: str
    created_s: float
    launched_s: float
    started_s: float
    ended_s: float
    stages: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def read_timeline(instance: dg.DagsterInstance, record: dg.RunRecord, *, dropped_at: float) -> Timeline:
    """Return the timeline of a finished run; `dropped_at` in Unix seconds."""
    begins: dict[str, float] = {}
    stages: dict[str, tuple[float, float]] = {}
    launched = record.create_timestamp.timestamp()
    ended = 0.0
    for entry in instance.all_logs(record.dagster_run.run_id):
        kind = entry.dagster_event.event_type if entry.dagster_event else None
        if kind is dg.DagsterEventType.RUN_STARTING:
            launched = entry.timestamp
        elif kind is dg.DagsterEventType.RUN_SUCCESS:
            ended = entry.timestamp
        elif kind is dg.DagsterEventType.STEP_START and entry.step_key:
            begins[entry.step_key] = entry.timestamp
        elif kind is dg.DagsterEventType.STEP_SUCCESS and entry.step_key:
            stages[entry.step_key] = (begins[entry.step_key] - dropped_at, entry.timestamp - dropped_at)
    if not ended or record.start_time is None:
        raise BenchmarkError(f"run {record.dagster_run.run_id} is {record.dagster_run.status}, not a success")
    return Timeline(
        run_id=record.dagster_run.run_id,
        created_s=record.create_timestamp.timestamp() - dropped_at,
        launched_s=launched - dropped_at,
        started_s=record.start_time - dropped_at,
        ended_s=ended - dropped_at,
        stages=stages,
    )


def await_run(
    instance: dg.DagsterInstance, *, tags: Mapping[str, str] | None = None, run_id: str | None = None, timeout_s: float
) -> dg.RunRecord:
    """Return the record of the newest run with these tags or id, once it has ended."""
    chosen = dg.RunsFilter(tags=dict(tags or {}), run_ids=[run_id] if run_id else None)
    deadline = time.monotonic() + timeout_s
    while True:
        records = instance.get_run_records(chosen, limit=1)
        if records and records[0].dagster_run.is_finished:
            return records[0]
        if time.monotonic() > deadline:
            raise BenchmarkError(f"no run of {tags or run_id} ended within {timeout_s:.0f} s")
        time.sleep(LOOK_S)


def measure_empty_runs(folder: Path, *, count: int) -> list[float]:
    """Return the processor seconds of `count` runs of a job that does nothing, in-process, one after the other.

    The same launcher in the same kind of code server as the real one starts them, on the same storage, so each
    figure is what a fork and one op's events cost: everything above is the product's own.
    """
    home = folder / "empty-home"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text(EMPTY_INSTANCE, encoding="utf-8")
    (folder / "empty_runs.py").write_text(EMPTY_PROJECT, encoding="utf-8")
    workspace = folder / "empty-workspace.yaml"
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "IRONCLAD_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    server = start_code_server(folder / "empty_runs.py", workspace=workspace, environment=environment)
    try:
        runs = fork_server(server.pid)
        launch = [tool("dagster"), "job", "launch", "-w", str(workspace), "-l", "empty_runs", "-j", "empty"]
        return [_one_empty_run(runs, launch=launch, environment=environment) for _ in range(count)]
    finally:
        stop(server)


def _one_empty_run(runs: int, *, launch: list[str], environment: Mapping[str, str]) -> float:
    before = spent_by_children_s(runs)
    subprocess.run(launch, env=environment, capture_output=True, check=True, timeout=START_TIMEOUT_S)
    deadline = time.monotonic() + START_TIMEOUT_S
    while not run_processes(runs) and spent_by_children_s(runs) == before:
        if time.monotonic() > deadline:
            raise BenchmarkError("an empty run was not started")
        time.sleep(LOOK_S)
    await_reaped(runs, timeout_s=START_TIMEOUT_S)
    return spent_by_children_s(runs) - before


def start_code_server(project: Path, *, workspace: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Serve the definitions in the file `project` as this project serves its own.

    The `workspace` file, which names them by the file's stem, is written. Returns when the server answers; raises
    `BenchmarkError` where it does not within `START_TIMEOUT_S`.
    """
    (port,) = free_ports(1)
    where = f"{{host: 127.0.0.1, port: {port}, location_name: {project.stem}}}"
    workspace.write_text(f"load_from: [{{grpc_server: {where}}}]\n", encoding="utf-8")
    listen = ("-f", str(project), "-h", "127.0.0.1", "-p", str(port))
    server = start_module("ironclad_assets.sensors.code_server", *listen, environment=environment)
    try:
        await_port(port)
    except BenchmarkError:
        stop(server)
        raise
    return server


def start_module(*command: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a Python module in a process group of its own, silent, with this interpreter."""
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


def await_port(port: int) -> None:
    """Return when somebody answers on a port of the loopback address."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not answers(port):
        if time.monotonic() > deadline:
            raise BenchmarkError(f"nothing answers on port {port}")
        time.sleep(LOOK_S)
