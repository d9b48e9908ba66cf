"""Taking over weights that the operator already has as files: checkpoints, unpacked folders, archives."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from ironclad_assets.contracts.v1.models import CatalogueFile, CatalogueWeights, StoredFile, StoredWeights
from ironclad_assets.engine_host.catalogue import Shelf
from ironclad_assets.engine_host.fetching import require_consent
from ironclad_assets.engine_host.listening import Listener
from ironclad_assets.engine_host.pinning import expect_file, expect_member
from ironclad_assets.engine_host.placing import Staged, open_shelf, place, read_pins, stage, stage_archive
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.storage.atomic import storage_error


def import_files(
    engine: InstalledEngine, *, weights: CatalogueWeights, shelf: Shelf, sources: Iterable[Path], listener: Listener
) -> StoredWeights:
    """Copy the files of `weights` from `sources` and pin them; the sources stay as they are.

    Args:
        engine: whose weights they are.
        weights: from its catalogue; what it publishes hashes of must have them.
        shelf: where they go.
        sources: files, or folders in which they are looked for by name: fetched files, archives, or what
            comes out of archives.
        listener: is told what happens.

    Raises:
        IroncladError: ``MODEL_LICENCE``; ``MODEL_MISSING``: a file is not among the sources;
            ``MODEL_DAMAGED``: one is not what it must be; what `place` raises.
    """
    require_consent(weights, shelf=shelf)
    known = _list_files(sources)
    with open_shelf(shelf) as work:
        record = read_pins(engine, weights=weights, shelf=shelf)
        staged: dict[str, Staged] = {}
        archives: list[StoredFile] = []
        for number, file in enumerate(weights.files):
            folder = work / f"file-{number}"
            folder.mkdir()
            found = _take(file, known=known, record=record, folder=folder)
            archives += [one.file for one in found if one.file.name == file.name and file.unpack is not None]
            staged |= {one.file.name: one for one in found if one.file not in archives}
        listener.step(f"{shelf.engine} {weights.name}: {len(staged)} files copied and checked")
        return place(
            engine,
            weights=weights,
            shelf=shelf,
            record=record,
            staged=staged,
            archives=archives,
            work=work,
            listener=listener,
        )


def _list_files(sources: Iterable[Path]) -> tuple[Path, ...]:
    found: list[Path] = []
    for source in sources:
        found += sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    return tuple(found)


def _take(
    file: CatalogueFile, *, known: tuple[Path, ...], record: StoredWeights | None, folder: Path
) -> tuple[Staged, ...]:
    """Return copies of what `known` has of one catalogue file; of an archive, the archive too."""
    whole = _find(file.name, known=known)
    if whole is not None:
        copied = _copy(whole, name=file.name, folder=folder)
        provenance = expect_file(file, record=record).judge(
            copied.file.sha256, size_bytes=copied.file.size_bytes, unpublished="imported"
        )
        copied = Staged(copied.path, copied.file.model_copy(update={"provenance": provenance}))
        if file.unpack is None:
            return (copied,)
        return (copied, *stage_archive(copied, file=file, record=record, work=folder))
    if file.unpack is None:
        raise failure(ErrorCode.MODEL_MISSING, f"{file.name} is not among the files to import")
    return tuple(
        _take_member(file, member=member, known=known, record=record, folder=folder) for member in file.members
    )


def _take_member(
    file: CatalogueFile, *, member: str, known: tuple[Path, ...], record: StoredWeights | None, folder: Path
) -> Staged:
    name = f"{file.unpack}/{member}"
    path = _find(name, known=known) or _find(member, known=known)
    if path is None:
        raise failure(ErrorCode.MODEL_MISSING, f"neither {file.name} nor {name} is among the files to import")
    copied = _copy(path, name=name, folder=folder)
    expect_member(file, name=name, record=record).judge(
        copied.file.sha256, size_bytes=copied.file.size_bytes, unpublished="imported"
    )
    return copied


def _find(name: str, *, known: tuple[Path, ...]) -> Path | None:
    """Return the only file whose path ends in `name`.

    Raises:
        IroncladError: ``MODEL_DAMAGED``: there are several, and nobody says which.
    """
    parts = Path(name).parts
    found = [path for path in known if path.parts[-len(parts) :] == parts]
    if len(found) > 1:
        detail = f"{name} is there more than once: {', '.join(str(path) for path in found[:3])}; name one"
        raise failure(ErrorCode.MODEL_DAMAGED, detail)
    return found[0] if found else None


def _copy(source: Path, *, name: str, folder: Path) -> Staged:
    target = folder / name.replace("/", "_")
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise storage_error(error, source) from error
    return stage(target, name=name, provenance="imported", origin=str(source))
