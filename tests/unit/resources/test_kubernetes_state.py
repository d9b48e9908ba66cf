"""What the state of a pod means, for every end that Kubernetes gives a pod."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client import ApiClient

from ironclad_assets.errors import ChildKilled, ErrorCode
from ironclad_assets.resources.kubernetes_state import Phase, PodState, read_state


def state(
    phase: str, container: dict[str, Any] | None = None, *, deleted: bool = False, others: int = 0, **fields: Any
) -> PodState:
    """Return what a pod means that the API describes so."""
    facts = {"image": "i", "imageID": "", "ready": False, "restartCount": 0}
    statuses = [{"name": f"sidecar-{number}", "state": {"running": {}}, **facts} for number in range(others)]
    if container is not None:
        statuses.append({"name": "engine", "state": container, **facts})
    metadata = {"name": "pod", "uid": "1"} | ({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {})
    content = {"metadata": metadata, "status": {"phase": phase, "containerStatuses": statuses, **fields}}
    return read_state(ApiClient().deserialize(SimpleNamespace(data=json.dumps(content)), "V1Pod"))


def terminated(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, "reason": reason, "message": message}]}


def test_a_worker_that_ended_by_itself_is_judged_by_its_status():
    assert state("Succeeded", terminated(0, "Completed")) == PodState(Phase.ENDED, "Completed")
    failed = state("Failed", terminated(1, message="Traceback"))
    assert (failed.phase, failed.status, failed.failure, failed.printed) == (Phase.ENDED, 1, None, "Traceback")
    crashed = state("Failed", terminated(134))
    assert (crashed.status, crashed.failure) == (-6, None)


def test_a_container_that_ended_ends_the_pod_whatever_runs_beside_it():
    assert state("Running", terminated(0, "Completed"), others=2).phase is Phase.ENDED


@pytest.mark.parametrize(
    ("seen", "code", "named"),
    [
        (state("Failed", terminated(137, "OOMKilled")), ErrorCode.OUT_OF_MEMORY, "OOMKilled"),
        (
            state("Failed", terminated(137), reason="DeadlineExceeded", message="Pod was active too long"),
            ErrorCode.LIMIT_TIME,
            "active too long",
        ),
        (
            state("Failed", terminated(128, "StartError", "exec: python: not found")),
            ErrorCode.ENGINE_UNAVAILABLE,
            "python: not found",
        ),
        (state("Failed", terminated(127)), ErrorCode.ENGINE_UNAVAILABLE, "127"),
    ],
)
def test_an_end_that_kubernetes_explains_has_its_code(seen, code, named):
    assert seen.phase is Phase.ENDED
    assert seen.failure.code is code
    assert not isinstance(seen.failure, ChildKilled)
    assert named in seen.failure.detail


@pytest.mark.parametrize(
    ("seen", "named"),
    [
        (state("Failed", reason="Evicted", message="The node was low on resource: memory."), "low on resource"),
        (state("Failed", terminated(137), reason="NodeShutdown", message="shutting down"), "NodeShutdown"),
        (state("Failed", reason="UnexpectedAdmissionError", message="no healthy GPU"), "no healthy GPU"),
        (
            state("Failed", terminated(143), **condition("DisruptionTarget", "True", "PreemptionByScheduler", "moved")),
            "PreemptionByScheduler",
        ),
        (state("Failed", terminated(137)), "137"),
        (state("Failed", terminated(143)), "143"),
        (state("Failed", terminated(137, "ContainerStatusUnknown", "could not be located")), "could not be located"),
        (state("Failed"), "the pod failed"),
    ],
)
def test_a_pod_that_was_ended_from_outside_may_be_replaced(seen, named):
    assert seen.phase is Phase.ENDED
    assert isinstance(seen.failure, ChildKilled)
    assert named in seen.failure.detail


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (state("Unknown", {"running": {}}, reason="NodeLost"), "NodeLost"),
        (state("Running", {"running": {}}, **condition("Ready", "Unknown", "NodeStatusUnknown")), "NodeStatusUnknown"),
        (state("Running", {"running": {}}, deleted=True), "Terminating"),
        (state("Pending", deleted=True), "Terminating"),
    ],
)
def test_a_pod_whose_node_is_silent_or_that_is_being_removed_is_lost(seen, reason):
    assert (seen.phase, seen.reason, seen.failure) == (Phase.LOST, reason, None)


@pytest.mark.parametrize(
    ("seen", "reason", "faulty"),
    [
        (state("Pending"), "Pending", False),
        (state("Pending", {"waiting": {"reason": "ContainerCreating"}}), "ContainerCreating", False),
        (
            state("Pending", **condition("PodScheduled", "False", "Unschedulable", "0/3 nodes are available")),
            "Unschedulable",
            False,
        ),
        (state("Pending", **condition("PodScheduled", "False", "SchedulingGated")), "SchedulingGated", False),
        (state("Pending", {"waiting": {"reason": "ErrImagePull", "message": "denied"}}), "ErrImagePull", True),
        (state("Pending", {"waiting": {"reason": "ImagePullBackOff"}}), "ImagePullBackOff", True),
        (state("Pending", {"waiting": {"reason": "CreateContainerConfigError"}}), "CreateContainerConfigError", True),
    ],
)
def test_a_pod_that_waits_says_for_what(seen, reason, faulty):
    assert (seen.phase, seen.reason, seen.faulty) == (Phase.WAITING, reason, faulty)


def test_a_pod_that_runs_runs():
    assert state("Running", {"running": {}}) == PodState(Phase.RUNNING)
