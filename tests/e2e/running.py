"""A whole installation as its owner runs it: `pipelinectl up` in a home of its own, watched from outside.

Every process that it ever started is remembered, whatever environment or parent that process has later, so
that orphans are found, and so that nothing survives the test. What songs must become is the tests' matter.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.sensors.warm_runs import RUN_NAME
from ironclad_assets.storage.hashing import hash_file
from tests import synth
from tests.integration.conftest import HALVES_MANIFEST, write_halves

ROOT = Path(__file__).resolve().parents[2]
LIBRARY_ROOTS = ("output", "output-stems")
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))
"""How often things are killed. `make test` does it once, `make chaos` more often."""

START_TIMEOUT_S = 120.0
LOOK_S = 0.1

ROLES = (
    ("prepare", b"ironclad_assets.sensors.prepare"),
    ("warm service", b"ironclad_assets.supervisor.warm_service"),
    ("engine guard", b"ironclad_assets.sandbox.guard"),
    ("media child", b"ironclad_assets.sandbox.child"),
    ("engine worker", b"ironclad_harness"),
    ("grandchild", b"sleep\x00997"),
    ("log follower", b"compute_logs/"),
    ("log follower", b"watch_orphans"),
    ("code server", b"ironclad_assets.sensors.code_server"),
    ("daemon", b"ironclad_assets.sensors.daemon"),
    ("webserver", b"dagster-webserver"),
    ("fork server", b"multiprocessing.forkserver"),
    ("supervisor", b"\x00up"),
)
"""What a process is, by what its command line holds; the first that fits. Runs are known by their name."""

STEPS_PER_SECOND = 5
"""Windows that the slow engine makes of a second of audio."""

SLOW_MODULE = """
import subprocess
import time

import numpy as np
from ironclad_harness.engine import Pass


class Halves:
    def __init__(self, context):
        self._window = context.sample_rate_hz // 5
        subprocess.Popen(["sleep", "997"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def passes(self):
        return (Pass(window=self._window, hop=self._window),)

    def separate(self, y, *, window):
        time.sleep(SECONDS)
        return np.stack([y * np.float32(0.25), y * np.float32(0.75)])
"""
"""`halves` in steps, each taking SECONDS, with a child of its own that nobody waits for."""

POISON_MODULE = """
import os
import signal
from pathlib import Path

from ironclad_harness.engine import Pass


class Poison:
    def __init__(self, context):
        self._window = context.sample_rate_hz

    def passes(self):
        return (Pass(window=self._window, hop=self._window),)

    def separate(self, y, *, window):
        stat = Path(f"/proc/{os.getppid()}/stat").read_text()
        os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)
        raise RuntimeError("the run survived")
"""
"""An engine that kills its grandparent, which is the run."""


def write_engines(folder: Path, *, step_s: float = 0.1) -> None:
    """Install `halves` in its slow form, and `poison`."""
    write_halves(folder, module=SLOW_MODULE.replace("SECONDS", str(step_s)))
    poison = folder / "poison"
    poison.mkdir(exist_ok=True)
    manifest = HALVES_MANIFEST.format(version="1.0.0").replace('"halves"', '"poison"')
    (poison / "engine.toml").write_text(
        manifest.replace("halves_engine:Halves", "poison_engine:Poison"), encoding="utf-8"
    )
    (poison / "poison_engine.py").write_text(POISON_MODULE, encoding="utf-8")


class Seen(NamedTuple):
    """One process, told from any later one with its number."""

    pid: int
    ticks: int


@dataclass
class ProcessWatch:
    """Remembers every process of one home, from a thread of its own."""

    home: Path
    known: dict[Seen, str] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="process-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_S):
            self.look()

    def look(self) -> dict[Seen, str]:
        """Return the living processes of this home with their roles."""
        with self._lock:
            table = {pid: stat for pid in _all_pids() if (stat := _read_stat(pid)) is not None}
            mine: dict[Seen, str] = {}
            for pid in sorted(table, key=lambda pid: table[pid].ticks):
                seen = Seen(pid, table[pid].ticks)
                parent = table.get(table[pid].parent)
                inherited = parent is not None and Seen(table[pid].parent, parent.ticks) in mine
                if seen in self.known or inherited or self._names_home(pid):
                    mine[seen] = _role(pid)
            self.known.update(mine)
            return mine

    def _names_home(self, pid: int) -> bool:
        needle = f"IRONCLAD_HOME={self.home}".encode()
        with contextlib.suppress(OSError):
            return needle in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return False


class _Stat(NamedTuple):
    parent: int
    ticks: int


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


def _read_stat(pid: int) -> _Stat | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else _Stat(parent=int(fields[1]), ticks=int(fields[19]))


def _role(pid: int) -> str:
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == RUN_NAME:
            return "run worker"
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return next((role for role, mark in ROLES if mark in command), "other")
    return "gone"


class RunningSystem:
    """One `pipelinectl up`: start, look, kill, start again."""

    def __init__(self, folder: Path, host: str | None = None, **environment: str) -> None:
        """Plan a system; with `host` it believes to be on a machine of that name (only root may say so)."""
        self.folder = folder
        self._renamed = () if host is None else ("unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "sh")
        self.home = folder / "home"
        self.engines = folder / "engines"
        if not self.engines.exists():
            self.engines.mkdir(parents=True)
            write_engines(self.engines)
        self.web_port, code_port = _free_ports(2)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("IRONCLAD_", "DAGSTER_"))},
            "IRONCLAD_HOME": str(self.home),
            "IRONCLAD_ENGINES_PATH": str(self.engines),
            "IRONCLAD_DEFAULT_ENGINE": "halves",
            "IRONCLAD_WEB_PORT": str(self.web_port),
            "IRONCLAD_CODE_PORT": str(code_port),
            "IRONCLAD_SETTLE_S": "0.2",
            "IRONCLAD_ANALYSE": "false",  # else it would come between songs whose timing is looked at
            "IRONCLAD_DISK_RESERVE_BYTES": "1048576",
            "PYTHONWARNINGS": "default",
            **environment,
        }
        self.store = Path(self.environment.get("IRONCLAD_DATA", self.home / "pipeline-data"))
        self.ledger = Ledger(self.environment.get("IRONCLAD_DATABASE_URL", f"sqlite:///{self.home / 'ledger.db'}"))
        self.watch = ProcessWatch(self.home)
        self.watch.start()
        self._process: subprocess.Popen[bytes] | None = None

    # Life

    def start(self) -> float:
        """Run `pipelinectl up` and return when it says that it runs; return the seconds that took."""
        began = time.monotonic()
        if self._process is not None:
            self._process.wait(30.0)
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "up.log"
        offset = log.stat().st_size if log.exists() else 0
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [*self._renamed, *_command("up")],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        while b"running: " not in log.read_bytes()[offset:]:
            assert self._process.poll() is None, self.story()
            assert time.monotonic() - began < START_TIMEOUT_S, self.story()
            time.sleep(0.1)
        return time.monotonic() - began

    def stop(self) -> int:
        """Ask the system to end, as Ctrl-C does; return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(30.0)

    def kill(self, role: str, *, choose: Callable[[list[int]], int] = min) -> int | None:
        """Send SIGKILL to one living process of `role`; return its id, or None where there is none."""
        found = self.pids(role)
        if not found:
            return None
        pid = choose(found)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._reap()
        return pid

    def kill_run(self, job: Job) -> bool:
        """Send SIGKILL to the process that works on `job`, without a moment's search; return whether there was one."""
        for running, worker in self.ledger.running_jobs():
            if running.job_uuid == job.job_uuid:
                os.kill(worker.pid, signal.SIGKILL)
                return True
        return False

    def kill_all(self) -> int:
        """Send SIGKILL to everything of this home, as a power cut does; return how many that were."""
        killed = 0
        while alive := self.watch.look():
            for pid, _ in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
            self._reap()
        return killed

    def close(self) -> None:
        """End everything, whatever state it is in."""
        self.kill_all()
        if self._process is not None:
            self._process.wait(30.0)
        self.watch.close()
        self.ledger.close()

    def _reap(self) -> None:
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)

    # Looking

    def processes(self) -> dict[str, list[int]]:
        """Return the living processes by role."""
        found: dict[str, list[int]] = {}
        for (pid, _), role in self.watch.look().items():
            found.setdefault(role, []).append(pid)
        return found

    def pids(self, role: str) -> list[int]:
        return self.processes().get(role, [])

    def jobs(self) -> list[Job]:
        return self.ledger.jobs(limit=1000)

    def states(self) -> list[str]:
        return sorted(job.state.value for job in self.jobs())

    def await_true(self, question: Callable[[], Any], *, timeout_s: float, what: str, pause_s: float = 0.05) -> float:
        """Wait until `question` answers with something true; return how long that took."""
        began = time.monotonic()
        while not question():
            assert time.monotonic() - began < timeout_s, f"{what}: not within {timeout_s:.0f} s\n{self.story()}"
            time.sleep(pause_s)
        return time.monotonic() - began

    def await_states(self, wanted: Iterable[JobState], *, songs: int, timeout_s: float = 180.0) -> float:
        """Wait until there are `songs` jobs and each is in one of the `wanted` states."""
        states = set(wanted)

        def reached() -> bool:
            jobs = self.jobs()
            return len(jobs) == songs and all(job.state in states for job in jobs)

        return self.await_true(reached, timeout_s=timeout_s, what=f"{songs} songs {sorted(states)}")

    def await_completed(self, *, songs: int, timeout_s: float = 180.0) -> float:
        return self.await_states([JobState.COMPLETED], songs=songs, timeout_s=timeout_s)

    def await_job_completed(self, job: Job, *, timeout_s: float = 60.0) -> float:
        return self.await_true(
            lambda: self.ledger.job(job.job_uuid).state is JobState.COMPLETED,
            timeout_s=timeout_s,
            what=f"{job.original_name} is complete",
        )

    def await_stage(self, job: Job, stage: str, *, timeout_s: float = 90.0) -> float:
        """Wait until a job is in `stage`."""
        return self.await_true(
            lambda: (now := self.ledger.job(job.job_uuid)).state is JobState.RUNNING and now.stage == stage,
            timeout_s=timeout_s,
            what=f"{job.original_name} in {stage}",
            pause_s=0.005,
        )

    def library(self) -> dict[str, str]:
        """Return the SHA-256 of every file that a media server would see, by its path in the store."""
        found = {}
        for root in LIBRARY_ROOTS:
            for path in sorted((self.store / root).rglob("*")):
                relative = path.relative_to(self.store)
                if path.is_file() and not any(part.startswith(".") for part in relative.parts):
                    found[str(relative)] = hash_file(path)
        return found

    def leftovers(self) -> list[str]:
        """Return the unfinished files in the library roots, hidden or not."""
        roots = [self.store / root for root in LIBRARY_ROOTS]
        return [str(path) for root in roots for path in root.rglob("*") if ".part" in path.name]

    def story(self) -> str:
        """Return what a person needs who asks why a test failed."""
        lines = [f"home {self.home}", f"processes {self.processes()}"]
        with contextlib.suppress(Exception):
            for job in self.jobs():
                lines.append(f"{job.original_name} attempt {job.attempt} {job.state} in {job.stage}: {job.error}")
                lines += [
                    f"    {one.at} {one.actor}: {one.from_state} -> {one.to_state} {one.detail}"
                    for one in self.ledger.history(job.job_uuid)
                ]
        for log in (self.folder / "up.log", *sorted((self.home / "logs").glob("*.log"))):
            with contextlib.suppress(OSError):
                lines += [f"--- {log.name}", *log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:]]
        return "\n".join(lines)

    # Doors

    def drop(self, path: Path) -> None:
        """Move a finished file into the upload folder."""
        path.rename(self.store / "input" / path.name)

    def drop_songs(self, count: int, *, seconds: float = 2.0, first: int = 0) -> None:
        """Synthesise songs beside the upload folder and move them in; equal numbers make equal songs."""
        staging = self.store / ".tests"
        staging.mkdir(exist_ok=True)
        for number in range(first, first + count):
            path = synth.write_flac(staging / f"Song {number}.flac", synth.noise(seconds, seed=number))
            self.drop(path)
        staging.rmdir()

    def submit(self, name: str, *options: str, seconds: float = 2.0) -> Job:
        """Submit a song of its own through the command line."""
        path = self.folder / f"{name}.flac"
        synth.write_flac(path, synth.noise(seconds, seed=zlib.crc32(name.encode())))
        done = self.run_command("submit", str(path), "--json", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return self.ledger.job(json.loads(done.stdout)["jobs"][0]["job_uuid"])

    def run_command(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run `pipelinectl` against this home."""
        return subprocess.run(
            _command(*arguments),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def watcher(self) -> dict[str, Any]:
        """Return what the watcher said last."""
        path = self.home / "run" / "watcher.json"
        return json.loads(path.read_bytes()) if path.exists() else {}

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask Dagster's GraphQL, as its web page does."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.web_port}/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30.0) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def partitions(self) -> list[str]:
        """Return the songs that Dagster knows."""
        query = """query($s: RepositorySelector!) {
            partitionSetsOrError(repositorySelector: $s, pipelineName: "process_song") {
                ... on PartitionSets {
                    results { partitionsOrError { ... on Partitions { results { name } } } } } } }"""
        selector = {"repositoryName": "__repository__", "repositoryLocationName": "ironclad"}
        (only,) = self.ask(query, s=selector)["partitionSetsOrError"]["results"]
        return [one["name"] for one in only["partitionsOrError"]["results"]]


def say(text: str) -> None:
    """Show what was measured, with `pytest -s` or where a test fails; and keep it, in the file CHAOS_LOG names."""
    sys.stdout.write(f"\n{text}\n")
    if "CHAOS_LOG" in os.environ:
        with Path(os.environ["CHAOS_LOG"]).open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from ironclad_assets.cli.main import main; main()", *arguments]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
