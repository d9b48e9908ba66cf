"""What `health` and the graph know of media servers."""

from collections.abc import Callable

import dagster as dg

from ironclad_assets.cli import health
from ironclad_assets.cli.installation import Installation
from ironclad_assets.definitions import build_definitions
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.sensors.refresh import build_server_refresher
from ironclad_assets.servers.notes import note_entry
from ironclad_assets.servers.refresher import Refresher
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store
from tests.fakes.media_servers import TOKEN, MediaServer

Configure = Callable[..., Settings]


def finding(settings: Settings, part: str) -> health.Finding:
    installation = Installation(
        settings=settings,
        ledger=Ledger(settings.ledger_url),
        store=Store(settings.store_root, reserve_bytes=settings.disk_reserve_bytes),
    )
    (found,) = (one for one in health.examine(installation) if one.part == part)
    return found


def sensor_names(settings: Settings) -> set[str]:
    return {sensor.name for sensor in build_definitions(settings).sensors or ()}


def test_health_tells_of_each_state_of_a_server(configure: Configure, media_server: MediaServer) -> None:
    settings = configure("plex")
    assert finding(settings, "plex").detail == f"{media_server.url} was not asked yet; no entry landed yet"
    note_entry(settings, song="s1")
    assert finding(settings, "plex").detail.endswith("an entry waits to be told")
    Refresher(settings).tick()
    assert f"{media_server.url} was asked to scan (last at 20" in finding(settings, "plex").detail
    note_entry(settings, song="s2")
    media_server.mood = "500"
    Refresher(settings).tick()
    found = finding(settings, "plex")
    assert found.well, "a media server that is away is no outage of the pipeline"
    assert found.detail.startswith(f"warning: {media_server.url} answered with HTTP 500, 1 times in a row")
    assert TOKEN not in found.detail


def test_a_server_without_its_secret_is_not_well(media_server: MediaServer, configure: Configure) -> None:
    found = finding(configure(refresh_jellyfin_url=media_server.url), "jellyfin")
    assert not found.well
    assert "IRONCLAD_REFRESH_JELLYFIN_TOKEN" in found.remedy


def test_the_graph_has_the_sensor_only_where_a_server_is_configured(configure: Configure) -> None:
    assert "server_refresher" in sensor_names(configure("navidrome"))
    assert "server_refresher" not in sensor_names(configure())


def test_a_tick_of_the_sensor_says_how_it_stands(configure: Configure, media_server: MediaServer) -> None:
    settings = configure("plex", "jellyfin")
    sensor = build_server_refresher(Refresher(settings))
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    note_entry(settings, song="s1")
    said = sensor(dg.build_sensor_context())
    assert isinstance(said, dg.SkipReason)
    assert said.skip_message == "plex is up to date; jellyfin is up to date"
    assert media_server.scans == 2
