"""The one pod of a piece of work: claimed by its name, looked at, removed. Never two of them at once.

Each look asks the cluster once, so whoever calls can hear a cancel between any two. A cluster that does not
answer is asked less and less often; the pod works on meanwhile. What is made of it belongs to `kubernetes_worker`.
"""

import contextlib
import signal
import time

from ironclad_assets.contracts.v1.engine import EngineRequest
from ironclad_assets.engine_host.result import discard_result, read_finished
from ironclad_assets.engine_host.worker_log import WorkerLog
from ironclad_assets.errors import ChildKilled
from ironclad_assets.resources.kubernetes_cluster import Cluster, ClusterAway, ClusterRefusal, NameTaken, NoRoom, Pod
from ironclad_assets.resources.kubernetes_plan import GRACE_S, WORK_LABEL, PodPlan
from ironclad_assets.resources.kubernetes_state import Phase, PodState, read_state

LOOK_S = 1.0
EAGER_LOOK_S = 0.3
SLOWEST_LOOK_S = 15.0

LOST_S = 60.0
"""How long a node may be silent before its work counts as lost; shorter breaks heal."""

GONE_S = 6.0
"""How long the end of a pod is waited for; it gets SIGKILL after `kubernetes_plan.GRACE_S`."""

EARLIER_POD = "EarlierPod"
"""Our word, beside Kubernetes' own, for why there is no pod yet: one of that name has not ended."""


class ClaimedPod:
    """A pod that is ours alone: made by this process, or found at the same work and adopted.

    Attributes:
        state: what the last look told.
        since: when the present phase began, or in waiting: what is or is not a fault.
        running_since: when the worker was first seen running.
        away_since: since when the cluster does not answer; None while it does. `away` says how.
        refusal: why the cluster does not make the pod.
        adopted: whether it was found rather than made.
    """

    def __init__(
        self, request: EngineRequest, *, plan: PodPlan, body: Pod, cluster: Cluster, log: WorkerLog, lost_s: float
    ) -> None:
        self._request, self._plan, self._body = request, plan, body
        self._cluster, self._log, self._lost_s = cluster, log, lost_s
        self._uid: str | None = None
        self._looked_at = float("-inf")
        self._unanswered = 0
        self.state = PodState(Phase.WAITING, "Pending")
        self.since = self.claimed_at = time.monotonic()
        self.running_since: float | None = None
        self.away_since: float | None = None
        self.away = ""
        self.refusal: str | None = None
        self.adopted = False

    @property
    def has_log(self) -> bool:
        """Whether its worker has been seen at work, or what is left of it."""
        return self._uid is not None and self.state.phase in (Phase.RUNNING, Phase.ENDED)

    def look(self, *, eager: bool = False) -> None:
        """Ask the cluster about the pod, if it is time; where there is none, try to get it."""
        now = time.monotonic()
        first_s = EAGER_LOOK_S if eager and self._uid is not None else LOOK_S
        pause_s = min(first_s * 2**self._unanswered, SLOWEST_LOOK_S)
        if self.state.phase is Phase.ENDED or self.refusal is not None or now < self._looked_at + pause_s:
            return
        try:
            if self._uid is None:
                self._claim()
            else:
                self._refresh()
        except ClusterAway as error:
            if self.away_since is None:
                self._log.note(f"cluster away: {error}")
                self.away_since = now
            self.away = str(error)
            self._unanswered += 1
        except NoRoom as error:
            self._enter(PodState(Phase.WAITING, "QuotaExceeded", str(error)))
        except ClusterRefusal as error:
            self.refusal = str(error)
        else:
            self.away_since, self._unanswered = None, 0
        self._looked_at = time.monotonic()

    def remove(self, *, wait: bool) -> None:
        """Have the pod removed; wait until it is gone, for a bounded time. The next attempt finds it if it is not."""
        deadline = time.monotonic() + (GONE_S if wait else 0)
        asked = False
        while self._uid is not None:
            with contextlib.suppress(ClusterAway, ClusterRefusal):
                if not asked:
                    self._cluster.delete(self._plan.name, uid=self._uid, grace_s=GRACE_S)
                    asked = True
                pod = self._cluster.read(self._plan.name)
                if pod is None or pod.metadata.uid != self._uid:
                    return
            if time.monotonic() >= deadline:
                self._log.note(f"pod={self._plan.name} has not gone yet; the next attempt looks for it")
                return
            time.sleep(0.1)

    def _claim(self) -> None:
        """Make the pod; where there is one of that name, adopt it or have it removed first."""
        with contextlib.suppress(NameTaken):
            self._own(self._cluster.create(self._body), adopted=False)
            return
        pod = self._cluster.read(self._plan.name)
        if pod is None:
            return
        same_work = (pod.metadata.labels or {}).get(WORK_LABEL) == self._plan.work
        if same_work and read_state(pod).phase in (Phase.WAITING, Phase.RUNNING):
            self._own(pod, adopted=True)
            return
        if pod.metadata.deletion_timestamp is None:
            self._cluster.delete(self._plan.name, uid=pod.metadata.uid, grace_s=GRACE_S)
        node = pod.spec.node_name or "no node"
        self._enter(PodState(Phase.WAITING, EARLIER_POD, f"{self._plan.name} on {node} has not ended yet"))
        # It may finish the work before it ends, or say that it failed; only the first is of use.
        if read_finished(self._request) is None:
            discard_result(self._request)
        else:
            self._enter(PodState(Phase.ENDED))

    def _own(self, pod: Pod, *, adopted: bool) -> None:
        self._uid, self.adopted = pod.metadata.uid, adopted
        self._log.note(f"pod={self._plan.name} uid={self._uid} {'adopted' if adopted else 'made'}")
        self._enter(read_state(pod))

    def _refresh(self) -> None:
        pod = self._cluster.read(self._plan.name)
        if pod is None or pod.metadata.uid != self._uid:
            gone = ChildKilled(f"{self._request.engine}: its pod {self._plan.name} was removed from outside")
            self._enter(PodState(Phase.ENDED, status=-signal.SIGKILL, failure=gone))
        else:
            self._enter(read_state(pod))

    def _enter(self, state: PodState) -> None:
        """Take over what was seen."""
        now = time.monotonic()
        if (state.phase, state.faulty) != (self.state.phase, self.state.faulty):
            self.since = now
        elif state.phase is Phase.LOST and now - self.since > self._lost_s:
            lost = ChildKilled(f"{self._request.engine}: its pod {self._plan.name} is lost: {state.describe()}")
            state = PodState(Phase.ENDED, status=-signal.SIGKILL, failure=lost)
        if (state.phase, state.reason) != (self.state.phase, self.state.reason):
            self._log.note(f"pod={self._plan.name} {state.phase.name.lower()} {state.describe()}".rstrip())
        if state.phase is Phase.RUNNING and self.running_since is None:
            self.running_since = now
        self.state = state
