"""Measure what the product's own looking around costs once it knows many songs.

    python -m benchmarks.scale [--songs 50000] [--queued 1000] [--postgres] [--ticks 20] [--json FILE]

Fills a home (`known_songs`): ledger, Dagster's partitions and runs, folders. Then, on SQLite or on a Postgres of its
own: **parts** by themselves in this process (a tick of the upload watcher without its waiting, idle and with 100 new
files; the reconciler; the analysis sensor; each question of the dispatcher); **commands** as their user starts them,
the whole process, with `--help` beside them as what any command costs; and the **running** system: ticks
as Dagster recorded them (an idle one waits up to 4.5 s for work by design) and the resident memory of code server and
daemon over that many ticks. Dagster's queue lets nothing through meanwhile, so that no song is worked on. Last, one
user's **deletion**, a tenth of all songs: the request, during which nobody else writes on SQLite, and the whole.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.installation import (
    BenchmarkError,
    environment_of,
    fork_server,
    free_ports,
    machine,
    write_song,
    write_trivial_engine,
)
from benchmarks.known_songs import Known, fill_dagster, fill_ledger, fill_store, plan_songs
from benchmarks.postgres import running_server
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.sensors import upload_watcher
from ironclad_assets.sensors.analysis import AnalysisRequests
from ironclad_assets.sensors.reconcile import reconcile
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store
from ironclad_assets.supervisor.system import System

NEW_FILES = 100
ROUNDS = 5
TARGET_TICK_S = 10.0
TARGET_COMMAND_S = 0.5
SERVICES = ("code-server", "fork-server", "daemon")

Times = tuple[float, float]
"""Wall and processor seconds; the latter 0 where they are not known."""

Rows = dict[str, list[Times]]


@contextmanager
def filled_home(folder: Path, *, known: Sequence[Known], database_url: str | None) -> Iterator[Settings]:
    """Prepare a home and fill it; its settings hold in this process's environment."""
    web_port, code_port = free_ports(2)
    write_trivial_engine(folder / "engines")
    settings = Settings.model_validate(
        {
            "home": folder / "home",
            "engines_path": folder / "engines",
            "default_engine": "trivial",
            "web_port": web_port,
            "code_port": code_port,
            "database_url": database_url,
            "settle_s": 0.0,
        }
    )
    yaml = settings.instance_yaml.read_text(encoding="utf-8").replace(
        "max_concurrent_runs: 2", "max_concurrent_runs: 0"
    )
    (folder / "dagster.yaml").write_text(yaml, encoding="utf-8")
    settings = settings.model_copy(update={"dagster_yaml": folder / "dagster.yaml"})
    for needed in (settings.dagster_home, settings.home_dir / "run"):
        needed.mkdir(parents=True)
    (settings.dagster_home / "dagster.yaml").write_text(yaml, encoding="utf-8")
    with environment_of(settings):
        subprocess.run([sys.executable, "-m", "ironclad_assets.sensors.prepare"], check=True, timeout=300)
        fill_ledger(settings.ledger_url, known)
        with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
            fill_dagster(instance, known)
        fill_store(settings, known)
        yield settings


def measure_parts(settings: Settings, *, folder: Path) -> Rows:
    """Return the seconds of each part by itself, several times."""
    ledger, store = Ledger(settings.ledger_url), Store(settings.store_root, settings.disk_reserve_bytes)
    upload_watcher.LONG_POLL_S = 0.0
    rows: Rows = {}
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        watcher = upload_watcher.UploadWatcher(ledger=ledger, store=store, settings=settings)
        analyst = AnalysisRequests(ledger=ledger, store=store, settings=settings)

        def tick() -> None:
            with dg.build_sensor_context(instance=instance) as context:
                watcher.tick(context)

        def analyse() -> None:
            with dg.build_sensor_context(instance=instance) as context:
                analyst.tick(context)

        rows["next 25 jobs of the queue"] = _times(lambda: ledger.queue.next_jobs(limit=25))
        rows["the waiting jobs in order (queue)"] = _times(lambda: ledger.queue.places(limit=50))
        rows["the 50 newest jobs (status)"] = _times(ledger.jobs)
        rows["the newest jobs of one user"] = _times(lambda: ledger.jobs(user_id="user3"))
        rows["jobs by state"] = _times(ledger.count_by_state)
        rows["reconcile"] = _times(lambda: reconcile(ledger, instance, starting=False))
        rows["tick of the analysis"] = _times(analyse)
        rows["tick that dispatches"] = _times(tick, rounds=1)
        rows["tick with nothing to do"] = _times(tick)
        drop_songs(folder, settings=settings)
        rows[f"tick that takes {NEW_FILES} files"] = _times(tick, rounds=1)
        watcher.close()
    ledger.close()
    return rows


def drop_songs(folder: Path, *, settings: Settings) -> None:
    """Move new files into the upload folder."""
    for number in range(NEW_FILES):
        path = folder / f"New {number}.flac"
        write_song(path, seconds=0.5, seed=number)
        path.rename(settings.store_root / "input" / path.name)


def measure_commands(known: Sequence[Known]) -> Rows:
    """Return the wall seconds of commands as whole processes."""
    commands = {
        "pipelinectl --help": ["--help"],
        "pipelinectl status": ["status"],
        "pipelinectl status SONG": ["status", known[len(known) // 2].song],
        "pipelinectl queue": ["queue"],
        "pipelinectl health": ["health"],
    }
    return {name: _times(lambda words=words: _call(words)) for name, words in commands.items()}


def measure_deletion(settings: Settings, *, user_id: str) -> Rows:
    """Return the seconds that a user's deletion takes: the request, during which nobody else writes on SQLite; all."""
    ledger = Ledger(settings.ledger_url)
    count = sum(1 for song in ledger.usage.songs() if song.user_id == user_id)
    ask = _times(lambda: ledger.deletions.request_user(user_id, actor="benchmark"), rounds=1)
    ledger.close()
    carry_out = _times(lambda: _call(["delete-user", user_id, "--yes"]), rounds=1)
    return {f"deletion of a user with {count} songs: asked for": ask, "the same: carried out": carry_out}


def _call(words: list[str]) -> None:
    program = str(Path(sys.executable).with_name("pipelinectl"))
    # Its user's Python compiles a module once; one that may not keep what it compiled takes half as long again.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([program, *words], capture_output=True, timeout=1200, check=False, env=env)
    if done.returncode and words[0] != "health":  # which says by it that nothing runs
        raise BenchmarkError(f"{words}: {done.stderr.decode()}")


def measure_running(settings: Settings, *, ticks: int, folder: Path) -> tuple[Rows, dict[str, list[float]]]:
    """Run the system for so many ticks; return their seconds as recorded, and the MiB of each service after each."""
    memory: dict[str, list[float]] = {name: [] for name in SERVICES}
    with System(settings) as system, dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        system.start(lambda text: print(text, file=sys.stderr))
        pids = {one.name: one.process.pid for one in system.services if one.process is not None}
        pids["fork-server"] = fork_server(pids["code-server"])
        seen: list[float] = []
        deadline = time.monotonic() + 30.0 * ticks
        while len(seen) < ticks:
            if time.monotonic() > deadline or system.check():
                raise BenchmarkError(f"{len(seen)} of {ticks} ticks; see {system.log_dir}")
            time.sleep(1.0)
            found = _recorded_ticks(instance)
            if len(found) > len(seen):
                for name in SERVICES:
                    memory[name].append(psutil.Process(pids[name]).memory_info().rss / 2**20)
            if len(seen) < ticks // 2 <= len(found):
                drop_songs(folder / "again", settings=settings)
            seen = found
    return {"ticks of the running system, with their waiting": [(one, 0.0) for one in seen]}, memory


def _recorded_ticks(instance: dg.DagsterInstance) -> list[float]:
    states = [one for one in instance.all_instigator_state() if one.instigator_name == "upload_watcher"]
    if not states:
        return []
    ticks = instance.get_ticks(states[0].instigator_origin_id, states[0].selector_id)
    return [one.end_timestamp - one.timestamp for one in reversed(ticks) if one.end_timestamp is not None]


def _times(work: Callable[[], object], *, rounds: int = ROUNDS) -> list[Times]:
    taken = []
    for _ in range(rounds):
        began, spent = time.perf_counter(), _cpu_s()
        work()
        taken.append((time.perf_counter() - began, _cpu_s() - spent))
    return taken


def _cpu_s() -> float:
    """Return the processor seconds of this process and of its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def draw(rows: Rows, memory: dict[str, list[float]], *, title: str, console: Console) -> None:
    """Print median and greatest of each row, and the memory at a third of the ticks and at their end."""
    table = Table(title=title, title_justify="left")
    for name in ("", "median, s", "greatest, s", "CPU s, median"):
        table.add_column(name, justify="left" if not name else "right")
    for name, values in rows.items():
        wall, cpu = ([pair[which] for pair in values] for which in (0, 1))
        spent = f"{statistics.median(cpu):.3f}" if any(cpu) else ""
        table.add_row(name, f"{statistics.median(wall):.3f}", f"{max(wall):.3f}", spent)
    console.print(table)
    for name, values in memory.items():
        middle = values[len(values) // 3]
        console.print(f"{name}: {values[0]:.0f} MiB at first, {middle:.0f} after a third, {values[-1]:.0f} at the end")


def main() -> int:
    """Measure and print; return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=50_000, help="songs that are known (default: 50000)")
    parser.add_argument("--queued", type=int, default=1000, help="how many of them wait (default: 1000)")
    parser.add_argument("--postgres", action="store_true", help="on a Postgres of its own instead of SQLite")
    parser.add_argument("--ticks", type=int, default=20, help="ticks of the running system; 0 for none (default: 20)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    console = Console()
    known = plan_songs(options.songs, queued=options.queued)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ironclad-scale-")))
        (folder / "again").mkdir()
        url = None
        if options.postgres:
            server = stack.enter_context(running_server())
            server.create_database("scale")
            url = server.url("scale")
        began = time.monotonic()
        settings = stack.enter_context(filled_home(folder, known=known, database_url=url))
        console.print(f"filled in {time.monotonic() - began:.0f} s", style="dim")
        rows = measure_parts(settings, folder=folder) | measure_commands(known)
        memory: dict[str, list[float]] = {}
        if options.ticks:
            ticks, memory = measure_running(settings, ticks=options.ticks, folder=folder)
            rows |= ticks
        rows |= measure_deletion(settings, user_id=known[0].user_id)
    kind = "Postgres" if options.postgres else "SQLite"
    draw(rows, memory, title=f"{len(known)} songs known, {kind}; {machine()}", console=console)
    if options.json is not None:
        document: dict[str, Any] = {"machine": machine(), "database": kind, "rows": rows, "memory": memory}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    slow = [max(values)[0] for name, values in rows.items() if name.startswith("tick")]
    asked = [statistics.median(wall for wall, _ in rows[f"pipelinectl {name}"]) for name in ("status", "queue")]
    return int(max(slow) > TARGET_TICK_S or max(asked) > TARGET_COMMAND_S)


if __name__ == "__main__":
    sys.exit(main())
