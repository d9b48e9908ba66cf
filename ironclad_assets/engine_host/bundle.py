"""One file with weights, to carry them to a machine without network: written the same way every time, read warily.

A bundle is a tar archive. Its first member says what the others are; what it says is believed only where
neither the catalogue nor an earlier record of this machine knows better.
"""

import io
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from ironclad_assets.contracts.v1.models import Bundle, BundledWeights, CatalogueWeights, StoredFile, StoredWeights
from ironclad_assets.engine_host.catalogue import Shelf, file_names, find_shelf, find_weights
from ironclad_assets.engine_host.fetching import require_consent
from ironclad_assets.engine_host.listening import Listener
from ironclad_assets.engine_host.models import require_pinned
from ironclad_assets.engine_host.pinning import Expectation, expect_file, find_pin
from ironclad_assets.engine_host.placing import Staged, open_shelf, place, read_pins, stage
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.engine_host.unpacking import copy_stream
from ironclad_assets.errors import ErrorCode, IroncladError, failure
from ironclad_assets.storage import atomic
from ironclad_assets.storage.atomic import storage_error
from ironclad_assets.storage.hashing import hash_file

INDEX_NAME = "bundle.json"
LICENCES_NAME = "LICENCES.txt"
LARGEST_INDEX_BYTES = 8 * 1024**2

Agree = Callable[[CatalogueWeights, Shelf], None]
"""Asks the operator about a licence where that is needed; raises ``MODEL_LICENCE`` if they do not agree."""


def export_bundle(
    path: Path, *, chosen: Iterable[tuple[InstalledEngine, CatalogueWeights]], models_dir: Path, listener: Listener
) -> Bundle:
    """Write the chosen weights to the bundle `path`, each file hashed again on the way.

    Raises:
        IroncladError: ``MODEL_MISSING``, ``MODEL_DAMAGED``, or the storage's errors; then nothing is written.
    """
    bundled: list[BundledWeights] = []
    files: list[tuple[str, Path]] = []
    for engine, weights in chosen:
        shelf = find_shelf(engine, models_dir=models_dir)
        pinned = require_pinned(weights, shelf=shelf)
        record = shelf.record(weights.name)
        assert record is not None  # it has just been looked at
        listener.step(f"{shelf.engine} {weights.name}: hashing {len(pinned)} files")
        for file in pinned:
            if hash_file(shelf.path(file.name)) != file.sha256:
                raise failure(ErrorCode.MODEL_DAMAGED, f"{shelf.path(file.name)} is not what was pinned")
            files.append((f"{shelf.engine}/{file.name}", shelf.path(file.name)))
        kept = record.model_copy(update={"files": pinned})
        bundled.append(
            BundledWeights(engine=shelf.engine, engine_version=engine.manifest.version, catalogue=weights, record=kept)
        )
    bundle = Bundle(weights=tuple(bundled))
    atomic.write_atomically(path, lambda stream: _write(stream, bundle=bundle, files=dict(files)))
    return bundle


def _write(stream: BinaryIO, *, bundle: Bundle, files: Mapping[str, Path]) -> None:
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in (
            (INDEX_NAME, bundle.model_dump_json(indent=1).encode() + b"\n"),
            (LICENCES_NAME, _licences(bundle).encode()),
        ):
            tar.addfile(_member(name, size_bytes=len(content)), io.BytesIO(content))
        for name, path in sorted(files.items()):
            with path.open("rb") as source:
                tar.addfile(_member(name, size_bytes=path.stat().st_size), source)


def _member(name: str, *, size_bytes: int) -> tarfile.TarInfo:
    """Return a member's head without owner and time, so that the same weights give the same bytes."""
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    info.mode = 0o644
    return info


def _licences(bundle: Bundle) -> str:
    """Return what a person needs who finds the bundle and wants to know what may be done with it."""
    parts = []
    for one in bundle.weights:
        weights = one.catalogue
        parts.append(
            f"{one.engine} {weights.name}: {weights.description}\n  licence: {weights.licence}\n"
            f"  text: {weights.licence_url or 'see source'}\n  source: {weights.source}\n"
        )
    return "\n".join(parts)


def is_bundle(path: Path) -> bool:
    """Return whether the file `path` begins as a bundle does."""
    try:
        with tarfile.open(path, mode="r:") as tar:
            first = tar.next()
            return first is not None and first.name == INDEX_NAME
    except (OSError, tarfile.TarError):
        return False


def import_bundle(
    path: Path, *, engines: Mapping[str, InstalledEngine], models_dir: Path, agree: Agree, listener: Listener
) -> tuple[StoredWeights, ...]:
    """Take over the weights in the bundle `path`, each set whole and checked before any of it has its name.

    Raises:
        IroncladError: ``MODEL_DAMAGED``: it is not a whole bundle, or a file is not what it must be;
            ``UNKNOWN_ENGINE``, ``UNKNOWN_MODEL``: nothing here knows the weights; ``MODEL_LICENCE``.
    """
    try:
        with tarfile.open(path, mode="r:") as tar:
            bundle = _read_index(tar, path=path)
            return tuple(
                _import_one(
                    one, tar=tar, path=path, engines=engines, models_dir=models_dir, agree=agree, listener=listener
                )
                for one in bundle.weights
            )
    except (tarfile.TarError, EOFError) as error:
        raise _damaged(path, str(error)) from error
    except OSError as error:
        raise storage_error(error, path) from error


def _read_index(tar: tarfile.TarFile, *, path: Path) -> Bundle:
    first = tar.next()
    if first is None or first.name != INDEX_NAME or not first.isreg() or first.size > LARGEST_INDEX_BYTES:
        raise _damaged(path, f"its first member is not {INDEX_NAME}")
    source = tar.extractfile(first)
    assert source is not None  # it is a plain file
    try:
        return Bundle.model_validate_json(source.read())
    except ValidationError as error:
        raise _damaged(path, f"its {INDEX_NAME} is not valid: {error.errors(include_url=False)[0]['msg']}") from error


def _import_one(
    one: BundledWeights,
    *,
    tar: tarfile.TarFile,
    path: Path,
    engines: Mapping[str, InstalledEngine],
    models_dir: Path,
    agree: Agree,
    listener: Listener,
) -> StoredWeights:
    engine = engines.get(one.engine)
    if engine is None:
        raise failure(ErrorCode.UNKNOWN_ENGINE, f"{path}: engine {one.engine!r} is not one of {', '.join(engines)}")
    weights = find_weights(engine, model=one.catalogue.name)
    if weights is None:
        raise failure(ErrorCode.UNKNOWN_MODEL, f"{path}: {one.engine} has no weights {one.catalogue.name!r}")
    shelf = find_shelf(engine, models_dir=models_dir)
    agree(weights, shelf)
    require_consent(weights, shelf=shelf)
    listener.step(f"{one.engine} {weights.name}: checking")
    with open_shelf(shelf) as work:
        record = read_pins(engine, weights=weights, shelf=shelf)
        staged = {}
        for number, name in enumerate(file_names(weights)):
            if name in weights.text:  # the catalogue here has it
                continue
            said = find_pin(name, record=one.record)
            if said is None:
                raise _damaged(path, f"it lacks {name}")
            expectation = _expect(said, weights=weights, record=record)
            target = work / f"member-{number}"
            staged[name] = _take(
                tar, name=f"{one.engine}/{name}", target=target, said=said, expectation=expectation, path=path
            )
        return place(
            engine,
            weights=weights,
            shelf=shelf,
            record=record,
            staged=staged,
            archives=_archives(one.record, weights=weights, record=record),
            work=work,
            listener=listener,
        )


def _expect(said: StoredFile, *, weights: CatalogueWeights, record: StoredWeights | None) -> Expectation:
    """Return what a bundled file must be: as published, else as pinned here, else as the bundle says.

    A file that was derived here may differ from one derived elsewhere, so that is no contradiction.
    """
    published = next((file for file in weights.files if file.unpack is None and file.name == said.name), None)
    pinned = None if said.name in {each.name for each in weights.derived} else find_pin(said.name, record=record)
    return Expectation(
        name=said.name,
        sha256=(published.sha256 if published else None) or (pinned.sha256 if pinned else said.sha256),
        published=published is not None and published.sha256 is not None,
        sha256_prefix=published.sha256_prefix if published else "",
        size_bytes=said.size_bytes,
    )


def _take(
    tar: tarfile.TarFile, *, name: str, target: Path, said: StoredFile, expectation: Expectation, path: Path
) -> Staged:
    """Copy one member out, by our own name for it, and check it."""
    try:
        info = tar.getmember(name)
    except KeyError:
        raise _damaged(path, f"it lacks {name}") from None
    source = tar.extractfile(info) if info.isreg() else None
    if source is None or info.size != said.size_bytes:
        raise _damaged(path, f"{name} in it is not a plain file of {said.size_bytes} bytes")
    with target.open("wb") as stream:
        copy_stream(source, size_bytes=info.size, write=stream.write)
    staged = stage(target, name=said.name, provenance="imported", origin=f"{path.name}, there from {said.origin}")
    provenance = expectation.judge(staged.file.sha256, size_bytes=staged.file.size_bytes, unpublished="imported")
    return Staged(staged.path, staged.file.model_copy(update={"provenance": provenance}))


def _archives(
    said: StoredWeights, *, weights: CatalogueWeights, record: StoredWeights | None
) -> tuple[StoredFile, ...]:
    """Return what the bundle says of the catalogue's archives, where nobody here knows better."""
    known = {file.name: expect_file(file, record=record).sha256 for file in weights.files if file.unpack is not None}
    return tuple(
        archive for archive in said.archives if archive.name in known and known[archive.name] in (None, archive.sha256)
    )


def _damaged(path: Path, why: str) -> IroncladError:
    return failure(ErrorCode.MODEL_DAMAGED, f"{path}: {why}")
