"""Settings of engines that run as jobs of a Kubernetes cluster: a part of `settings.Settings`, never used alone.

What they do is the Kubernetes executor's business; paths are made absolute where the settings are read.
"""

from pathlib import Path, PurePosixPath

from pydantic import Field, PositiveInt
from pydantic_settings import BaseSettings

_GIBIBYTE = 1024**3


class ClusterSettings(BaseSettings):
    """Fields that concern the cluster alone."""

    kubernetes_image: str | None = Field(
        default=None, description="Image of engine pods; {engine}, {environment} and {version} are filled in."
    )
    kubernetes_engines_path: PurePosixPath = Field(
        default=PurePosixPath("/opt/ironclad/engines"), description="Folder of the engines in the image."
    )
    kubernetes_python: str = Field(default="python", description="Interpreter in the image.")
    kubernetes_config: Path | None = Field(
        default=None, description="kubeconfig file; default: the pod's service account, else the user's own file."
    )
    kubernetes_context: str | None = Field(default=None, description="Context of the kubeconfig file.")
    kubernetes_namespace: str | None = Field(
        default=None, description="Namespace of engine pods; default: that of this pod or of the context."
    )
    kubernetes_data_volume: str | None = Field(
        default=None, description="Claim, or absolute path on every node, of the volume that holds the store."
    )
    kubernetes_data_mount: Path | None = Field(
        default=None, description="Where that volume is mounted here; default: the root of the store."
    )
    kubernetes_models_volume: str | None = Field(
        default=None, description="The same for model weights; default: they are on the store's volume."
    )
    kubernetes_models_mount: Path | None = Field(
        default=None, description="Where the models' volume is mounted here; default: the folder of models."
    )
    kubernetes_user_id: int | None = Field(
        default=None, ge=1, description="User and group of engine pods; default: this process's user, never root."
    )
    kubernetes_cpu: float | None = Field(
        default=None, gt=0, description="Processors of an engine pod; default: the engine's threads."
    )
    kubernetes_scratch_bytes: PositiveInt = Field(
        default=2 * _GIBIBYTE, description="Temporary space of an engine pod on its node."
    )
    kubernetes_gpu_resource: str = Field(
        default="nvidia.com/gpu", description="Resource that stands for one GPU; asked for when the device is one."
    )
    kubernetes_node_selector: dict[str, str] = Field(default={}, description="Labels of nodes for engine pods, JSON.")
    kubernetes_tolerations: tuple[dict[str, str | int], ...] = Field(
        default=(), description="Taints that engine pods tolerate, a JSON list as in a pod's specification."
    )
    kubernetes_runtime_class: str | None = Field(default=None, description="Runtime class of engine pods.")
    kubernetes_service_account: str | None = Field(
        default=None, description="Service account of engine pods; its token is never mounted."
    )
    kubernetes_owner: str | None = Field(
        default=None,
        pattern=r"^[^/]+/[^/]+$",
        description="NAME/UID of the pod with whose end engine pods are removed; set through the downward API.",
    )
    kubernetes_start_s: float = Field(
        default=900.0, gt=0, description="How long a pod may wait for a node, its image and its volumes."
    )
    kubernetes_fault_s: float = Field(
        default=90.0, gt=0, description="How long a wrong image or configuration may keep a pod from starting."
    )
    kubernetes_away_s: float = Field(
        default=300.0, gt=0, description="How long the cluster's API may be away before the work fails."
    )
