"""Which media servers an installation tells of new entries, from its settings."""

from dataclasses import dataclass
from typing import Literal

from ironclad_assets.servers.protocols import Server
from ironclad_assets.settings import Settings

NAMES = ("plex", "jellyfin", "navidrome", "subsonic")

_PROTOCOLS: dict[str, Literal["plex", "jellyfin", "subsonic"]] = {
    "plex": "plex",
    "jellyfin": "jellyfin",
    "navidrome": "subsonic",
    "subsonic": "subsonic",
}


@dataclass(frozen=True, slots=True)
class Configured:
    """The servers that can be asked, and of the others by name which variable is missing."""

    servers: tuple[Server, ...] = ()
    incomplete: tuple[tuple[str, str], ...] = ()


def configured_servers(settings: Settings) -> Configured:
    """Return the servers whose address is set."""
    servers, incomplete = [], []
    for name in NAMES:
        url = getattr(settings, f"refresh_{name}_url")
        if url is None:
            continue
        by_token = _PROTOCOLS[name] != "subsonic"
        needed = (f"refresh_{name}_token",) if by_token else (f"refresh_{name}_user", f"refresh_{name}_password")
        missing = [field for field in needed if not getattr(settings, field)]
        if missing:
            incomplete.append((name, f"IRONCLAD_{missing[0].upper()}"))
            continue
        servers.append(
            Server(
                name=name,
                protocol=_PROTOCOLS[name],
                url=str(url).rstrip("/"),
                secret=getattr(settings, needed[-1]).get_secret_value(),
                user="" if by_token else str(getattr(settings, needed[0])),
            )
        )
    return Configured(servers=tuple(servers), incomplete=tuple(incomplete))
