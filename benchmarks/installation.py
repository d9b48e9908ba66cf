"""A whole Ironclad in a temporary home, for the benchmarks: the real processes of `up`, a trivial engine, songs.

What is measured on it, and how, belongs to the benchmarks.
"""

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import psutil
import soundfile

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.supervisor.system import System

ENGINES = Path(__file__).resolve().parent.parent / "engines"
RATE_HZ = 44100
SONG_S = 2.0
LOOK_S = 0.1

TRIVIAL_MANIFEST = """
name = "trivial"
version = "1.0.0"
kind = "separation"
protocol = 1
description = "A quarter of the mixture as vocals, the rest as other"
licence = "MIT"
entry = "trivial_engine:Trivial"
environment = "core"
default_model = "quarter"
devices = ["cpu"]

[[models]]
name = "quarter"
description = "No weights"
stems = ["vocals", "other"]
sample_rate_hz = 44100
channels = 2
"""

TRIVIAL_MODULE = """
import numpy as np
from ironclad_harness.engine import Pass


class Trivial:
    def __init__(self, context):
        self._window = 2 * context.sample_rate_hz

    def passes(self):
        return (Pass(window=self._window, hop=self._window),)

    def separate(self, y, *, window):
        return np.stack([y * np.float32(0.25), y * np.float32(0.75)])
"""


class BenchmarkError(Exception):
    """The system did not do what was to be measured."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The running system and the ledger it writes."""

    system: System
    ledger: Ledger
    folder: Path

    @property
    def settings(self) -> Settings:
        return self.system.settings

    @property
    def input(self) -> Path:
        return self.settings.store_root / "input"

    def instance(self) -> dg.DagsterInstance:
        """Return the system's Dagster instance, to be closed by the caller."""
        return dg.DagsterInstance.from_config(str(self.settings.dagster_home))

    def pid(self, service: str) -> int:
        """Return the process id of one of the supervised services."""
        found = {one.name: one.process for one in self.system.services}[service]
        if found is None:
            raise BenchmarkError(f"{service} does not run")
        return found.pid

    def require_alive(self) -> None:
        """Raise BenchmarkError where a service died: the figures would be of its restart."""
        dead = self.system.check()
        if dead:
            raise BenchmarkError(f"{', '.join(dead)} died while measuring; see {self.system.log_dir}")

    def prepare_song(self, number: int, *, seconds: float = SONG_S) -> Path:
        """Write a song on the file system of the upload folder, not in it yet."""
        path = self.folder / f"Song {number:04d}.flac"
        write_song(path, seconds=seconds, seed=number)
        return path

    def drop(self, song: Path) -> float:
        """Rename a finished file into the upload folder; return the time of that, Unix seconds."""
        target = self.input / song.name
        at = time.time()
        song.rename(target)
        return at

    def await_completed(self, count: int, *, timeout_s: float) -> None:
        """Return when `count` jobs have completed.

        Raises:
            BenchmarkError: one failed, or it took too long.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            states = self.ledger.count_by_state()
            if states.get(JobState.FAILED, 0):
                failed = self.ledger.jobs(states={JobState.FAILED}, limit=1)[0]
                raise BenchmarkError(f"{failed.original_name} failed: {failed.error}")
            if states.get(JobState.COMPLETED, 0) >= count:
                return
            if time.monotonic() > deadline:
                raise BenchmarkError(f"after {timeout_s:.0f} s the jobs are {states}, not {count} completed")
            self.require_alive()
            time.sleep(LOOK_S)


@contextmanager
def running_installation(
    install: Callable[[Path], None] | None = None, *, default_engine: str = "trivial", **changes: object
) -> Iterator[Installation]:
    """Start the system in a temporary home; stop it and delete the home afterwards.

    Args:
        install: puts engines into the folder it is given, and their weights into the folder ``models`` beside
            it; the trivial engine if missing.
        default_engine: what separates the songs.
        changes: further settings.
    """
    with tempfile.TemporaryDirectory(prefix="ironclad-benchmark-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        engines = folder / "engines"
        (install or write_trivial_engine)(engines)
        web_port, code_port = free_ports(2)
        chosen = Settings.model_validate(
            {
                "home": folder / "home",
                "engines_path": engines,
                "models_path": folder / "models",
                "default_engine": default_engine,
                "web_port": web_port,
                "code_port": code_port,
                "analyse": False,
                **changes,
            }
        )
        with environment_of(chosen), System(chosen) as system:
            system.start(lambda text: print(text, file=sys.stderr))
            ledger = Ledger(chosen.ledger_url)
            try:
                yield Installation(system, ledger, folder)
            finally:
                ledger.close()


@contextmanager
def environment_of(settings: Settings) -> Iterator[None]:
    """Hand the settings that differ from the defaults to the processes of the system, and its instance to ours."""
    names = {f"IRONCLAD_{name.upper()}": getattr(settings, name) for name in settings.model_fields_set}
    names["DAGSTER_HOME"] = settings.dagster_home
    before = dict(os.environ)
    os.environ.update({name: str(value) for name, value in names.items() if value is not None})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def write_trivial_engine(engines: Path) -> None:
    """Install the engine `trivial` in a new folder of engines, beside the real harness."""
    folder = engines / "trivial"
    folder.mkdir(parents=True)
    (folder / "engine.toml").write_text(TRIVIAL_MANIFEST, encoding="utf-8")
    (folder / "trivial_engine.py").write_text(TRIVIAL_MODULE, encoding="utf-8")
    (engines / "_harness").symlink_to(ENGINES / "_harness")


def write_song(path: Path, *, seconds: float, seed: int) -> None:
    """Write a stereo FLAC of seeded noise, 16 bit, 44.1 kHz."""
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, (round(seconds * RATE_HZ), 2))
    soundfile.write(path, noise, RATE_HZ, subtype="PCM_16")


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback address that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def fork_server(code_server: int) -> int:
    """Return the process that a code server's runs are forks of."""
    for child in psutil.Process(code_server).children():
        with contextlib.suppress(psutil.Error):
            if any("multiprocessing.forkserver" in part for part in child.cmdline()):
                return child.pid
    raise BenchmarkError(f"code server {code_server} has no fork server")


def spent_by_children_s(pid: int) -> float:
    """Return the processor seconds of the ended and reaped descendants of `pid` (cutime + cstime of proc(5)).

    A run process is a child of the fork server, media children and engine guards are children of the run, and
    each is waited for by its parent: when the run has ended, everything it cost has arrived here.
    """
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def run_processes(pid: int) -> list[int]:
    """Return the runs that are forks of the fork server `pid`, also those that have ended and were not waited for."""
    return [child.pid for child in psutil.Process(pid).children()]


def await_reaped(pid: int, *, timeout_s: float = 20.0) -> None:
    """Return when the fork server `pid` has no run any more, not even one that has ended and was not waited for."""
    deadline = time.monotonic() + timeout_s
    while run_processes(pid):
        if time.monotonic() > deadline:
            raise BenchmarkError(f"a run of fork server {pid} did not end within {timeout_s:.0f} s")
        time.sleep(LOOK_S)


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return median, least and greatest."""
    return statistics.median(values), min(values), max(values)


def machine() -> str:
    """Return the processor, the number of cores and the load, for the record."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), "unknown")
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def tool(name: str) -> str:
    """Return the path of a console script of this very environment."""
    return str(Path(sys.executable).with_name(name))


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process of the benchmark's own and what it started in its group."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(20.0)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait(10.0)
