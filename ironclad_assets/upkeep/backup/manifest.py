"""What a backup says about itself: a manifest that anybody may read, and contents that may be encrypted.

The manifest names the stored objects, so that damage is found and space is freed without a key. The contents say which
file each object is. Both have one spelling only, so that a changed byte cannot hide.
"""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.storage.hashing import hash_json

ID_PATTERN = r"^\d{8}t\d{12}z$"
"""When it was made, in UTC to the microsecond, so that names sort as time does."""

_OBJECT = r"^[0-9a-f]{64}(\.age)?$"

Place = Literal["ledger", "dagster", "home", "store"]
Extra = Literal["library", "stages"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredObject(_Model):
    """An object as it lies in the repository: its bytes there, encrypted or not."""

    name: str = Field(pattern=_OBJECT)
    size_bytes: int = Field(ge=0)
    sha256: str


class BackedUpFile(_Model):
    """One file of the installation. `path` is relative to its place; size and SHA-256 are those of its own bytes."""

    place: Place
    path: str
    object: str = Field(pattern=_OBJECT)
    size_bytes: int = Field(ge=0)
    sha256: str
    song: str | None = None


class Contents(_Model):
    """Everything in a backup. Settings are without secrets; `warnings` name what could not be copied.

    Every song of the ledger's copy has its original in `files`, but for those that were deleted meanwhile (`gone`),
    those whose original was older than its limit (`pruned`), and those whose original was lost (`missing`).
    """

    files: tuple[BackedUpFile, ...]
    gone: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    rows: dict[str, int]
    settings: dict[str, Any]  # any JSON value
    warnings: tuple[str, ...] = ()


class BackupManifest(_Model):
    """The part of a backup that needs no key. `size_bytes` is that of the files, `objects` what is stored for them.

    `by_hand`: somebody asked for it, so that no schedule lets go of it.
    """

    format: Literal[1] = 1
    id: str = Field(pattern=ID_PATTERN)
    created_at: str
    release: str
    schema_version: str
    encryption: Literal["none", "age"]
    recipients: tuple[str, ...] = ()
    sealed_identity: str | None = None
    extras: tuple[Extra, ...] = ()
    songs: int = Field(ge=0)
    files: int = Field(ge=0)
    size_bytes: int = Field(ge=0)
    warnings: int = Field(default=0, ge=0)
    by_hand: bool = False
    contents: StoredObject
    objects: tuple[StoredObject, ...]


def render_manifest(manifest: BackupManifest) -> bytes:
    """Return the bytes of a manifest's file: the manifest and its checksum, in one spelling."""
    document = manifest.model_dump(mode="json")
    document["objects"] = [[one.name, one.size_bytes, one.sha256] for one in manifest.objects]
    return _spell({"manifest": document, "sha256": hash_json(document)})


def parse_manifest(content: bytes) -> BackupManifest:
    """Return the manifest of which these are the bytes.

    Raises:
        PermanentFailure: with `BACKUP_DAMAGED`, where one of them was changed.
    """
    try:
        read = json.loads(content)
        document = read["manifest"]
        if content != _spell(read) or hash_json(document) != read["sha256"]:
            raise ValueError("it differs from its checksum")
        objects = [dict(zip(StoredObject.model_fields, one, strict=True)) for one in document["objects"]]
        return BackupManifest.model_validate({**document, "objects": objects})
    except (ValueError, TypeError, KeyError, ValidationError) as error:
        raise failure(ErrorCode.BACKUP_DAMAGED, f"the manifest is damaged: {_short(error)}") from error


def render_contents(contents: Contents) -> bytes:
    """Return the contents as they are stored."""
    return _spell(contents.model_dump(mode="json"))


def parse_contents(content: bytes) -> Contents:
    """Return the contents of which these are the bytes.

    Raises:
        PermanentFailure: with `BACKUP_DAMAGED`.
    """
    try:
        return Contents.model_validate_json(content)
    except ValidationError as error:
        raise failure(ErrorCode.BACKUP_DAMAGED, f"the contents are damaged: {_short(error)}") from error


def _spell(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n").encode()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
