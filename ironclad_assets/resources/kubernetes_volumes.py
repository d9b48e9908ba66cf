"""Which parts of which volumes an engine's pod sees, each at the same path as here.

The store's volume is shared by all nodes; of it a pod gets the folders of its one request and no others, and
only its output to write. What a pod is otherwise belongs to `kubernetes_plan`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ironclad_assets.contracts.v1.engine import EngineRequest
from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.settings import Settings


@dataclass(frozen=True, slots=True)
class Mount:
    """One folder of a volume in a pod.

    Attributes:
        volume: the volume's name in the pod.
        source: where the volume comes from, as Kubernetes spells it.
        path: the folder, here and in the pod.
        sub_path: the same relative to the volume's root; empty for the root itself.
        read_only: whether the pod may only read it.
    """

    volume: str
    source: dict[str, Any]  # as Kubernetes spells it in JSON
    path: Path
    sub_path: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class _Volume:
    name: str
    source: dict[str, Any]  # as above
    root: Path


def place_mounts(request: EngineRequest, *, request_path: Path, settings: Settings) -> list[Mount]:
    """Return what the pod of `request` sees, each folder once, outer folders first.

    Raises:
        IroncladError: ``ENGINE_UNAVAILABLE``: a folder is on no volume that pods have.
    """
    volumes = list(_volumes(settings))
    output = Path(request.output_dir)
    wanted = {request_path.parent: True, Path(request.mixture.path).parent: True}
    wanted |= dict.fromkeys(_model_folders(request, settings=settings), True)
    wanted[output] = False
    return [_mount(folder, volumes=volumes, read_only=wanted[folder]) for folder in sorted(wanted)]


def _model_folders(request: EngineRequest, *, settings: Settings) -> Iterator[Path]:
    """Yield the folders of the model's files: the engine's own one where they are in it."""
    own = settings.models_dir / request.engine
    for file in request.model_files:
        path = Path(file.path)
        yield own if path.is_relative_to(own) else path.parent


def _volumes(settings: Settings) -> Iterator[_Volume]:
    if settings.kubernetes_data_volume is None:
        detail = "IRONCLAD_KUBERNETES_DATA_VOLUME names no volume for the store"
        raise failure(ErrorCode.ENGINE_UNAVAILABLE, detail)
    # The models' volume comes first: it may be mounted below the store's.
    if settings.kubernetes_models_volume is not None:
        root = settings.kubernetes_models_mount or settings.models_dir
        yield _Volume("models", _source(settings.kubernetes_models_volume), root)
    yield _Volume(
        "data", _source(settings.kubernetes_data_volume), settings.kubernetes_data_mount or settings.store_root
    )


def _source(volume: str) -> dict[str, Any]:
    if volume.startswith("/"):
        return {"hostPath": {"path": volume, "type": "Directory"}}
    return {"persistentVolumeClaim": {"claimName": volume}}


def _mount(folder: Path, *, volumes: list[_Volume], read_only: bool) -> Mount:
    for volume in volumes:
        if folder.is_relative_to(volume.root):
            relative = folder.relative_to(volume.root)
            return Mount(volume.name, volume.source, folder, "" if relative == Path() else str(relative), read_only)
    known = ", ".join(f"{volume.name} at {volume.root}" for volume in volumes)
    detail = f"{folder} is on no volume that engine pods have ({known}); see IRONCLAD_KUBERNETES_DATA_MOUNT"
    raise failure(ErrorCode.ENGINE_UNAVAILABLE, detail)
