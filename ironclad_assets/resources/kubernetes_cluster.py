"""The few calls to a cluster's API that running engines takes, each with one meaning per answer.

What does not answer is `ClusterAway` and may be asked again; what is refused is `ClusterRefusal`. When to ask
again, and what a pod's state means, belongs to `kubernetes_worker` and `kubernetes_state`.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import urllib3
from dagster_k8s.client import PatchedApiClient
from kubernetes import client
from kubernetes.client.exceptions import ApiException

CALL_TIMEOUT_S = (2.0, 4.0)
"""To connect and to answer, for what is asked often: a cancel waits no longer than that."""

CREATE_TIMEOUT_S = (2.0, 30.0)
"""Admission webhooks may take their time."""

_AWAY = (401, 408, 429)
"""Answers that tell of the API's state and not of ours; 401 while a service account's token is renewed."""

_CONFLICT = 409
_NOT_FOUND = 404

Pod = Any
"""A `kubernetes.client.V1Pod`; the client has no types."""


class ClusterAway(Exception):  # noqa: N818 - a state that passes, not a mistake
    """The API cannot be reached or cannot answer now."""


class ClusterRefusal(Exception):  # noqa: N818 - an answer
    """The API answered that it does not do that, and why."""


class NoRoom(ClusterRefusal):
    """The namespace's quota is used up; there is room again as other pods end."""


class NameTaken(Exception):  # noqa: N818 - an answer
    """There is a pod of that name, or it has not quite gone."""


class Cluster:
    """One namespace of the cluster that the client library is configured for."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        configuration = client.Configuration.get_default_copy()
        # A call that fails is made again by whoever follows the pod, who also listens to a cancel.
        configuration.retries = False
        self._client = PatchedApiClient(configuration)
        self._core = client.CoreV1Api(self._client)

    def create(self, pod: Pod) -> Pod:
        """Make a pod; return it as the API keeps it.

        Raises:
            NameTaken: one of that name exists; whether it is ours shows when it is read.
        """
        with _answers():
            return self._core.create_namespaced_pod(self.namespace, pod, _request_timeout=CREATE_TIMEOUT_S)

    def read(self, name: str) -> Pod | None:
        """Return the pod called `name`, or None where there is none."""
        with _answers():
            try:
                return self._core.read_namespaced_pod(name, self.namespace, _request_timeout=CALL_TIMEOUT_S)
            except ApiException as error:
                if error.status == _NOT_FOUND:
                    return None
                raise

    def delete(self, name: str, *, uid: str, grace_s: int) -> None:
        """Have the pod of that name and identity ended and removed; one that is gone already is fine."""
        options = client.V1DeleteOptions(
            grace_period_seconds=grace_s, preconditions=client.V1Preconditions(uid=uid), propagation_policy="Background"
        )
        with _answers(), contextlib.suppress(NameTaken):
            try:
                # The answer is a pod or a status; neither is of use.
                self._core.delete_namespaced_pod(
                    name, self.namespace, body=options, _preload_content=False, _request_timeout=CALL_TIMEOUT_S
                ).drain_conn()
            except ApiException as error:
                if error.status not in (_NOT_FOUND, _CONFLICT):
                    raise

    def follow_log(
        self, name: str, *, container: str, since_s: int | None, timeout_s: float
    ) -> urllib3.BaseHTTPResponse:
        """Return the stream of a container's log: lines of time and text, until the container ends.

        Args:
            name: the pod.
            container: of that pod.
            since_s: how far back to begin; None: at the beginning.
            timeout_s: silence after which the stream counts as broken.
        """
        with _answers():
            stream: urllib3.BaseHTTPResponse = self._core.read_namespaced_pod_log(
                name,
                self.namespace,
                container=container,
                follow=True,
                timestamps=True,
                since_seconds=since_s,
                _preload_content=False,
                _request_timeout=(CALL_TIMEOUT_S[0], timeout_s),
            )
            return stream

    def last_warning(self, name: str) -> str:
        """Return the last warning about a pod, or nothing where there is none or it is not told."""
        try:
            with _answers():
                events = self._core.list_namespaced_event(
                    self.namespace,
                    field_selector=f"involvedObject.name={name},type=Warning",
                    _request_timeout=CALL_TIMEOUT_S,
                ).items
        except (ClusterAway, ClusterRefusal):
            return ""
        return f"{events[-1].reason}: {events[-1].message}" if events else ""

    def close(self) -> None:
        """Close every connection."""
        self._client.rest_client.pool_manager.clear()
        self._client.close()


@contextlib.contextmanager
def _answers() -> Iterator[None]:
    """Turn what the client library raises into the three answers there are."""
    try:
        yield
    except ApiException as error:
        raise _read_answer(error) from error
    except AttributeError as error:
        # The client library stumbles over answers without a body, such as a certificate that is not trusted.
        if not isinstance(error.__context__, ApiException):
            raise
        raise _read_answer(error.__context__) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ClusterAway(f"{type(error).__name__}: {error}") from error


def _read_answer(error: ApiException) -> Exception:
    reason, message = error.reason or "", error.body or ""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        body = json.loads(error.body)
        reason, message = body.get("reason") or reason, body.get("message") or message
    told = f"{reason}: {message}"[:500]
    if not error.status or error.status in _AWAY or error.status >= 500:
        return ClusterAway(f"{error.status or 'no answer'} {told}")
    if error.status == _CONFLICT and reason == "AlreadyExists":
        return NameTaken(told)
    return NoRoom(told) if "exceeded quota" in message else ClusterRefusal(told)
