"""The manifest: envelope of every stage's artifact, written last, read first.

What depends on the song and the settings alone is in `payload` and `files`; who asked, when and in which
attempt is in the envelope, so that equal work has an equal `payload_sha256`.
"""

from typing import Any, Literal

from pydantic import Field

from ironclad_assets.contracts.v1.base import CheckOutcome, Contract, FileRecord, RelativePath, Sha256, Song, UserId


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

    @property
    def passed(self) -> bool:
        """Whether every blocking check passed."""
        return all(check.passed for check in self.checks if check.blocking)
