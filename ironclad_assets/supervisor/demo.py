"""The demo: a song with known stems goes the whole way through the real system, and the way is shown.

It starts what `up` starts, in a home of its own, drops the song as any program would, follows the ledger, and
stops everything again. What is drawn is in `demo_view` and `demo_report`.
"""

import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from filelock import FileLock, Timeout
from rich.console import Console
from rich.text import Text

from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.contracts.v1.options import INSTRUMENTAL
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack
from ironclad_assets.contracts.v1.stems import Stems
from ironclad_assets.errors import ErrorCode, IroncladError, TransientFailure, failure
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.sandbox.limits import GIBIBYTE, Limits
from ironclad_assets.sandbox.task import run_task
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.artifacts import load_artifact
from ironclad_assets.storage.opening import open_store
from ironclad_assets.storage.store import Store
from ironclad_assets.supervisor.demo_report import WIDTH, DemoResult, SdrRow, draw, save
from ironclad_assets.supervisor.demo_view import DemoView
from ironclad_assets.supervisor.system import System

DEMO_FOLDER = Path("demo")
MARKER = ".ironclad-demo"
SONG_S = 30.0
PICK_UP_TIMEOUT_S = 60.0
SONG_TIMEOUT_S = 240.0
POLL_S = 0.2
LOG_LINES = 15

_LIMITS = Limits(cpu_s=60.0, memory_bytes=2 * GIBIBYTE, wall_s=120.0)
_NOTHING = " (doing nothing)"


def run_demo(settings: Settings, *, keep: bool) -> int:
    """Run the demo and return the exit code: 0 where the song completed.

    Args:
        settings: of the caller; the demo keeps everything in their home if one is set, else in ``demo``.
        keep: leave the system running after the song, until Ctrl-C.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    home: Path | None = None
    try:
        with _termination_raises():
            own = _demo_settings(settings)
            home = own.home_dir
            _make_home(home)
            _run(own, console=console, keep=keep)
    except IroncladError as error:
        console.print(
            f"[bold red]The demo did not complete.[/] {error.code.code}:", error.detail, highlight=False, soft_wrap=True
        )
        if home is not None:
            _print_logs(console, home / "logs")
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130
    return 0


def _run(settings: Settings, *, console: Console, keep: bool) -> None:
    started = time.monotonic()
    with System(settings) as system:
        with DemoView(console) as view, ThreadPoolExecutor(max_workers=1) as executor:
            synthesis = executor.submit(_synthesise, settings.home_dir)
            system.start(view.say)
            start_s = time.monotonic() - started
            result = _process(system, synthesis, view=view, start_s=start_s, running=keep)
        console.print(draw(result))
        save(result, folder=settings.home_dir)
        if keep:
            _wait_for_interrupt(system, console)


def _process(
    system: System, synthesis: Future[dict[str, Any]], *, view: DemoView, start_s: float, running: bool
) -> DemoResult:
    """Drop the song, follow it to its end, measure what came out."""
    settings = system.settings
    store = open_store(settings)
    view.say("synthesising a song with known stems")
    song = synthesis.result(timeout=_LIMITS.wall_s)
    source = Path(song["song"])
    view.say(f"dropping {source.name} into {store.input}")
    _drop(source, store.input)
    dropped_at = datetime.now(UTC)
    job = _follow(system, Ledger(settings.ledger_url, rules=Rules.from_settings(settings)), view=view)
    ended_at = datetime.now(UTC)
    view.say("comparing the stems with the true ones")
    track = load_artifact(store.stage("recombined_track", job.song), RecombinedTrack).payload
    entry = load_artifact(store.stage("library_entry", job.song), LibraryEntry).payload
    return DemoResult(
        title=song["tags"]["title"],
        job=job,
        dropped_at=dropped_at,
        ended_at=ended_at,
        stems=load_artifact(store.stage("stems", job.song), Stems).payload,
        track=track,
        entry=entry,
        sdr=_compare(song, entry=entry, store=store, gain_db=track.gain_db),
        start_s=start_s,
        store_root=store.root,
        home=settings.home_dir,
        dagster_url=system.dagster_url,
        running=running,
    )


def _synthesise(home: Path) -> dict[str, Any]:  # what the task returns
    folder = home / "synthesis"
    atomic.make_folder(folder)
    arguments = {"folder": str(folder), "seconds": SONG_S}
    return run_task(
        "ironclad_assets.audio.synthesis:synthesise_song", arguments=arguments, limits=_LIMITS, writable=(folder,)
    )


def _drop(source: Path, folder: Path) -> None:
    """Deliver a file as a well-behaved program does: under a hidden name, then renamed."""
    with source.open("rb") as song:
        atomic.write_atomically(folder / source.name, lambda stream: shutil.copyfileobj(song, stream))


def _follow(system: System, ledger: Ledger, *, view: DemoView) -> Job:
    """Return the song's job once it completed.

    Raises:
        TransientFailure: it took too long.
        IroncladError: the job's own error, where it failed.
    """
    view.say("waiting for the upload watcher")
    began = time.monotonic()
    while True:
        for name in system.check():
            view.say(f"{name} died; it is started again")
        waited_s = time.monotonic() - began
        job = next(iter(ledger.jobs(limit=1)), None)
        if job is None and waited_s > PICK_UP_TIMEOUT_S:
            _give_up(f"nobody took the song out of the upload folder in {waited_s:.0f} s")
        if job is not None:
            view.show(job)
            view.say(f"job {job.job_uuid}: {job.state}")
            if job.state is JobState.COMPLETED:
                return job
            if job.state in (JobState.FAILED, JobState.CANCELED):
                raise _error_of(job)
            if waited_s > SONG_TIMEOUT_S:
                _give_up(f"the song is still {job.state} in {job.stage or 'no stage'} after {waited_s:.0f} s")
        time.sleep(POLL_S)


def _give_up(why: str) -> NoReturn:
    raise TransientFailure(why, code=ErrorCode.LIMIT_TIME)


def _error_of(job: Job) -> IroncladError:
    if job.error is None:
        return failure(ErrorCode.INTERNAL, f"job {job.job_uuid} is {job.state} and says no reason")
    stage = f"in {job.error.stage}: " if job.error.stage else ""
    return failure(ErrorCode.from_code(job.error.code), f"{stage}{job.error.detail}; {job.error.remedy}")


def _compare(song: dict[str, Any], *, entry: LibraryEntry, store: Store, gain_db: float) -> list[SdrRow]:
    """Return the SDR of every delivered file whose truth is known, and of the song itself in its place."""
    delivered = {
        file.name: store.library(file.root) / file.file.path for file in entry.files if file.role in ("stem", "target")
    }
    references = _truths(song["stems"], stems=[file.name for file in entry.files if file.role == "stem"])
    references = {name: paths for name, paths in references.items() if name in delivered}
    estimates = {name: str(delivered[name]) for name in references}
    ratios = run_task(
        "ironclad_assets.audio.compare:compare_stems",
        arguments={
            "references": references | {name + _NOTHING: paths for name, paths in references.items()},
            "estimates": estimates | {name + _NOTHING: song["song"] for name in references},
            "gains_db": dict.fromkeys(references, gain_db),
        },
        limits=_LIMITS,
        readable=(store.root, Path(song["song"]).parent),
    )
    return [SdrRow(name, ratios[name], ratios[name + _NOTHING]) for name in references]


def _truths(known: dict[str, str], *, stems: list[str]) -> dict[str, list[str]]:
    """Return the true stems that each delivered file should sum up to.

    What the engine has no stem for belongs in its ``other``; everything but the vocals is the instrumental.
    """
    truths = {name: [path] for name, path in known.items() if name in stems}
    unnamed = [path for name, path in known.items() if name not in stems]
    if "other" in truths:
        truths["other"] += unnamed
    accompaniment = [path for name, path in known.items() if name != "vocals"]
    return truths | {"accompaniment": accompaniment, INSTRUMENTAL: accompaniment}


def _demo_settings(settings: Settings) -> Settings:
    """Return `settings` with a home for the demo and ports that are free."""
    if settings.data is not None or settings.database_url is not None:
        raise failure(
            ErrorCode.BAD_OPTION, "the demo keeps data of its own; unset IRONCLAD_DATA and IRONCLAD_DATABASE_URL"
        )
    home = settings.home if "home" in settings.model_fields_set else DEMO_FOLDER
    web_port = _free_port(settings.host, preferred=settings.web_port)
    code_port = _free_port("127.0.0.1", preferred=settings.code_port)
    changes = {"home": home.expanduser().resolve(), "web_port": web_port, "code_port": code_port}
    return Settings(**{**settings.model_dump(), **changes})


def _free_port(host: str, *, preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise TransientFailure(f"no free port on {host}", code=ErrorCode.INTERNAL)


def _make_home(home: Path) -> None:
    """Make an empty home. An earlier demo's is removed; anything else with content is left alone.

    Raises:
        PermanentFailure: `home` holds something that no demo made.
        TransientFailure: a demo is still running there.
    """
    if home.exists() and any(home.iterdir()):
        if not (home / MARKER).exists():
            raise failure(ErrorCode.BAD_OPTION, f"{home} is not empty and not a demo's; set IRONCLAD_HOME to a new one")
        lock = FileLock(home / "run" / "supervisor.lock")
        if lock.lock_file and Path(lock.lock_file).exists():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise TransientFailure(f"the system in {home} is still running; stop it first") from None
            lock.release()
        shutil.rmtree(home)
    atomic.make_folder(home)
    atomic.write_bytes(home / MARKER, b"Made by `pipelinectl demo`, which removes this folder when it runs again.\n")


def _wait_for_interrupt(system: System, console: Console) -> None:
    console.print(f"\nRunning: {system.dagster_url}  (Ctrl-C stops everything)")
    while True:
        for name in system.check():
            console.print(f"{name} died; it is started again")
        time.sleep(POLL_S)


def _print_logs(console: Console, folder: Path) -> None:
    for log in sorted(folder.glob("*.log")) if folder.is_dir() else []:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        console.print(f"\nThe end of {log}:", style="dim", highlight=False, soft_wrap=True)
        console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)


@contextmanager
def _termination_raises() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does, so that everything it started is stopped."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
