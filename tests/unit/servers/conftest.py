"""A fake media server for each test, and settings that name it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from ironclad_assets.settings import Settings
from tests.fakes.media_servers import PASSWORD, TOKEN, USER, MediaServer, run_media_server

CREDENTIALS = {
    "plex": {"token": TOKEN},
    "jellyfin": {"token": TOKEN},
    "navidrome": {"user": USER, "password": PASSWORD},
    "subsonic": {"user": USER, "password": PASSWORD},
}


@pytest.fixture
def media_server() -> Iterator[MediaServer]:
    with run_media_server() as fake:
        yield fake


@pytest.fixture
def configure(tmp_path: Path, media_server: MediaServer) -> Callable[..., Settings]:
    """Return a function that makes settings with the fake as the servers named."""

    def make(*names: str, **others: Any) -> Settings:
        given: dict[str, Any] = {}
        for name in names:
            given |= {f"refresh_{name}_{field}": value for field, value in CREDENTIALS[name].items()}
            given[f"refresh_{name}_url"] = media_server.url
        return Settings(home=tmp_path / "home", **{"refresh_timeout_s": 0.5, **given, **others})

    return make


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """Everything that is logged while the test runs."""
    with structlog.testing.capture_logs() as lines:
        yield lines
