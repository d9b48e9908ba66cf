"""Whether a model's weights are there and are what they must be.

A job asks `resolve_weights`, which looks at names and sizes only: the worker hashes every file at every load.
People ask `find_state`, which never says "verified" of a file that changed since it was hashed.
"""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ironclad_assets.contracts.v1.engine import ModelFile
from ironclad_assets.contracts.v1.models import CatalogueWeights, StoredFile
from ironclad_assets.engine_host.catalogue import Shelf, file_names, find_shelf, find_weights
from ironclad_assets.engine_host.hashed import find_changed, find_differing, note_hashes
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.errors import ErrorCode, IroncladError, failure
from ironclad_assets.storage.hashing import hash_file

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
        for file in require_pinned(weights, shelf=shelf)
    )


def require_pinned(weights: CatalogueWeights, *, shelf: Shelf) -> tuple[StoredFile, ...]:
    """Return the pinned files of `weights` in the catalogue's order, each there and of its size.

    Raises:
        IroncladError: ``MODEL_MISSING`` or ``MODEL_DAMAGED``.
    """
    label = f"{shelf.engine} {weights.name}"
    record = shelf.record(weights.name)
    if record is None:
        said = "is not on this machine"
        if _lies_there(weights, shelf=shelf):
            said = f"lies in {shelf.folder} but was never pinned; see `pipelinectl models import`"
        raise failure(ErrorCode.MODEL_MISSING, f"{label} {said}")
    pinned = {file.name: file for file in record.files}
    for name in file_names(weights):
        if name not in pinned:
            raise failure(ErrorCode.MODEL_MISSING, f"{label} lacks {name}")
        _check_size(pinned[name], path=shelf.path(name), label=label)
    _check_catalogue(weights, pinned=pinned, label=label)
    return tuple(pinned[name] for name in file_names(weights))


def _lies_there(weights: CatalogueWeights, *, shelf: Shelf) -> bool:
    return all(shelf.path(name).exists() for name in file_names(weights))


def _check_size(file: StoredFile, *, path: Path, label: str) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise failure(ErrorCode.MODEL_MISSING, f"{label}: {path}: {error.strerror}") from error
    if size != file.size_bytes:
        detail = f"{label}: {path} has {size} bytes, not the {file.size_bytes} it was pinned with"
        raise failure(ErrorCode.MODEL_DAMAGED, detail)


def _check_catalogue(weights: CatalogueWeights, *, pinned: Mapping[str, StoredFile], label: str) -> None:
    """Refuse a pin that the catalogue of this release contradicts."""
    wanted = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in weights.text.items()}
    wanted |= {file.name: file.sha256 for file in weights.files if file.unpack is None and file.sha256 is not None}
    for name, sha256 in wanted.items():
        if pinned[name].sha256 != sha256:
            detail = f"{label}: {name} was pinned with the SHA-256 {pinned[name].sha256}, the catalogue says {sha256}"
            raise failure(ErrorCode.MODEL_DAMAGED, detail)


def find_state(weights: CatalogueWeights, *, shelf: Shelf) -> WeightsState:
    """Return how `weights` are, from sizes and from what was hashed before; reads no weights."""
    try:
        require_pinned(weights, shelf=shelf)
        record = shelf.record(weights.name)
    except IroncladError as error:
        if error.code is ErrorCode.MODEL_DAMAGED:
            return WeightsState("damaged", error.detail)
        unpinned = not shelf.record_path(weights.name).exists() and _lies_there(weights, shelf=shelf)
        return WeightsState("unverified" if unpinned else "missing", error.detail)
    assert record is not None  # it has just been looked at
    if changed := find_changed(record, shelf=shelf):
        return WeightsState("unverified", f"{changed[0].name} changed since it was last hashed")
    if differing := find_differing(record, shelf=shelf):
        return WeightsState("damaged", f"{differing[0].name} is not what was pinned")
    return WeightsState("verified")


def verify_weights(weights: CatalogueWeights, *, shelf: Shelf) -> WeightsState:
    """Hash every file of `weights` again and return how they are."""
    record = None if not shelf.record_path(weights.name).exists() else shelf.record(weights.name)
    if record is not None:
        there = [file for file in record.files if shelf.path(file.name).is_file()]
        hashes = {file.name: hash_file(shelf.path(file.name)) for file in there}
        note_hashes(hashes, shelf=shelf)
    return find_state(weights, shelf=shelf)


def remove_weights(weights: CatalogueWeights, *, shelf: Shelf, others: Iterable[CatalogueWeights]) -> tuple[str, ...]:
    """Delete the files and the record of `weights`; return the names of the files that are gone.

    Args:
        weights: what to remove.
        shelf: from where.
        others: all weights of the engine; a file that one of them has a record of stays.
    """
    shared = {
        name
        for other in others
        if other.name != weights.name and shelf.record_path(other.name).exists()
        for name in file_names(other)
    }
    shelf.record_path(weights.name).unlink(missing_ok=True)
    gone = []
    for name in file_names(weights):
        path = shelf.path(name)
        if name not in shared and path.exists():
            path.unlink()
            gone.append(name)
            if path.parent != shelf.folder:
                with suppress(OSError):  # others' files may be in it
                    path.parent.rmdir()
    return tuple(gone)
