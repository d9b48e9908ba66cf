"""Verifying what the store holds of one song: each stage's manifest against its files, the notes, the quarantine.

Every byte of every file is read. Files in the library are `library`'s, originals `archive`'s.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.contracts.v1.manifest import Manifest
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.sweeps import SweptSong
from ironclad_assets.ledger.usage import ORIGINAL, QUARANTINE
from ironclad_assets.storage.hashing import carry_on, hash_file, hash_json
from ironclad_assets.storage.manifests import parse_manifest
from ironclad_assets.storage.notes import has_note, note_of
from ironclad_assets.storage.publication import RECORD
from ironclad_assets.storage.sealed import check_seal
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.findings import Finding, FindingCode, found
from ironclad_assets.upkeep.prune.plan import names_in
from ironclad_assets.upkeep.prune.songs import ALL_STAGES, HIDDEN, TEMPORARY, lasts_elsewhere
from ironclad_assets.upkeep.prune.unfile import counted_bytes

STAGE_CODES = frozenset(
    code.value for code in (FindingCode.MANIFEST_DAMAGED, FindingCode.FILE_MISSING, FindingCode.FILE_DAMAGED)
)
"""Findings in a stage's folder that making the stage again mends."""

_OURS = frozenset({"manifest.json", "pruned.json", "claims.json", ".lock", RECORD})

Heed = Callable[[], None]


def check_song(one: SweptSong, *, store: Store, ledger: Ledger, heed: Heed = carry_on) -> Iterator[Finding]:
    """Yield what is wrong with a song's stages, quarantine and rows in the ledger.

    Args:
        one: the song; nobody should be at work on it.
        store: where its files are.
        ledger: where its rows are.
        heed: called between blocks of bytes; what it raises ends the work.
    """
    made_by: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for stage in ALL_STAGES:
        yield from check_stage(store, stage=stage, song=one.song, heed=heed)
        manifest = _manifest_or_none(store, stage=stage, song=one.song)
        if manifest is not None:
            made_by.setdefault(manifest.job_uuid, stage)
            sizes[stage] = counted_bytes(manifest)
    yield from _check_jobs(one, made_by, ledger=ledger)
    if one.state is JobState.COMPLETED and not store.stage("library_entry", one.song).manifest.exists():
        detail = f"job {one.job_uuid} completed, and the song has no library entry"
        yield found(FindingCode.ENTRY_MISSING, f"stages/library_entry/{one.song}", detail, song=one.song)
    yield from _check_original(one, store=store)
    yield from _check_quarantine(one, store=store)
    yield from _check_lyrics(one, store=store, heed=heed)
    yield from _check_counts(one, sizes, ledger=ledger)


def check_stage(store: Store, *, stage: str, song: str, heed: Heed = carry_on) -> Iterator[Finding]:
    """Yield what is wrong in the folder of one stage of one song."""
    path = f"stages/{stage}/{song}"
    folder = store.root / path
    names = {entry.name: entry for entry in names_in(folder)}
    named = ""
    if "manifest.json" in names:
        try:
            content = (folder / "manifest.json").read_bytes()
            manifest = parse_manifest(content, where=f"{path}/manifest.json")
        except OSError as error:
            detail = f"it cannot be read: {error.strerror}"
            yield found(FindingCode.MANIFEST_DAMAGED, f"{path}/manifest.json", detail, song=song)
            return
        except IroncladError as error:
            newer = error.code is ErrorCode.ARTIFACT_NEWER
            code = FindingCode.MANIFEST_NEWER if newer else FindingCode.MANIFEST_DAMAGED
            yield found(code, f"{path}/manifest.json", error.detail, song=song)
            return
        named = manifest.folder
        wrong = _why_wrong(manifest, content, stage=stage, song=song)
        if wrong:
            yield found(FindingCode.MANIFEST_DAMAGED, f"{path}/manifest.json", wrong, song=song)
        yield from _check_files(manifest, path, store=store, heed=heed)
    for name in ("pruned.json", "claims.json"):
        wrong = check_seal((folder / name).read_bytes()) if name in names else ""
        if wrong:
            yield found(FindingCode.NOTE_DAMAGED, f"{path}/{name}", wrong, song=song)
    if "claims.json" in names and named:
        yield from _check_claims(folder / "claims.json", f"{path}/claims.json", song=song, store=store)
    for name, entry in names.items():
        known = name in _OURS or name == named or HIDDEN.fullmatch(name) or entry.is_dir(follow_symlinks=False)
        if not known:
            yield found(FindingCode.FILE_UNEXPECTED, f"{path}/{name}", "no manifest names it", song=song)


def _why_wrong(manifest: Manifest, content: bytes, *, stage: str, song: str) -> str:
    """Return what is wrong with a manifest that can be read."""
    if (manifest.stage, manifest.song) != (stage, song):
        return f"it is that of {manifest.stage} of {manifest.song}"
    if hash_json(manifest.payload) != manifest.payload_sha256:
        return "its payload differs from its checksum"
    return check_seal(content)


def _check_files(manifest: Manifest, path: str, *, store: Store, heed: Heed) -> Iterator[Finding]:
    """Yield the files of an artifact that are missing, changed, or not in its manifest.

    A copy that was let go is not missing where the store lasts in a bucket that has it.
    """
    folder = store.root / path / manifest.folder
    publication = store.stage(manifest.stage, manifest.song).publication
    for record in manifest.files:
        if publication is not None and not (folder / record.path).exists() and publication.has(record):
            continue
        yield from check_file(folder / record.path, record, f"{path}/{manifest.folder}", manifest.song, heed=heed)
    records = {record.path for record in manifest.files}
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder).as_posix()
        if not file.is_dir() and relative not in records and not TEMPORARY.fullmatch(file.name):
            where = f"{path}/{manifest.folder}/{relative}"
            yield found(FindingCode.FILE_UNEXPECTED, where, "its manifest does not name it", song=manifest.song)


def check_file(file: Path, record: FileRecord, folder: str, song: str, *, heed: Heed = carry_on) -> Iterator[Finding]:
    """Yield what is wrong with one file that has a record; every byte of it is read."""
    path = f"{folder}/{record.path}"
    try:
        size = file.stat().st_size if file.is_file() else None
        if size is None:
            yield found(FindingCode.FILE_MISSING, path, "it is not there", song=song)
        elif size != record.size_bytes:
            detail = f"it has {size} bytes instead of {record.size_bytes}"
            yield found(FindingCode.FILE_DAMAGED, path, detail, song=song)
        elif hash_file(file, heed=heed) != record.sha256:
            yield found(FindingCode.FILE_DAMAGED, path, "it differs from its checksum", song=song)
    except OSError as error:
        yield found(FindingCode.FILE_DAMAGED, path, f"it cannot be read: {error.strerror}", song=song)


def _check_claims(journal: Path, path: str, *, song: str, store: Store) -> Iterator[Finding]:
    """Yield a journal of claims that cannot be read, or contradicts the entry."""
    manifest = _manifest_or_none(store, stage="library_entry", song=song)
    try:
        records = {key: FileRecord.model_validate(one) for key, one in json.loads(journal.read_bytes()).items()}
        entry = LibraryEntry.model_validate(manifest.payload) if manifest is not None else LibraryEntry(files=())
    except (ValueError, AttributeError, ValidationError) as error:
        yield found(FindingCode.NOTE_DAMAGED, path, f"it cannot be read: {error}", song=song)
        return
    for item in entry.files:
        known = records.get(f"{item.root}/{item.file.path}")
        if known is not None and known != item.file:
            detail = f"it has another record of {item.file.path} than the entry"
            yield found(FindingCode.NOTE_DAMAGED, path, detail, song=song)


def _manifest_or_none(store: Store, *, stage: str, song: str) -> Manifest | None:
    """Return the manifest as it lies in this store; None where there is none that can be read."""
    path = store.root / "stages" / stage / song / "manifest.json"
    try:
        return parse_manifest(path.read_bytes(), where=str(path))
    except (OSError, IroncladError):
        return None


def _check_jobs(one: SweptSong, made_by: dict[str, str], *, ledger: Ledger) -> Iterator[Finding]:
    """Yield artifacts that say they were made by a job that the ledger does not know."""
    known = ledger.sweeps.jobs_of(made_by)
    for job_uuid, stage in made_by.items():
        if job_uuid not in known:
            path = f"stages/{stage}/{one.song}/manifest.json"
            yield found(FindingCode.JOB_UNKNOWN, path, f"the ledger has no job {job_uuid}", song=one.song)


def _check_original(one: SweptSong, *, store: Store) -> Iterator[Finding]:
    """Yield an original that is not there though it should be; its bytes are read with the archive."""
    original = store.root / one.archive_path
    if one.sha256 is None or original.is_file() or note_of(original).exists():
        return
    if lasts_elsewhere(store, one.archive_path) or has_note(store, one.archive_path):
        return
    yield found(FindingCode.ORIGINAL_MISSING, one.archive_path, "the ledger knows it, it is not there", song=one.song)


def _check_quarantine(one: SweptSong, *, store: Store) -> Iterator[Finding]:
    """Yield a reason of quarantine that was changed, or is about something else."""
    path = f"error/{one.song}/error.json"
    try:
        content = (store.root / path).read_bytes()
    except FileNotFoundError:
        return
    wrong = check_seal(content)
    if not wrong:
        document = json.loads(content)
        if (document.get("song"), document.get("user_id")) != (one.song, one.user_id):
            wrong = f"it is about {document.get('song')} of {document.get('user_id')}"
    if wrong:
        yield found(FindingCode.QUARANTINE_DAMAGED, path, wrong, song=one.song)


def _check_lyrics(one: SweptSong, *, store: Store, heed: Heed) -> Iterator[Finding]:
    """Yield lyrics dropped beside the upload that are not those in the library."""
    manifest = _manifest_or_none(store, stage="library_entry", song=one.song)
    if manifest is None:
        return
    filed = {item.file.sha256 for item in LibraryEntry.model_validate(manifest.payload).files if item.role == "lyrics"}
    for entry in names_in(store.root / "sidecars" / one.song):
        if entry.name.startswith("lyrics.") and filed and hash_file(Path(entry.path), heed=heed) not in filed:
            path = f"sidecars/{one.song}/{entry.name}"
            yield found(FindingCode.LYRICS_DIFFER, path, "the library has other lyrics", song=one.song)


def _check_counts(one: SweptSong, sizes: dict[str, int], *, ledger: Ledger) -> Iterator[Finding]:
    """Yield stages whose counted bytes are not those of their files; what was never counted is not missed."""
    for stage, counted in ledger.usage.stored(one.song).items():
        if stage not in (ORIGINAL, QUARANTINE) and counted != sizes.get(stage, 0):
            detail = f"the ledger counts {counted} bytes, the manifest {sizes.get(stage, 0)}"
            yield found(FindingCode.COUNT_DIFFERS, f"stages/{stage}/{one.song}", detail, song=one.song)
