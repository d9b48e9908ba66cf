"""What an engine's pod is: its name, what it runs, what it may use and see. Pure; nothing here calls a cluster.

A pod sees only what its request names: the hand-off and the mixture to read, the output to write, the model to
read. Its name follows from the output folder, so the cluster itself refuses a second writer.
"""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ironclad_assets.contracts.v1.engine import DEFAULT_ENVIRONMENT, EngineRequest
from ironclad_assets.engine_host.environment import worker_environment
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.resources.kubernetes_volumes import Mount, place_mounts
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.settings import Settings

CONTAINER = "engine"
GRACE_S = 2
"""Seconds between SIGTERM and SIGKILL; a worker needs 1.5 of them at most."""

WORK_LABEL = "ironclad/work"
"""Identity of what a pod works on: a pod with another one does not do what was asked for."""

_SCRATCH = "/tmp"  # noqa: S108 - the path inside the pod's own, empty volume
_DIGEST_CHARACTERS = 20

Manifest = dict[str, Any]
"""A part of a pod as Kubernetes spells it in JSON."""


@dataclass(frozen=True, slots=True)
class PodPlan:
    """A pod to be made.

    Attributes:
        name: the same for the same output folder.
        work: identity of request and image; a pod found under the name is adopted if it carries the same.
        metadata: labels, annotations and owner.
        spec: the specification, without what a Pipes session adds to the environment.
        gpu: whether it asks for a GPU.
    """

    name: str
    work: str
    metadata: Manifest
    spec: Manifest
    gpu: bool


def plan_pod(
    request: EngineRequest, *, engine: InstalledEngine, request_path: Path, limits: Limits, settings: Settings
) -> PodPlan:
    """Return the pod that works off `request`, which is or will be in the file `request_path`.

    Raises:
        IroncladError: ``ENGINE_UNAVAILABLE``, naming the setting that is missing or does not fit;
            ``DEVICE_UNAVAILABLE`` for a device that no pod has.
    """
    gpu = _wants_gpu(request.device)
    mounts = place_mounts(request, request_path=request_path, settings=settings)
    container = {
        "name": CONTAINER,
        "image": _choose_image(request, engine=engine, settings=settings),
        "command": [
            settings.kubernetes_python,
            *("-m", "ironclad_harness", "--request", str(request_path), "--events-fd", "1"),
        ],
        "env": _environment(request, engine=engine, settings=settings),
        "workingDir": _SCRATCH,
        "resources": _resources(request, limits=limits, gpu=gpu, settings=settings),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [*map(_volume_mount, mounts), {"name": "scratch", "mountPath": _SCRATCH}],
        # What was printed last is in the pod's status even where its log cannot be read.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    spec = _specify(container, mounts=mounts, wall_s=limits.wall_s, settings=settings)
    work = _digest(request.model_dump_json(), json.dumps(spec, sort_keys=True))
    return PodPlan(
        name=pod_name(request, settings=settings),
        work=work,
        metadata=_metadata(request, work=work, settings=settings),
        spec=spec,
        gpu=gpu,
    )


def _specify(container: Manifest, *, mounts: Sequence[Mount], wall_s: float, settings: Settings) -> Manifest:
    """Return the specification of a pod with this one container."""
    volumes = {mount.volume: mount.source for mount in mounts}
    user = _user_id(settings)
    spec: Manifest = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": math.ceil(wall_s),
        "terminationGracePeriodSeconds": GRACE_S,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "nodeSelector": settings.kubernetes_node_selector,
        "tolerations": list(settings.kubernetes_tolerations),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [
            *({"name": name, **source} for name, source in volumes.items()),
            {"name": "scratch", "emptyDir": {"sizeLimit": str(settings.kubernetes_scratch_bytes)}},
        ],
        "containers": [container],
    }
    if settings.kubernetes_service_account:
        spec["serviceAccountName"] = settings.kubernetes_service_account
    if settings.kubernetes_runtime_class:
        spec["runtimeClassName"] = settings.kubernetes_runtime_class
    return spec


def _choose_image(request: EngineRequest, *, engine: InstalledEngine, settings: Settings) -> str:
    pattern = settings.kubernetes_image
    if pattern is None:
        raise failure(ErrorCode.ENGINE_UNAVAILABLE, "IRONCLAD_KUBERNETES_IMAGE names no image for engine pods")
    environment = engine.model(request.model).environment
    own = request.engine if environment == DEFAULT_ENVIRONMENT else f"{request.engine}-{environment}"
    try:
        return pattern.format(engine=request.engine, environment=own, version=request.engine_version)
    except (LookupError, ValueError) as error:
        detail = f"IRONCLAD_KUBERNETES_IMAGE={pattern!r} has a place other than engine, environment, version: {error}"
        raise failure(ErrorCode.ENGINE_UNAVAILABLE, detail) from error


def _wants_gpu(device: str) -> bool:
    """Return whether `device` is a GPU; a pod has one at most, and knows it as the first."""
    if device not in ("cpu", "cuda", "cuda:0"):
        raise failure(ErrorCode.DEVICE_UNAVAILABLE, f"a pod has no device {device!r}, only cpu or cuda")
    return device != "cpu"


def _user_id(settings: Settings) -> int:
    """Return whose files a pod writes: like this process's, so that both can read and replace them."""
    user = settings.kubernetes_user_id or os.geteuid()
    if user == 0:
        detail = "engine pods never run as root: run the pipeline as another user, or set IRONCLAD_KUBERNETES_USER_ID"
        raise failure(ErrorCode.ENGINE_UNAVAILABLE, detail)
    return user


def _environment(request: EngineRequest, *, engine: InstalledEngine, settings: Settings) -> list[Manifest]:
    """Return the worker's environment; what the image sets itself (PATH, CUDA) is left alone."""
    path = settings.kubernetes_engines_path
    places: tuple[PurePosixPath, ...] = (path / "_harness", path / engine.folder.name)
    variables = worker_environment(request, engine=engine, inherited={}) | {
        "PYTHONPATH": ":".join(map(str, places)),
        # The root file system is read-only.
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": _SCRATCH,
        "TMPDIR": _SCRATCH,
    }
    return [{"name": name, "value": value} for name, value in sorted(variables.items())]


def _resources(request: EngineRequest, *, limits: Limits, gpu: bool, settings: Settings) -> Manifest:
    """Return requests and limits, equal, so that a node never gives out what it does not have."""
    amounts = {
        "cpu": f"{math.ceil(1000 * (settings.kubernetes_cpu or request.threads))}m",
        "memory": str(limits.memory_bytes),
        "ephemeral-storage": str(settings.kubernetes_scratch_bytes),
    }
    if gpu:
        amounts[settings.kubernetes_gpu_resource] = "1"
    return {"requests": amounts, "limits": amounts}


def _volume_mount(mount: Mount) -> Manifest:
    manifest: Manifest = {"name": mount.volume, "mountPath": str(mount.path), "readOnly": mount.read_only}
    return manifest | ({"subPath": mount.sub_path} if mount.sub_path else {})


def _metadata(request: EngineRequest, *, work: str, settings: Settings) -> Manifest:
    metadata: Manifest = {
        "labels": {
            "app.kubernetes.io/name": "ironclad",
            "app.kubernetes.io/part-of": "ironclad",
            "app.kubernetes.io/component": "engine",
            "ironclad/engine": _label(request.engine),
            "ironclad/job_uuid": _label(request.job_uuid),
            WORK_LABEL: work,
        },
        "annotations": {
            "ironclad/song": request.song,
            "ironclad/key": request.key,
            "ironclad/output": request.output_dir,
            # An autoscaler moves no half-finished song to save a node.
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            "karpenter.sh/do-not-disrupt": "true",
        },
    }
    if settings.kubernetes_owner:
        name, _, uid = settings.kubernetes_owner.partition("/")
        metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}]
    return metadata


def pod_name(request: EngineRequest, *, settings: Settings) -> str:
    """Return the name of any pod that works for the output of `request`."""
    volume = settings.kubernetes_data_volume or ""
    return f"ironclad-{request.engine[:30].replace('_', '-')}-{_digest(volume, request.output_dir)}"


def _label(text: str) -> str:
    """Return `text` as a label's value: at most 63 of letters, digits, ``-_.``, the first and last of them no sign."""
    kept = "".join(character if character.isascii() and character.isalnum() else "-" for character in text[:63])
    return kept.strip("-")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGEST_CHARACTERS]
