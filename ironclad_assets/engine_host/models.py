"""Whether a model's weights are there and are what they must be.

A job asks `resolve_weights`, which looks at names and sizes only: the worker hashes every file at every load.
People ask `find_state`, which never says "verified" of a file that changed since it was hashed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ironclad_assets.contracts.v1.engine import ModelFile
from ironclad_assets.contracts.v1.models import CatalogueWeights, StoredFile, StoredWeights
from ironclad_assets.engine_host.catalogue import Shelf, file_names, find_shelf, find_weights
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.errors import ErrorCode, IroncladError, failure

State = Literal["missing", "unverified", "verified", "damaged"]


@dataclass(frozen=True, slots=True)
class WeightsState:
    """How a set of weights is, and why where it is not well."""

    state: State
    detail: str = ""


def resolve_weights(engine: InstalledEngine, model: str | None, *, models_dir: Path) -> tuple[ModelFile, ...]:
    """Return the files that `model` is loaded from, by their names in the catalogue; none for one without weights.

    Args:
        engine: whose model it is.
        model: its name; None for the default model.
        models_dir: folder of all weights.

    Raises:
        IroncladError: ``MODEL_MISSING``; ``MODEL_DAMAGED``: a size differs from what was pinned;
            ``MODEL_LICENCE``: the operator has not agreed to its licence.
    """
    weights = find_weights(engine, model=engine.model(model).name)
    if weights is None:
        return ()
    shelf = find_shelf(engine, models_dir=models_dir)
    if not shelf.has_consent(weights):
        raise failure(
            ErrorCode.MODEL_LICENCE, f"{shelf.engine} {weights.name}: nobody here has agreed to {weights.licence}"
        )
    return tuple(
        ModelFile(
            name=file.name,
            path=str(shelf.path(file.name).absolute()),
            size_bytes=file.size_bytes,
            sha256=file.sha256,
        )
        for file in _pinned_files(weights, shelf=shelf)
    )


def _pinned_files(weights: CatalogueWeights, *, shelf: Shelf) -> tuple[StoredFile, ...]:
    """Return the pinned files of `weights` in the catalogue's order, each looked at."""
    record = shelf.record(weights.name)
    if record is None:
        said = "is not on this machine"
        if all(shelf.path(name).exists() for name in file_names(weights)):
            said = f"lies in {shelf.folder} but was never pinned; see `pipelinectl models import`"
        raise failure(ErrorCode.MODEL_MISSING, f"{shelf.engine} {weights.name} {said}")
    pinned = {file.name: file for file in record.files}
    files = []
    for name in file_names(weights):
        file = pinned.get(name)
        if file is None:
            raise failure(ErrorCode.MODEL_MISSING, f"{shelf.engine} {weights.name} lacks {name}")
        _check_size(file, shelf=shelf, weights=weights)
        files.append(file)
    return tuple(files)


def _check_size(file: StoredFile, *, shelf: Shelf, weights: CatalogueWeights) -> None:
    path = shelf.path(file.name)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise failure(ErrorCode.MODEL_MISSING, f"{shelf.engine} {weights.name}: {path}: {error.strerror}") from error
    if size != file.size_bytes:
        raise failure(
            ErrorCode.MODEL_DAMAGED,
            f"{shelf.engine} {weights.name}: {path} has {size} bytes, not the {file.size_bytes} it was pinned with",
        )


def find_state(weights: CatalogueWeights, *, shelf: Shelf) -> WeightsState:
    """Return how `weights` are, from sizes and from what was hashed before; reads no weights."""
    try:
        _pinned_files(weights, shelf=shelf)
        record = shelf.record(weights.name)
    except IroncladError as error:
        if error.code is ErrorCode.MODEL_DAMAGED:
            return WeightsState("damaged", error.detail)
        there = shelf.record(weights.name) is None and all(shelf.path(name).exists() for name in file_names(weights))
        return WeightsState("unverified" if there else "missing", error.detail)
    return WeightsState("verified") if is_verified(record, shelf=shelf) else WeightsState("unverified")


def is_verified(record: StoredWeights | None, *, shelf: Shelf) -> bool:
    """Return whether every file of `record` has its pinned size."""
    return record is not None and all(
        shelf.path(file.name).is_file() and shelf.path(file.name).stat().st_size == file.size_bytes
        for file in record.files
    )
