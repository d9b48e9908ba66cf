"""A Kubernetes cluster of one node on this machine: an API server on a loopback port, and a kubelet that runs pods.

Speaks the calls that running a pod takes (create, read, delete, log with follow, events) with Kubernetes' own
status codes and reasons. Containers are processes here: the pod's own command with its own environment and nothing
else. Mounts cannot be made, so the kubelet checks that what the command names is visible through them.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

NAMESPACE = "songs"
START_S = 0.1


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Pod:
    """One pod: what was asked for, what has become of it, and its process."""

    manifest: dict[str, Any]
    status: dict[str, Any] = field(default_factory=lambda: {"phase": "Pending"})
    log: list[tuple[str, bytes]] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    log_complete: bool = False
    frozen: bool = False
    """Its node does not answer: the status stays as it is."""

    @property
    def name(self) -> str:
        return self.manifest["metadata"]["name"]

    @property
    def uid(self) -> str:
        return self.manifest["metadata"]["uid"]

    @property
    def container(self) -> dict[str, Any]:
        return self.manifest["spec"]["containers"][0]

    def environment(self) -> dict[str, str]:
        return {variable["name"]: variable["value"] for variable in self.container["env"]}

    def terminate(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def set_container(self, state: dict[str, Any], *, phase: str, **fields: Any) -> None:
        statuses = [{"name": self.container["name"], "state": state, "ready": "running" in state} | _CONTAINER_FACTS]
        self.status = {"phase": phase, "containerStatuses": statuses, "startTime": _now()} | fields


_CONTAINER_FACTS = {"image": "image", "imageID": "", "restartCount": 0}

Kubelet = Callable[["FakeKubernetes", Pod], None]
"""What becomes of a pod once it is made; runs in a thread of the pod's own."""


class FakeKubernetes:
    """The cluster; a context manager. `kubelet` may be replaced by what a test wants to happen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pods: dict[str, Pod] = {}
        self.calls: list[tuple[str, str]] = []
        self.made: list[Pod] = []
        self.events: list[dict[str, Any]] = []
        self.kubelet: Kubelet = run_pod
        self.answer: Callable[[str, str], tuple[int, str, str] | None] = lambda method, path: None
        """Says what to answer instead, as code, reason and message; None: as the cluster would."""

        self.changed = threading.Condition()
        self.cut_logs = threading.Event()
        self._threads: list[threading.Thread] = []
        self._server = _Server(("127.0.0.1", 0), _Api)
        self._server.cluster = self
        self._serving = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "FakeKubernetes":
        self._serving.start()
        return self

    def __exit__(self, *_: object) -> None:
        for pod in self.made:
            pod.terminate(signal.SIGKILL)
        with self.changed:
            self.pods.clear()
            self.changed.notify_all()
        self.go_away()
        for thread in self._threads:
            thread.join(timeout=10)

    def go_away(self) -> None:
        """Stop answering: connections are refused from now on."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def config(self) -> Path:
        """A kubeconfig file that leads here."""
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        path = self.folder / "kubeconfig.json"
        context = {"name": "fake", "context": {"cluster": "fake", "user": "runner", "namespace": NAMESPACE}}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [context],
            "clusters": [{"name": "fake", "cluster": {"server": address}}],
            "users": [{"name": "runner", "user": {"token": "secret"}}],
        }
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def only_pod(self) -> Pod:
        [pod] = self.made
        return pod

    def wait_until(self, what: Callable[[], object], *, timeout_s: float = 15.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < deadline, "it did not come to be"
            time.sleep(0.02)

    def create(self, manifest: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = manifest["metadata"]["name"]
        with self.changed:
            if name in self.pods:
                return _status(409, "AlreadyExists", f'pods "{name}" already exists')
            manifest["metadata"] |= {"uid": str(uuid.uuid4()), "namespace": NAMESPACE, "creationTimestamp": _now()}
            pod = Pod(manifest)
            outputs = [each.manifest["metadata"]["annotations"]["ironclad/output"] for each in self.pods.values()]
            assert manifest["metadata"]["annotations"]["ironclad/output"] not in outputs, "two pods, one output"
            self.pods[name] = pod
            self.made.append(pod)
        self._run(lambda: self.kubelet(self, pod))
        return 201, self.show(pod)

    def delete(self, name: str, options: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        pod = self.pods.get(name)
        if pod is None:
            return _status(404, "NotFound", f'pods "{name}" not found')
        wanted = options.get("preconditions", {}).get("uid", pod.uid)
        if wanted != pod.uid:
            return _status(409, "Conflict", f"the UID in the precondition ({wanted}) is not {pod.uid}")
        if "deletionTimestamp" not in pod.manifest["metadata"]:
            pod.manifest["metadata"]["deletionTimestamp"] = _now()
            grace_s = options.get("gracePeriodSeconds", pod.manifest["spec"]["terminationGracePeriodSeconds"])
            self._run(lambda: self._end(pod, grace_s=grace_s))
        return 200, self.show(pod)

    def show(self, pod: Pod) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Pod", **pod.manifest, "status": pod.status}

    def forget(self, pod: Pod) -> None:
        with self.changed:
            if self.pods.get(pod.name) is pod:
                del self.pods[pod.name]
            self.changed.notify_all()

    def write_log(self, pod: Pod, line: bytes) -> None:
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + f"{len(pod.log) % 1000:03}Z"
        with self.changed:
            pod.log.append((stamp, line))
            self.changed.notify_all()

    def _end(self, pod: Pod, *, grace_s: float) -> None:
        if pod.frozen:
            return
        pod.terminate()
        deadline = time.monotonic() + grace_s
        while pod.process is not None and pod.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        pod.terminate(signal.SIGKILL)
        if pod.process is not None:
            pod.process.wait(timeout=10)
            time.sleep(0.1)
        self.forget(pod)

    def _run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()


def run_pod(cluster: FakeKubernetes, pod: Pod) -> None:
    """Start the container, keep its log, and report its end: what a kubelet does where nothing goes wrong."""
    pod.set_container({"waiting": {"reason": "ContainerCreating"}}, phase="Pending")
    time.sleep(START_S)
    if hidden := find_hidden_paths(pod):
        message = f"not mounted: {hidden}"
        pod.set_container({"waiting": {"reason": "CreateContainerConfigError", "message": message}}, phase="Pending")
        return
    if "deletionTimestamp" in pod.manifest["metadata"]:
        return
    container = pod.container
    with subprocess.Popen(
        container["command"],
        env=pod.environment(),
        cwd=container["workingDir"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        pod.process = process
        pod.set_container({"running": {"startedAt": _now()}}, phase="Running")
        readers = [
            threading.Thread(target=_keep, args=(cluster, pod, stream)) for stream in (process.stdout, process.stderr)
        ]
        for reader in readers:
            reader.start()
        deadline = time.monotonic() + pod.manifest["spec"]["activeDeadlineSeconds"]
        late = False
        while process.poll() is None:
            time.sleep(0.02)
            if time.monotonic() > deadline and not late:
                late = True
                pod.terminate(signal.SIGKILL)
        for reader in readers:
            reader.join(timeout=10)
    with cluster.changed:
        pod.log_complete = True
        cluster.changed.notify_all()
    if pod.frozen:
        return
    status = process.returncode
    exit_code = status if status >= 0 else 128 - status
    reason = "Completed" if status == 0 else "Error"
    terminated = {"exitCode": exit_code, "reason": reason, "finishedAt": _now(), "startedAt": _now()}
    fields = {"reason": "DeadlineExceeded", "message": "Pod was active longer than specified deadline"} if late else {}
    pod.set_container({"terminated": terminated}, phase="Failed" if late or status else "Succeeded", **fields)


def find_hidden_paths(pod: Pod) -> list[str]:
    """Return what the worker needs and the pod's mounts do not show it, or show it read-only."""
    volumes = {volume["name"]: volume for volume in pod.manifest["spec"]["volumes"]}
    request = json.loads(Path(pod.container["command"][pod.container["command"].index("--request") + 1]).read_text())
    needed = [(Path(request["mixture"]["path"]), False), (Path(request["output_dir"]), True)]
    needed += [(Path(file["path"]), False) for file in request["model_files"]]
    hidden = []
    for path, written in needed:
        mounts = [mount for mount in pod.container["volumeMounts"] if path.is_relative_to(mount["mountPath"])]
        mount = max(mounts, key=lambda each: len(each["mountPath"]), default=None)
        if mount is None or (written and mount.get("readOnly")) or not _leads_to(mount, volumes[mount["name"]]):
            hidden.append(str(path))
    return hidden


def _leads_to(mount: dict[str, Any], volume: dict[str, Any]) -> bool:
    """Return whether a mount shows the folder of its own path; of a claim only the test knows where it is."""
    host = volume.get("hostPath", {}).get("path")
    return host is None or Path(host, mount.get("subPath", "")) == Path(mount["mountPath"])


def _keep(cluster: FakeKubernetes, pod: Pod, stream: Any) -> None:
    for line in stream:
        cluster.write_log(pod, line.rstrip(b"\n"))


def _status(code: int, reason: str, message: str) -> tuple[int, dict[str, Any]]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    cluster: FakeKubernetes

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that have gone: that is how a followed log ends."""


class _Api(BaseHTTPRequestHandler):
    """The API: one method per verb, the paths told apart by their end."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        body = self._body()
        if not self._interrupted():
            self._reply(*self.server.cluster.create(body))

    def do_DELETE(self) -> None:
        body = self._body()
        if not self._interrupted():
            self._reply(*self.server.cluster.delete(self.path.partition("?")[0].rpartition("/")[2], body))

    def do_GET(self) -> None:
        if self._interrupted():
            return
        cluster, address = self.server.cluster, urlsplit(self.path)
        if address.path.endswith("/events"):
            self._reply(200, {"kind": "EventList", "apiVersion": "v1", "items": cluster.events})
            return
        named = re.fullmatch(rf"/api/v1/namespaces/{NAMESPACE}/pods/([a-z0-9.-]+)(/log)?", address.path)
        pod = cluster.pods.get(named[1]) if named else None
        if named is None or pod is None:
            self._reply(*_status(404, "NotFound", f"{address.path} not found"))
        elif named[2]:
            self._send_log(pod, parse_qs(address.query))
        else:
            self._reply(200, cluster.show(pod))

    def _interrupted(self) -> bool:
        cluster = self.server.cluster
        cluster.calls.append((self.command, self.path))
        answer = cluster.answer(self.command, self.path)
        if answer is None:
            return False
        self._reply(*_status(*answer))
        return True

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")

    def _reply(self, code: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_log(self, pod: Pod, query: dict[str, list[str]]) -> None:
        if pod.process is None and not pod.log:
            self._reply(*_status(400, "BadRequest", f'container "engine" in pod "{pod.name}" is waiting to start'))
            return
        assert query["follow"] == ["True"]
        assert query["timestamps"] == ["True"]
        assert query["container"] == ["engine"]
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            for stamp, line in self._follow(pod, float(query.get("sinceSeconds", ["inf"])[0])):
                block = f"{stamp} ".encode() + line + b"\n"
                # Cut anywhere, as a network does.
                for part in (block[:7], block[7:]):
                    self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def _follow(self, pod: Pod, since_s: float) -> Iterator[tuple[str, bytes]]:
        cluster, sent = self.server.cluster, 0
        oldest = "" if since_s == float("inf") else datetime.fromtimestamp(time.time() - since_s, UTC).isoformat()[:19]
        while not cluster.cut_logs.is_set():
            with cluster.changed:
                lines, complete = pod.log[sent:], pod.log_complete or cluster.pods.get(pod.name) is not pod
                if not lines and not complete:
                    cluster.changed.wait(timeout=0.1)
            sent += len(lines)
            yield from (line for line in lines if line[0] >= oldest)
            if complete and sent == len(pod.log):
                return
