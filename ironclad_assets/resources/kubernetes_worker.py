"""A worker in a pod, as `engine_host.runner` wants a worker: its events, its end, and what takes too long.

How the pod is got and removed belongs to `kubernetes_pod`, what its state means to `kubernetes_state`.
"""

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ironclad_assets.contracts.v1.engine import EngineEvent, EngineRequest
from ironclad_assets.engine_host.ending import Ending
from ironclad_assets.engine_host.events import parse_event
from ironclad_assets.engine_host.result import read_result
from ironclad_assets.engine_host.worker_log import WorkerLog
from ironclad_assets.errors import ChildKilled, ErrorCode, IroncladError
from ironclad_assets.resources.kubernetes_cluster import Cluster
from ironclad_assets.resources.kubernetes_log import FollowedLog
from ironclad_assets.resources.kubernetes_plan import CONTAINER, PodPlan
from ironclad_assets.resources.kubernetes_pod import EARLIER_POD, ClaimedPod
from ironclad_assets.resources.kubernetes_state import Phase

LATE_S = 60.0
"""How much later than the cluster this side ends a pod that is over its time; its node may be silent."""

_TELL_S = 0.8
_LOG_END_S = 2.0
_TAIL_LINES = 200


class Voice(Protocol):
    """What Dagster is told of a worker."""

    def opened(self) -> None:
        """The worker has said its first word."""
        ...

    def log(self, message: str) -> None:
        """The worker has a line for the log."""
        ...

    def closed(self) -> None:
        """The worker will say no more."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long what is waited for, in seconds.

    Attributes:
        start_s: for a node, an image, volumes, a quota, or an earlier pod's end.
        fault_s: for an image or a configuration that is wrong.
        away_s: for the cluster's API.
        stall_s: between two windows; None: any time.
        loading_s: before the first window, from when the pod runs.
        wall_s: for all the work, from when the pod runs; the cluster itself enforces it.
        result_s: for a network file system to show what was written on another machine.
    """

    start_s: float
    fault_s: float
    away_s: float
    stall_s: float | None
    loading_s: float
    wall_s: float
    result_s: float = 30.0


class PodWorker:
    """The worker in a claimed pod.

    Args:
        request: what it works on.
        pod: the pod; not yet asked for.
        plan: what it was made from.
        cluster: where it is.
        patience: how long what is waited for.
        voice: is told of its words.
        log: gets what it prints.
        gpu_resource: what the cluster calls a GPU.
        release: lets go of all that the pod was followed with.
    """

    def __init__(
        self,
        request: EngineRequest,
        *,
        pod: ClaimedPod,
        plan: PodPlan,
        cluster: Cluster,
        patience: Patience,
        voice: Voice,
        log: WorkerLog,
        gpu_resource: str,
        release: Callable[[], None],
    ) -> None:
        self._request, self._pod, self._plan, self._cluster = request, pod, plan, cluster
        self._patience, self._voice, self._log = patience, voice, log
        self._gpu_resource, self._release = gpu_resource, release
        self._stream: FollowedLog | None = None
        self._printed: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._tell_at = self._advanced = time.monotonic()
        self._heard = self._started = False
        self._windows = -1

    def events(self, *, timeout_s: float) -> list[EngineEvent]:
        """Return the events that came, waiting up to `timeout_s` for the first; before there is a worker, why not."""
        if self._stream is None:
            self._pod.look(eager=True)
            if not self._pod.has_log:
                time.sleep(timeout_s)
                away = f"the cluster is away: {self._pod.away}" if self._pod.away_since is not None else ""
                return self._tell(f"waiting for a pod: {away or self._pod.state.describe()}")
            self._advanced = time.monotonic()
            self._stream = FollowedLog(self._cluster, pod=self._plan.name, container=CONTAINER)
        events = self._sort(self._stream.take(timeout_s=timeout_s))
        deaf_since = self._stream.deaf_since
        self._pod.look(eager=deaf_since is not None)
        if events or deaf_since is None or time.monotonic() - deaf_since < _TELL_S:
            return events
        return self._tell(f"at work, but its log cannot be read: {self._stream.trouble}")

    def ended(self) -> bool:
        """Return whether the pod has ended; `stop` tells how."""
        return self._pod.state.phase is Phase.ENDED

    def breach(self) -> tuple[ErrorCode, str] | None:
        """Return what takes too long, or why the cluster does not make the pod, or None."""
        pod, now = self._pod, time.monotonic()
        if pod.refusal is not None:
            return ErrorCode.ENGINE_UNAVAILABLE, f"gets no pod from the cluster: {pod.refusal}"
        if pod.away_since is not None and now - pod.away_since > self._patience.away_s:
            detail = f"is out of reach: the cluster has not answered for {now - pod.away_since:.0f} s: {pod.away}"
            return ErrorCode.CLUSTER_AWAY, detail
        if pod.state.phase is Phase.WAITING:
            return self._judge_waiting(now)
        if pod.state.phase is Phase.RUNNING:
            return self._judge_running(now)
        return None

    def stop(self, *, because: IroncladError | None) -> Ending:
        """Have the pod ended and removed, wait until it is gone, and say how it ended."""
        state = self._pod.state
        try:
            if because is None:
                if self._stream is not None:
                    self._sort(self._stream.finish(timeout_s=_LOG_END_S))
                if state.failure is None and state.status in (0, 1):
                    self._wait_for_result()
            self._pod.remove(wait=because is None or because.code is not ErrorCode.CLUSTER_AWAY)
        finally:
            if self._stream is not None:
                self._stream.stop()
            if self._heard:
                self._voice.closed()
            self._release()
        output = b"\n".join(self._printed).decode("utf-8", "replace") or state.printed
        status = state.status if self.ended() else -signal.SIGKILL
        return Ending(status, output=output, failure=self._explain())

    def _judge_waiting(self, now: float) -> tuple[ErrorCode, str] | None:
        state, patience = self._pod.state, self._patience
        if state.faulty and now - self._pod.since > patience.fault_s:
            return ErrorCode.ENGINE_UNAVAILABLE, f"does not start in its pod: {state.describe()}"
        waited_s = now - self._pod.claimed_at
        if waited_s <= patience.start_s:
            return None
        waited = f"has waited {waited_s:.0f} s for its pod"
        if state.reason == EARLIER_POD:
            detail = f"{state.message}, and two must not write one output; is its node up, or removed for good?"
            return ErrorCode.CLUSTER_AWAY, f"{waited}: {detail}"
        if self._plan.gpu and self._gpu_resource in state.message:
            return ErrorCode.DEVICE_UNAVAILABLE, f"{waited} with a GPU: {state.describe()}"
        warning = "" if state.message else self._cluster.last_warning(self._plan.name)
        told = ": ".join(part for part in (state.describe(), warning) if part)
        return ErrorCode.ENGINE_UNAVAILABLE, f"{waited}: {told}"

    def _judge_running(self, now: float) -> tuple[ErrorCode, str] | None:
        patience, since = self._patience, self._pod.running_since
        if since is not None and now - since > patience.wall_s + LATE_S:
            return ErrorCode.LIMIT_TIME, f"has run for {now - since:.0f} s, which is longer than allowed"
        # Who cannot hear must not judge silence: the worker works on while the cluster's API is away.
        if self._stream is None or self._stream.deaf_since is not None:
            self._advanced = now
        if patience.stall_s is None:
            return None
        allowed_s = patience.stall_s if self._started else max(patience.stall_s, patience.loading_s)
        if now - self._advanced <= allowed_s:
            return None
        return ErrorCode.ENGINE_STALLED, f"finished no window for {allowed_s:.0f} s"

    def _explain(self) -> IroncladError | None:
        """Return what the end means where there is no result; None: that follows from the exit status."""
        state = self._pod.state
        if self._pod.adopted and state.status == 0 and state.failure is None:
            # Its result may have been cleared away as a leftover just before the pod was adopted.
            return ChildKilled(f"{self._request.engine}: the pod {self._plan.name} ended unobserved")
        return state.failure

    def _wait_for_result(self) -> None:
        """Wait until the result is seen here that the worker has written there."""
        deadline = time.monotonic() + self._patience.result_s
        while True:
            # Listing a folder makes a network file system look again.
            with contextlib.suppress(OSError):
                os.listdir(Path(self._request.output_dir))
            with contextlib.suppress(IroncladError):
                if read_result(self._request) is not None:
                    return
            if time.monotonic() >= deadline:
                return
            time.sleep(0.2)

    def _sort(self, lines: list[bytes]) -> list[EngineEvent]:
        """Return the events among `lines`; the others were printed."""
        events: list[EngineEvent] = []
        printed: list[bytes] = []
        for line in lines:
            event = parse_event(line)
            if event is None:
                printed.append(line)
            else:
                events.append(event)
                self._note(event)
        if printed:
            self._printed.extend(printed)
            self._log.append(b"\n".join(printed) + b"\n")
        return events

    def _note(self, event: EngineEvent) -> None:
        if not self._heard:
            self._heard = True
            self._voice.opened()
        if event.kind == "log":
            self._voice.log(event.message)
            return
        self._started = self._started or event.kind == "started"
        if event.kind == "started" or (event.windows is not None and event.windows > self._windows):
            self._windows = max(self._windows, event.windows or 0)
            self._advanced = time.monotonic()

    def _tell(self, message: str) -> list[EngineEvent]:
        """Return `message` as an event, if it is time for another."""
        now = time.monotonic()
        if now < self._tell_at:
            return []
        self._tell_at = now + _TELL_S
        return [EngineEvent(kind="progress", message=message[:300])]
