"""Fetching an engine's weights, as a step of its own before any job: download, check, unpack, derive, pin."""

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote, urlsplit

from ironclad_assets.contracts.v1.models import CatalogueFile, CatalogueWeights, StoredFile, StoredWeights
from ironclad_assets.engine_host.catalogue import Shelf
from ironclad_assets.engine_host.deriving import find_interpreter
from ironclad_assets.engine_host.download import Patience, Wanted, fetch
from ironclad_assets.engine_host.listening import Listener
from ironclad_assets.engine_host.pinning import expect_file, find_pin
from ironclad_assets.engine_host.placing import (
    Staged,
    fetched_names,
    open_shelf,
    place,
    read_pins,
    stage,
    stage_archive,
)
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.storage.hashing import hash_file


def fetch_weights(
    engine: InstalledEngine,
    *,
    weights: CatalogueWeights,
    shelf: Shelf,
    listener: Listener,
    mirrors: Sequence[str] = (),
    patience: Patience | None = None,
) -> StoredWeights:
    """Bring `weights` here whole and pin them; what is here and as it must be is not fetched again.

    Args:
        engine: whose weights they are.
        weights: from its catalogue.
        shelf: where they go.
        listener: is told what happens.
        mirrors: addresses to try before the published ones; a mirror has a folder per engine.
        patience: how long to try.

    Raises:
        IroncladError: ``MODEL_LICENCE``: the operator has not agreed; ``DOWNLOAD_FAILED``; ``MODEL_DAMAGED``:
            what came is not what it must be; ``ENGINE_UNAVAILABLE``: an environment that makes derived files
            is missing; the storage's errors.
    """
    require_consent(weights, shelf=shelf)
    for derivation in weights.derived:
        find_interpreter(engine, derivation=derivation)
    with open_shelf(shelf) as work:
        record = read_pins(engine, weights=weights, shelf=shelf)
        staged: dict[str, Staged] = {}
        archives: list[StoredFile] = []
        for file in weights.files:
            if _is_here(file, shelf=shelf, record=record):
                listener.step(f"{file.name}: is here already")
                continue
            arrived = _download(
                file, shelf=shelf, record=record, mirrors=mirrors, listener=listener, patience=patience or Patience()
            )
            if file.unpack is None:
                staged[file.name] = arrived
                continue
            members = stage_archive(arrived, file=file, record=record, work=work)
            staged |= {member.file.name: member for member in members}
            archives.append(arrived.file)
            arrived.path.unlink()
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


def require_consent(weights: CatalogueWeights, *, shelf: Shelf) -> None:
    """Raise ``MODEL_LICENCE`` unless the operator has agreed to the licence, or need not."""
    if not shelf.has_consent(weights):
        at = f" ({weights.licence_url})" if weights.licence_url else ""
        detail = f"{shelf.engine} {weights.name}: nobody here has agreed to the licence: {weights.licence}{at}"
        raise failure(ErrorCode.MODEL_LICENCE, detail)


def _is_here(file: CatalogueFile, *, shelf: Shelf, record: StoredWeights | None) -> bool:
    """Return whether all that stays of `file` is here and has its pinned hash, which the catalogue does not deny."""
    for name in fetched_names(file):
        pin, path = find_pin(name, record=record), shelf.path(name)
        if pin is None or not path.is_file() or path.stat().st_size != pin.size_bytes or hash_file(path) != pin.sha256:
            return False
        if file.unpack is None and file.sha256 not in (None, pin.sha256):
            return False
    return True


def _download(
    file: CatalogueFile,
    *,
    shelf: Shelf,
    record: StoredWeights | None,
    mirrors: Sequence[str],
    listener: Listener,
    patience: Patience,
) -> Staged:
    expectation = expect_file(file, record=record)
    partial = _partial_path(shelf, name=file.name)
    hashes: dict[Path, str] = {}

    def check(path: Path) -> None:
        hashes[path] = hash_file(path)
        expectation.judge(hashes[path], size_bytes=path.stat().st_size, unpublished="first_fetch")

    wanted = Wanted(
        urls=_addresses(file, engine=shelf.engine, mirrors=mirrors),
        partial=partial,
        size_bytes=file.size_bytes,
        trusted=expectation.sha256 is not None,
        check=check,
    )
    origin = fetch(wanted, listener=listener, patience=patience)
    provenance = expectation.judge(hashes[partial], size_bytes=partial.stat().st_size, unpublished="first_fetch")
    return stage(partial, name=file.name, provenance=provenance, origin=origin, sha256=hashes[partial])


def _partial_path(shelf: Shelf, *, name: str) -> Path:
    """Return where a download grows: on the shelf, under a name that is no file's."""
    return shelf.folder / f".{name.replace('/', '_')}.part"


def _addresses(file: CatalogueFile, *, engine: str, mirrors: Sequence[str]) -> tuple[str, ...]:
    """Return where `file` may come from: mirrors as the operator trusts them, then the published addresses.

    Where nobody published its hash, a published address that is plain HTTP is left out.

    Raises:
        IroncladError: ``DOWNLOAD_FAILED``: none is left.
    """
    mirrored = [f"{mirror.rstrip('/')}/{engine}/{quote(file.name)}" for mirror in mirrors]
    published = [
        str(url) for url in file.urls if url.scheme == "https" or file.sha256 is not None or _is_loopback(url.host)
    ]
    if not mirrored and not published:
        detail = (
            f"{file.urls[0]}: plain HTTP, and nobody published the hash of {file.name}; use a mirror that you trust"
        )
        raise failure(ErrorCode.DOWNLOAD_FAILED, detail)
    return (*mirrored, *published)


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def read_mirrors(text: str) -> tuple[str, ...]:
    """Return the addresses in a list with commas.

    Raises:
        IroncladError: ``BAD_OPTION``: one is no HTTP address, or has a password, which logs and records would show.
    """
    mirrors = tuple(part.strip() for part in text.split(",") if part.strip())
    for mirror in mirrors:
        if "@" in urlsplit(mirror).netloc:
            host = urlsplit(mirror).netloc.rpartition("@")[2]
            raise failure(ErrorCode.BAD_OPTION, f"the mirror at {host} has a user or password in its address")
        if urlsplit(mirror).scheme not in ("http", "https") or not urlsplit(mirror).netloc:
            raise failure(ErrorCode.BAD_OPTION, f"the mirror {mirror!r} is not an address such as https://host/models")
    return mirrors
