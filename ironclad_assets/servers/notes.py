"""What runs and the refresher tell each other by files in the home: that an entry landed, and what came of it.

A run that filed a song only leaves a note, which costs it nothing; `refresher` reads it in the code server.
"""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ironclad_assets.errors import IroncladError
from ironclad_assets.servers.configured import configured_servers
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.telemetry.logs import bind

_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ServerState:
    """What came of the last request to a server. `entry` is the last one that it was told of."""

    url: str
    entry: str = ""
    at: str = ""
    said: str = ""
    failures: int = 0


def note_entry(settings: Settings, *, song: str = "") -> None:
    """Leave a note that an entry landed or moved, where a media server is configured; never raises."""
    if not configured_servers(settings).servers:
        return
    try:
        atomic.make_folder(_entry_file(settings).parent)
        atomic.write_json(_entry_file(settings), {"entry": secrets.token_hex(16), "song": song, "at": timestamp()})
    except (IroncladError, OSError) as error:
        bind(song=song).warning("media servers will not hear of this entry", reason=str(error))


def last_entry(settings: Settings) -> str:
    """Return what tells the last entry that landed from every other one, or nothing."""
    return str(_read(_entry_file(settings)).get("entry", ""))


def read_states(settings: Settings) -> dict[str, ServerState]:
    """Return what came of the last requests, by the servers' names."""
    states = {}
    for name, fields in _read(_states_file(settings)).items():
        try:
            states[name] = ServerState(
                url=str(fields["url"]),
                entry=str(fields["entry"]),
                at=str(fields["at"]),
                said=str(fields["said"]),
                failures=int(fields["failures"]),
            )
        except (KeyError, TypeError, ValueError):
            continue
    return states


def write_states(settings: Settings, states: dict[str, ServerState]) -> None:
    """Keep what came of the last requests.

    Raises:
        StorageUnavailable: the home is full, read-only or away.
    """
    document = {
        name: {"url": one.url, "entry": one.entry, "at": one.at, "said": one.said, "failures": one.failures}
        for name, one in states.items()
    }
    atomic.make_folder(_states_file(settings).parent)
    atomic.write_json(_states_file(settings), document)


def timestamp() -> str:
    """Return the time for people and for `health`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _entry_file(settings: Settings) -> Path:
    return settings.home_dir / "run" / "last-entry.json"


def _states_file(settings: Settings) -> Path:
    return settings.home_dir / "run" / "servers.json"


def _read(path: Path) -> dict[str, Any]:  # a JSON object
    """Return the JSON object in a file; one that is missing or damaged holds nothing."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
