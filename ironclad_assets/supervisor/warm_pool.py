"""Which warm worker serves whom: places on the processors and one on each GPU, waiting in order, replacement.

Knows runs only by their wishes; the conversation with them belongs to `warm_service`, a worker's process to
`warm_process`.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ironclad_assets.engine_host.registry import InstalledEngine, find_engines
from ironclad_assets.engine_host.warm_protocol import LeaseWish, Release
from ironclad_assets.engine_host.worker_log import WorkerLog
from ironclad_assets.errors import ChildKilled, ErrorCode, failure
from ironclad_assets.sandbox.task import KILLS_SURVIVED
from ironclad_assets.settings import Settings
from ironclad_assets.supervisor.warm_process import WarmProcess, WorkerKey

IDLE_AGAIN_S = 2.5
"""A worker that is not idle again so long after its job was given up is killed: a cancel takes effect within 5 s."""

END_GRACE_S = 1.0
ENDED_S = 1.0
"""How long a worker that seems to have ended is waited for, so that it can be told how it ended."""

_FIRST_GPU = {"cuda": "cuda:0"}
_ON_PROCESSORS = "cpu"


@dataclass(slots=True)
class Lane:
    """The places on one device. A place is taken by a worker that lives, idle or not, or is being started."""

    places: int
    idle: list[WarmProcess] = field(default_factory=list)
    taken: int = 0
    """Places whose worker is leased, being started or being ended."""

    queue: deque[object] = field(default_factory=deque)

    def take_idle(self, key: WorkerKey) -> WarmProcess | None:
        """Return the idle worker for `key` that was used last, and have it taken."""
        for worker in reversed(self.idle):
            if worker.key == key:
                self.idle.remove(worker)
                self.taken += 1
                return worker
        return None

    def clear_place(self) -> WarmProcess | None:
        """Take a place; return the worker that must be ended for it: the least recently used one."""
        self.taken += 1
        return self.idle.pop(0) if len(self.idle) + self.taken > self.places else None


class Pool:
    """All warm workers of one installation."""

    def __init__(self, settings: Settings, *, report: Callable[[str], None]) -> None:
        self._settings = settings
        self._report = report
        self._folder = settings.home_dir / "run" / "warm"
        self._lanes: dict[str, Lane] = {}
        self._works: set[str] = set()
        self._changed = asyncio.Event()
        self._alive: set[WarmProcess] = set()
        self._closing = False

    async def lease(self, wish: LeaseWish) -> WarmProcess:
        """Return a worker for `wish`, alone for its caller until `release`; callers are served in order.

        Raises:
            IroncladError: ``ENGINE_UNAVAILABLE``: there is no such engine, or it does not start.
        """
        engine = await asyncio.to_thread(self._find, wish)
        lane = self._lane(wish.device)
        ticket = object()
        lane.queue.append(ticket)
        try:
            # Who asked first goes first; and never two workers on one output.
            while lane.queue[0] is not ticket or lane.taken >= lane.places or wish.work in self._works:
                await self._changed.wait()
        finally:
            lane.queue.remove(ticket)
            self._notify()
        # Nothing is awaited between being first and having taken the place, so nobody comes in between.
        key = WorkerKey.of(wish, engine=engine)
        self._works.add(wish.work)
        worker = lane.take_idle(key)
        replaced = lane.clear_place() if worker is None else None
        try:
            if worker is None or worker.exit_status() is not None:
                worker = await self._start(key, engine=engine, replaced=replaced or worker)
        except BaseException:
            self._leave(lane, work=wish.work)
            raise
        return worker

    async def release(self, worker: WarmProcess, *, wish: LeaseWish, how: Release) -> int | None:
        """Take a worker back; return its exit status if it has ended. Afterwards it writes nothing any more.

        Args:
            worker: from `lease`.
            wish: what it was leased for.
            how: whether it may stay, if it is fit for another job.
        """
        worker.listener = None
        if self._closing:
            return None
        lane = self._lane(wish.device)
        try:
            why = await self._why_end(worker, how=how)
            if why is not None:
                return await self._end(worker, why=why)
            worker.idle_since = time.monotonic()
            lane.idle.append(worker)
            return None
        finally:
            self._leave(lane, work=wish.work)

    async def end_idle(self) -> None:
        """End workers that nobody has used for `warm_idle_s`, and forget those that have died."""
        now = time.monotonic()
        for lane in list(self._lanes.values()):
            for worker in list(lane.idle):
                if worker.exit_status() is not None:
                    why = "it died"
                elif now - worker.idle_since >= self._settings.warm_idle_s:
                    why = "nobody needed it"
                else:
                    continue
                if worker in lane.idle:  # still: ending another one took a while
                    lane.idle.remove(worker)
                    lane.taken += 1
                    try:
                        await self._end(worker, why=why, grace_s=END_GRACE_S)
                    finally:
                        self._leave(lane)

    async def close(self) -> None:
        """End all workers."""
        self._closing = True
        await asyncio.gather(*(worker.end(grace_s=END_GRACE_S) for worker in self._alive))

    async def _end(self, worker: WarmProcess, *, why: str, grace_s: float = 0.0) -> int | None:
        try:
            status = await worker.end(grace_s=grace_s)
        finally:
            self._alive.discard(worker)
        self._report(f"ended worker={worker.pid} engine={worker.key.engine} status={status} because {why}")
        return status

    async def _why_end(self, worker: WarmProcess, *, how: Release) -> str | None:
        if how == "end":
            return "its job went wrong"
        if how == "lost" and await worker.has_ended(within_s=ENDED_S):
            return "it ended in the middle of its job"
        if not await worker.answers(within_s=IDLE_AGAIN_S):
            return "it is not idle after its job"
        return worker.why_not_again(memory_bytes=self._settings.engine_memory_bytes)

    async def _start(self, key: WorkerKey, *, engine: InstalledEngine, replaced: WarmProcess | None) -> WarmProcess:
        if replaced is not None:
            await self._end(replaced, why="another one is needed in its place", grace_s=END_GRACE_S)
        for _ in range(KILLS_SURVIVED):
            with contextlib.suppress(ChildKilled):
                return await self._start_once(key, engine=engine)
        return await self._start_once(key, engine=engine)

    async def _start_once(self, key: WorkerKey, *, engine: InstalledEngine) -> WarmProcess:
        log = WorkerLog(self._settings.home_dir / "logs" / "warm-workers" / f"{key.engine}.log")
        worker = WarmProcess(key, folder=self._folder, log=log)
        self._alive.add(worker)
        try:
            worker.launch(engine, settings=self._settings)
            await worker.await_ready()
        except BaseException:
            await asyncio.shield(self._end(worker, why="it did not come up, or nobody waits for it any more"))
            raise
        self._report(f"started worker={worker.pid} engine={key.engine} model={key.model} device={key.device}")
        return worker

    def _find(self, wish: LeaseWish) -> InstalledEngine:
        settings = self._settings
        engines = find_engines(settings.engines_path, environments=settings.environments_dir, include_private=True)
        engine = engines.get(wish.engine)
        if engine is None or engine.manifest.version != wish.version:
            detail = f"{wish.engine} {wish.version} is not installed where warm workers are started"
            raise failure(ErrorCode.ENGINE_UNAVAILABLE, detail)
        engine.python(wish.model)
        return engine

    def _lane(self, device: str) -> Lane:
        name = _FIRST_GPU.get(device, device)
        places = self._settings.warm_workers if name == _ON_PROCESSORS else 1
        return self._lanes.setdefault(name, Lane(places))

    def _leave(self, lane: Lane, *, work: str | None = None) -> None:
        lane.taken -= 1
        if work is not None:
            self._works.discard(work)
        self._notify()

    def _notify(self) -> None:
        """Wake all who wait, to look again whether it is their turn."""
        self._changed.set()
        self._changed = asyncio.Event()
