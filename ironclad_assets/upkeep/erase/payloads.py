"""What a stage's manifest says, as far as it can be read: enough to find what has to go, where nothing is trusted."""

import json
from typing import Any

from ironclad_assets.errors import PermanentFailure
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.store import Store


def read_payload(store: Store, *, song: str, stage: str) -> dict[str, Any]:  # any JSON values
    """Return the payload of a song's artifact, also of one that is damaged; nothing where none can be read."""
    folder = store.stage(stage, song)
    try:
        return dict(read_manifest(folder).payload)
    except PermanentFailure:
        pass
    try:
        payload = json.loads(folder.manifest.read_bytes())["payload"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return payload if isinstance(payload, dict) else {}
