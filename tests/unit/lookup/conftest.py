"""A fake of all three sources, and sessions that ask it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ironclad_assets.lookup.policy import LookupPolicy
from ironclad_assets.lookup.session import LookupSession
from ironclad_assets.sandbox.watch import SilentWatch
from ironclad_assets.settings import Settings
from tests.fakes.lookup_server import LookupServer, open_lookup_server

OpenSession = Callable[..., LookupSession]


@pytest.fixture
def server() -> Iterator[LookupServer]:
    with open_lookup_server() as server:
        yield server


def settings_for(server: LookupServer, home: Path, **more: Any) -> Settings:
    """Return settings of an installation that asks the fake, as fast as it likes."""
    home.mkdir(exist_ok=True)
    return Settings(
        **{
            "home": home,
            "lookup_contact": "music@example.org",
            "lookup_musicbrainz_url": server.url,
            "lookup_cover_art_url": server.url,
            "lookup_acoustid_url": server.url,
            "lookup_interval_s": 0.0,
            "lookup_request_s": 5.0,
            **more,
        }
    )


@pytest.fixture
def open_session(server: LookupServer, tmp_path: Path) -> OpenSession:
    """Return a function that opens a session; its arguments are settings."""

    def open_one(**more: Any) -> LookupSession:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        watch = more.pop("watch", SilentWatch())
        policy = LookupPolicy.from_settings(settings_for(server, tmp_path / "home", **more))
        assert policy is not None
        return LookupSession(policy, covers=tmp_path / "covers", scratch=scratch, watch=watch)

    return open_one
