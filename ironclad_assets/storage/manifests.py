"""Reading a manifest's bytes, wherever they were: what is none, or of a newer release, is refused by its name."""

import json

from pydantic import ValidationError

from ironclad_assets.contracts.v1.base import CONTRACT_VERSION
from ironclad_assets.contracts.v1.manifest import Manifest
from ironclad_assets.errors import ErrorCode, PermanentFailure


def parse_manifest(content: bytes, *, where: str) -> Manifest:
    """Return the manifest that `content`, found at `where`, is.

    Raises:
        PermanentFailure: `ARTIFACT_NEWER` or `ARTIFACT_DAMAGED`.
    """
    try:
        document = json.loads(content)
        version = document["contract_version"]
    except (ValueError, TypeError, KeyError) as error:
        raise PermanentFailure(f"{where} is not a manifest: {error}", code=ErrorCode.ARTIFACT_DAMAGED) from error
    if isinstance(version, int) and version > CONTRACT_VERSION:
        raise PermanentFailure(
            f"{where} has contract version {version}, this release reads up to {CONTRACT_VERSION}",
            code=ErrorCode.ARTIFACT_NEWER,
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise PermanentFailure(f"{where} is not a valid manifest: {error}", code=ErrorCode.ARTIFACT_DAMAGED) from error
