"""The manifest: envelope of every stage's artifact, written last, read first.

What depends on the song and the settings alone is in `payload` and `files`; who asked, when and in which
attempt is in the envelope, so that equal work has an equal `payload_sha256`. As JSON a manifest carries a checksum
of all of itself, which is checked wherever one is read.
"""

import hashlib
import json
from typing import Any, Literal

from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer, model_validator

from ironclad_assets.contracts.v1.base import CheckOutcome, Contract, FileRecord, RelativePath, Sha256, Song, UserId

SEAL = "document_sha256"
"""Field of a JSON document that holds the SHA-256 of the rest of it, as canonical JSON."""


class Manifest(Contract):
    """Everything needed to find an artifact's files again and to trust them."""

    contract: str
    contract_version: Literal[1] = 1
    stage: str
    song: Song
    key: Sha256
    """Hash of inputs, options, engine and code version: equal key, equal payload."""

    code_version: str
    folder: RelativePath
    """Folder of the files, relative to the manifest's own."""

    payload: dict[str, Any]  # validated by the contract that `contract` names
    payload_sha256: Sha256
    files: tuple[FileRecord, ...]
    checks: tuple[CheckOutcome, ...]
    inputs: dict[str, Sha256] = Field(default_factory=dict)
    """Key of each upstream artifact this one was made from."""

    job_uuid: str
    user_id: UserId
    trace_id: str
    attempt: int = Field(ge=1)
    run_id: str
    written_at: str
    document_sha256: Sha256 | None = None
    """In JSON, the checksum of everything else; None here, and in manifests of releases that wrote none."""

    @model_validator(mode="before")
    @classmethod
    def _check_seal(cls, values: object) -> object:
        """Take the checksum off a document that is read, and refuse one that it does not fit."""
        if not isinstance(values, dict) or values.get(SEAL) is None:
            return values
        plain = {name: value for name, value in values.items() if name != SEAL}
        if _digest(plain) != values[SEAL]:
            raise ValueError("the manifest differs from its own checksum")
        return plain

    @model_serializer(mode="wrap")
    def _seal(self, dump: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Put the checksum on a document that is written."""
        plain: dict[str, Any] = dump(self)
        if info.mode == "json":
            plain[SEAL] = _digest({name: value for name, value in plain.items() if name != SEAL})
        return plain

    @property
    def passed(self) -> bool:
        """Whether every blocking check passed."""
        return all(check.passed for check in self.checks if check.blocking)


def _digest(document: dict[str, Any]) -> str:
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
