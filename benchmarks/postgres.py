"""Measure one song on Postgres: from the upload folder to the end of its run, and the connections that it opens.

    python -m benchmarks.postgres [--songs 7] [--stock] [--json FILE]

Starts a Postgres of its own (a socket in a temporary folder, everything at its defaults, each commit synced) and the
real system with `IRONCLAD_DATABASE_URL` set and an engine that only scales; then as `benchmarks.latency`. Connections
are counted in the server's log: those that the whole system opened between the rename and the run's end, and those it
opens in an idle minute. The first song is not counted: services open their connections when they first need them.

With --stock, the same is measured before that with Dagster's own Postgres storage: same tables, same graph.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.installation import Installation, machine, running_installation, spread
from benchmarks.latency import Song, measure_song
from tests.fakes.postgres import PostgresServer

TARGET_S = 4.0
TARGET_CONNECTIONS = 10
IDLE_S = 20.0
AUTHORISED = "connection authorized"

STOCK_STORAGE = """storage:
  postgres:
    postgres_url: {url!r}

"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one storage; `connections` per song, `idle_per_minute` in the whole system."""

    storage: str
    songs: Sequence[Song]
    connections: Sequence[int]
    idle_per_minute: float
    open_at_end: int


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Start an empty Postgres, and remove it afterwards."""
    server = PostgresServer("benchmark", settings="-c log_connections=on")
    try:
        server.start()
        yield server
    finally:
        server.remove()


def measure(server: PostgresServer, *, storage: str, songs: int, console: Console, **changes: object) -> Figures:
    """Run the system on a database of its own on `server`, and one song after the other through it."""
    measured: list[Song] = []
    connections: list[int] = []
    with running_installation(database_url=server.url(storage), **changes) as installation:
        with installation.instance() as instance:
            for number in range(songs + 1):
                before = server.log.count(AUTHORISED)
                measured.append(measure_song(installation, instance, number=number))
                connections.append(server.log.count(AUTHORISED) - before)
                ended_s = measured[-1].timeline.ended_s
                console.print(f"{storage} {number}: {ended_s:.2f} s, {connections[-1]} connections", style="dim")
        idle = _count_idle(server, installation)
        (open_now,) = server.execute(
            f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{storage}'", database="postgres"
        )[0]
    return Figures(storage, measured[1:], connections[1:], idle, int(str(open_now)))


def _count_idle(server: PostgresServer, installation: Installation) -> float:
    before = server.log.count(AUTHORISED)
    time.sleep(IDLE_S)
    installation.require_alive()
    return (server.log.count(AUTHORISED) - before) * 60.0 / IDLE_S


def write_stock_yaml(folder: Path, *, server: PostgresServer) -> Path:
    """Write our instance file with Dagster's own storage in it."""
    ours = (Path(__file__).resolve().parent.parent / "deploy" / "postgres" / "dagster.yaml").read_text(encoding="utf-8")
    rest = ours[ours.index("run_queue:") :]
    url = f"{server.url('stock')}&options=-csearch_path%3Ddagster"
    path = folder / "dagster.yaml"
    path.write_text(STOCK_STORAGE.format(url=url) + rest, encoding="utf-8")
    return path


def draw(figures: Sequence[Figures], *, console: Console) -> None:
    """Print a table with a row for each figure and storage."""
    table = Table(title=f"One song on Postgres; {machine()}", title_justify="left")
    for name in ("storage", "", "median", "least", "most", "target"):
        table.add_column(name, justify="left" if name in ("", "storage") else "right")
    for one in figures:
        ended = [song.timeline.ended_s for song in one.songs]
        body = [song.timeline.ended_s - song.timeline.started_s for song in one.songs]
        rows: list[tuple[str, Sequence[float], str]] = [
            ("rename to RUN_SUCCESS, s", ended, f"<= {TARGET_S:.0f}"),
            ("run started to RUN_SUCCESS, s", body, ""),
            ("CPU s of run and children", [song.run_cpu_s for song in one.songs], ""),
            ("CPU s of the services meanwhile", [song.services_cpu_s for song in one.songs], ""),
            ("connections opened", one.connections, f"<= {TARGET_CONNECTIONS}"),
        ]
        for label, values, target in rows:
            table.add_row(one.storage, label, *(f"{value:.2f}" for value in spread(values)), target)
        table.add_row(one.storage, "connections opened in an idle minute", f"{one.idle_per_minute:.0f}", "", "", "")
        table.add_row(one.storage, "connections open at the end", f"{one.open_at_end}", "", "", "")
    console.print(table)


def main() -> int:
    """Measure and print; return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=7, help="how many songs (default: 7)")
    parser.add_argument("--stock", action="store_true", help="measure Dagster's own storage too")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    console = Console()
    figures: list[Figures] = []
    with running_server() as server:
        if options.stock:
            server.create_database("stock")
            server.execute("CREATE SCHEMA dagster", database="stock")
            yaml = write_stock_yaml(server.folder, server=server)
            figures.append(measure(server, storage="stock", songs=options.songs, console=console, dagster_yaml=yaml))
        server.create_database("ours")
        figures.append(measure(server, storage="ours", songs=options.songs, console=console))
    draw(figures, console=console)
    if options.json is not None:
        document = {
            "at": time.strftime("%Y-%m-%d %H:%M:%S"),
            "machine": machine(),
            "figures": list(map(asdict, figures)),
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    ours = figures[-1]
    missed = spread([song.timeline.ended_s for song in ours.songs])[0] > TARGET_S
    return int(missed or max(ours.connections) > TARGET_CONNECTIONS)


if __name__ == "__main__":
    sys.exit(main())
