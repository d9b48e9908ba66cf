"""When no sweep may begin: the store is away or another one, somebody sweeps already, or the clock cannot be believed.

Ages are only as good as the clock. A sweep goes by the wall clock where it has moved as the clock of this boot did
since the last sweep; without such a witness it goes by the newest line of the ledger, which is never ahead of what
really happened. Everything here only looks, but for the witness that a sweep leaves.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ironclad_assets.errors import ErrorCode, StorageUnavailable, failure
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import current_worker
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.store import KNOWN_STORES, Store
from ironclad_assets.upkeep.prune.songs import unix_time

SLACK_S = 60.0
"""By how much two processes may disagree about the time."""

MOST_DRIFT_S = 3600.0
"""By how much the wall clock may move against the clock of the boot between two sweeps."""

MOST_AHEAD_S = 86_400.0
"""How far the clock may be ahead of the newest line of the ledger, where nothing else speaks for it."""

_WITNESS = Path("run") / "clock.json"
_LOCK = Path("run") / "prune.lock"


@dataclass(frozen=True, slots=True)
class Clock:
    """The clocks of this machine: Unix time, seconds since the boot (asleep or not), and which boot it is."""

    wall: Callable[[], float] = time.time
    boot_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    boot_id: Callable[[], str] = field(default=lambda: current_worker().boot_id)


@dataclass(frozen=True, slots=True)
class Witness:
    """What the clocks said when a sweep believed them."""

    wall: float
    boot_s: float
    boot_id: str


@dataclass(frozen=True, slots=True)
class Believed:
    """The time by which ages are measured, in Unix seconds, and why it should not be trusted, if so."""

    now: float
    doubt: str = ""


def require_store(store: Store, settings: Settings) -> None:
    """Raise unless the store is there, writable, and the one that this home has always known at its place.

    A store that is full may be swept: that is what sweeps are for.

    Raises:
        StorageUnavailable: `STORAGE_AWAY` or `STORAGE_READ_ONLY`.
    """
    store.require_present()
    try:
        known = json.loads((settings.home_dir / KNOWN_STORES).read_bytes()).get(str(store.root))
    except FileNotFoundError:
        known = None
    found = store.sentinel.read_text(encoding="utf-8").strip()
    if known is None:
        detail = f"{settings.home_dir} does not know the store at {store.root} yet; `pipelinectl up` makes them meet"
        raise StorageUnavailable(detail, code=ErrorCode.STORAGE_AWAY)
    if known != found:
        detail = f"{store.root} has the store {found}; this home's is {known}"
        raise StorageUnavailable(detail, code=ErrorCode.STORAGE_AWAY)
    if not os.access(store.root, os.W_OK) or os.statvfs(store.root).f_flag & os.ST_RDONLY:
        raise StorageUnavailable(f"{store.root} is read-only", code=ErrorCode.STORAGE_READ_ONLY)


@contextmanager
def only_sweep(settings: Settings) -> Iterator[None]:
    """Keep other sweeps of this home away.

    Raises:
        TransientFailure: `BUSY`.
    """
    path = settings.home_dir / _LOCK
    atomic.make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise failure(ErrorCode.BUSY, "another sweep is at work") from None
        yield
    finally:
        os.close(descriptor)


def believe(ledger: Ledger, settings: Settings, *, clock: Clock) -> Believed:
    """Return the time that ages may be measured by, and what speaks against the clock, if anything does."""
    wall = clock.wall()
    line = ledger.sweeps.newest_line()
    newest = None if line is None else unix_time(line)
    witness = _read_witness(settings)
    if newest is not None and wall < newest - SLACK_S:
        return Believed(wall, f"the clock says {_show(wall)}, the ledger's newest line is of {_show(newest)}")
    if witness is not None and witness.boot_id == clock.boot_id():
        expected = witness.wall + clock.boot_s() - witness.boot_s
        if abs(wall - expected) <= MOST_DRIFT_S:
            return Believed(wall)
        detail = f"the clock says {_show(wall)}, but {_show(expected)} by the seconds since the last sweep"
        return Believed(wall, detail)
    if witness is not None and wall < witness.wall - SLACK_S:
        return Believed(wall, f"the clock says {_show(wall)}, the last sweep was at {_show(witness.wall)}")
    if newest is None:
        return Believed(wall)
    if wall > newest + MOST_AHEAD_S:
        detail = f"the clock says {_show(wall)}, more than a day after the ledger's newest line, {_show(newest)}"
        return Believed(wall, detail)
    return Believed(min(newest, wall))


def keep_witness(settings: Settings, *, clock: Clock) -> None:
    """Note what the clocks say, now that they were believed or confirmed."""
    path = settings.home_dir / _WITNESS
    atomic.make_folder(path.parent)
    atomic.write_json(path, asdict(Witness(clock.wall(), clock.boot_s(), clock.boot_id())))


def _read_witness(settings: Settings) -> Witness | None:
    try:
        return Witness(**json.loads((settings.home_dir / _WITNESS).read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _show(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, tz=UTC).isoformat(timespec="seconds")
