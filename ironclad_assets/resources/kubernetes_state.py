"""What the state of a pod means for its work: waiting, running, lost, or ended and how. Pure.

Reasons are Kubernetes' own words and are passed on, with its message, to whoever reads the job.
"""

import signal
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from ironclad_assets.errors import ChildKilled, ErrorCode, IroncladError, failure
from ironclad_assets.resources.kubernetes_plan import CONTAINER

FAULTS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    }
)
"""Reasons to wait that seldom pass by themselves: a name, a configuration or a right is wrong."""

_START_FAILURES = frozenset({"ContainerCannotRun", "StartError", "CreateContainerError"})
_NOT_EXECUTABLE = (126, 127)


class Phase(Enum):
    """Where a pod's work is."""

    WAITING = auto()
    RUNNING = auto()
    LOST = auto()
    """Its node does not answer, or somebody has it removed: it may or may not still work."""

    ENDED = auto()


@dataclass(frozen=True, slots=True)
class PodState:
    """What one look at a pod tells.

    Attributes:
        phase: where its work is.
        reason: Kubernetes' word for why.
        message: its sentence about it.
        status: exit status of the worker once it has ended, negative for a signal.
        failure: what the end means, where that is known without a result.
        printed: the end of the worker's output, if the pod tells.
    """

    phase: Phase
    reason: str = ""
    message: str = ""
    status: int = 0
    failure: IroncladError | None = None
    printed: str = ""

    @property
    def faulty(self) -> bool:
        """Whether it waits for something that seldom comes."""
        return self.phase is Phase.WAITING and self.reason in FAULTS

    def describe(self) -> str:
        return ": ".join(part for part in (self.reason, self.message.strip()) if part)[:600]


def read_state(pod: Any) -> PodState:  # noqa: ANN401 - the client library has no types
    """Return what `pod`, as the API gives it, means."""
    status = pod.status
    container = _container_state(status)
    if status.phase == "Failed" and (killed := _killed_from_outside(status)):
        return killed
    if container is not None and container.terminated is not None:
        return _ended(container.terminated)
    if status.phase in ("Succeeded", "Failed"):
        # Its container's state was never reported.
        verdict = ChildKilled(_sentence(status.reason or "the pod failed", status.message))
        return PodState(Phase.ENDED, status=-signal.SIGKILL, failure=verdict)
    if lost := _lost(pod):
        return lost
    if container is not None and container.running is not None:
        return PodState(Phase.RUNNING)
    return _waiting(status, container=container)


def _container_state(status: Any) -> Any:  # noqa: ANN401 - as above
    """Return the state of our container: others may have been put beside it by the cluster."""
    for container in status.container_statuses or []:
        if container.name == CONTAINER:
            return container.state
    return None


def _killed_from_outside(status: Any) -> PodState | None:  # noqa: ANN401 - as above
    if status.reason == "DeadlineExceeded":
        verdict = failure(ErrorCode.LIMIT_TIME, _sentence(status.reason, status.message))
        return PodState(Phase.ENDED, status=-signal.SIGKILL, failure=verdict)
    disruption = _condition(status, "DisruptionTarget")
    if status.reason:
        # Evicted, NodeLost, NodeShutdown, Preempting, UnexpectedAdmissionError, OutOfcpu and their like.
        told = _sentence(status.reason, status.message)
    elif disruption is not None and disruption.status == "True":
        told = _sentence(disruption.reason, disruption.message)
    else:
        return None
    return PodState(Phase.ENDED, status=-signal.SIGKILL, failure=ChildKilled(told))


def _ended(terminated: Any) -> PodState:  # noqa: ANN401 - as above
    code, reason, message = terminated.exit_code, terminated.reason or "", terminated.message or ""
    status = 128 - code if code > 128 else code
    verdict: IroncladError | None = None
    if reason == "OOMKilled":
        verdict = failure(ErrorCode.OUT_OF_MEMORY, "the pod's memory limit was reached (OOMKilled)")
    elif reason in _START_FAILURES or code in _NOT_EXECUTABLE:
        detail = _sentence(reason, message or f"exit status {code}")
        verdict = failure(ErrorCode.ENGINE_UNAVAILABLE, f"the worker cannot be started in the pod: {detail}")
    elif status in (-signal.SIGKILL, -signal.SIGTERM) or reason == "ContainerStatusUnknown":
        verdict = ChildKilled(_sentence(reason or "Killed", message or f"exit status {code}"))
    return PodState(Phase.ENDED, reason=reason, status=status, failure=verdict, printed=message)


def _lost(pod: Any) -> PodState | None:  # noqa: ANN401 - as above
    status = pod.status
    ready = _condition(status, "Ready")
    if status.phase == "Unknown" or status.reason == "NodeLost":
        return PodState(Phase.LOST, status.reason or "Unknown", status.message or "")
    if ready is not None and ready.status == "Unknown":
        return PodState(Phase.LOST, ready.reason or "NodeStatusUnknown", ready.message or "")
    if pod.metadata.deletion_timestamp is not None:
        return PodState(Phase.LOST, "Terminating", "the pod is being removed from outside")
    return None


def _waiting(status: Any, *, container: Any) -> PodState:  # noqa: ANN401 - as above
    if container is not None and container.waiting is not None and container.waiting.reason:
        return PodState(Phase.WAITING, container.waiting.reason, container.waiting.message or "")
    scheduled = _condition(status, "PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return PodState(Phase.WAITING, scheduled.reason or "Unschedulable", scheduled.message or "")
    return PodState(Phase.WAITING, status.reason or status.phase or "Pending", status.message or "")


def _condition(status: Any, kind: str) -> Any:  # noqa: ANN401 - as above
    for condition in status.conditions or []:
        if condition.type == kind:
            return condition
    return None


def _sentence(reason: str, message: str | None) -> str:
    return ": ".join(part for part in (reason, (message or "").strip()) if part)[:600]
