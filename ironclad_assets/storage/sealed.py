"""JSON documents that carry their own checksum, so that a changed byte is found whatever it meant.

For notes and records that no manifest names. A manifest seals itself (`contracts/v1/manifest.py`), in the same way.
"""

import json
from collections.abc import Mapping
from typing import Any

from ironclad_assets.contracts.v1.manifest import SEAL
from ironclad_assets.storage.hashing import hash_json


def seal(document: Mapping[str, Any]) -> dict[str, Any]:  # any JSON values
    """Return the document with the checksum of everything else in it."""
    plain = {name: value for name, value in document.items() if name != SEAL}
    return {**plain, SEAL: hash_json(plain)}


def check_seal(content: bytes) -> str:
    """Return what is wrong with a sealed document as it lies on disk, byte for byte; nothing if it is whole."""
    try:
        document = json.loads(content)
    except ValueError as error:
        return f"it is no JSON: {error}"
    if not isinstance(document, dict):
        return "it is no JSON object"
    if content != _spell(document):
        return "its bytes are not as they were written"
    if document.get(SEAL) is None:
        return ""  # written by a release that did not seal
    return "" if seal(document) == document else "it differs from its checksum"


def _spell(document: Mapping[str, Any]) -> bytes:
    """Return the bytes that `atomic.write_json` makes of the document."""
    return (json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()
