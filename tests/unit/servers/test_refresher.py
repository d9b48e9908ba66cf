"""Servers hear of new entries soon, not often, and surely of the last one; songs never wait for them."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ironclad_assets.servers import notes
from ironclad_assets.servers.configured import NAMES, configured_servers
from ironclad_assets.servers.notes import last_entry, note_entry, read_states
from ironclad_assets.servers.refresher import LONGEST_PAUSE_S, Refresher
from ironclad_assets.settings import Settings
from tests.fakes.media_servers import PASSWORD, TOKEN, MediaServer

Configure = Callable[..., Settings]


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def settle(refresher: Refresher) -> str:
    """Tick until nobody is being asked any more; time of the test's clock stands still."""
    deadline = time.monotonic() + 10
    while "is being asked" in (said := refresher.tick()):
        assert time.monotonic() < deadline, said
    return said


def test_a_thousand_songs_are_two_requests_and_the_last_is_heard_of(
    configure: Configure, media_server: MediaServer, clock: Clock
) -> None:
    settings = configure("plex", refresh_interval_s=60)
    refresher = Refresher(settings, clock=clock)
    assert settle(refresher) == "plex is up to date"
    for number in range(1000):
        if number < 20 or number > 990:  # what is noted in between is not told from these
            note_entry(settings, song=f"s{number}")
        clock.now += 0.05
        if number % 100 == 0:
            refresher.tick()
    assert media_server.scans == 1
    assert settle(refresher) == "plex waits for its turn"
    clock.now += 60
    assert settle(refresher) == "plex is up to date"
    assert media_server.scans == 2
    clock.now += 10_000
    assert settle(refresher) == "plex is up to date"
    assert media_server.scans == 2


def test_the_first_entry_is_told_at_once(configure: Configure, media_server: MediaServer, clock: Clock) -> None:
    settings = configure(*NAMES)
    refresher = Refresher(settings, clock=clock)
    refresher.tick()
    note_entry(settings, song="s1")
    settle(refresher)
    assert media_server.scans == len(NAMES)


def test_an_entry_that_lands_while_a_server_is_asked_is_told_too(
    configure: Configure, media_server: MediaServer, clock: Clock
) -> None:
    """What the server looked at then may not have been there yet."""
    media_server.mood = "slow"
    settings = configure("jellyfin", refresh_timeout_s=30)
    refresher = Refresher(settings, clock=clock)
    note_entry(settings, song="s1")
    assert refresher.tick() == "jellyfin is being asked"
    note_entry(settings, song="s2")
    media_server.hold.set()
    assert settle(refresher) == "jellyfin waits for its turn"
    clock.now += 61
    assert settle(refresher) == "jellyfin is up to date"
    assert media_server.scans == 2
    assert read_states(settings)["jellyfin"].entry == last_entry(settings)


def test_a_scanning_server_is_asked_until_it_takes_the_last_entry(
    configure: Configure, media_server: MediaServer, clock: Clock
) -> None:
    settings = configure("navidrome", refresh_interval_s=60)
    refresher = Refresher(settings, clock=clock)
    media_server.scanning = True
    note_entry(settings, song="s1")
    assert settle(refresher) == "navidrome waits for its turn"
    assert read_states(settings)["navidrome"].said == "is scanning; it is asked again"
    clock.now += 61
    media_server.scanning = False
    assert settle(refresher) == "navidrome is up to date"
    assert media_server.scans == 1


def test_a_server_that_hangs_delays_neither_the_tick_nor_the_others(
    configure: Configure, media_server: MediaServer, clock: Clock
) -> None:
    settings = configure("plex", "jellyfin", refresh_timeout_s=20)
    media_server.mood = "silent"
    refresher = Refresher(settings, clock=clock)
    note_entry(settings, song="s1")
    started = time.monotonic()
    assert refresher.tick() == "plex is being asked; jellyfin is being asked"
    for _ in range(3):
        refresher.tick()
    assert time.monotonic() - started < 10
    assert len(media_server.asked) == 2, "a server that is being asked is not asked again"


def test_noting_an_entry_costs_no_request(configure: Configure, media_server: MediaServer) -> None:
    """The song's run talks to nobody."""
    media_server.mood = "silent"
    note_entry(configure(*NAMES), song="s1")
    assert media_server.asked == []


@pytest.mark.parametrize("mood", ["500", "web page", "hanging up", "silent"])
def test_a_failing_server_is_asked_again_with_growing_pauses_until_it_is_back(
    configure: Configure, media_server: MediaServer, clock: Clock, logged: list[dict[str, Any]], mood: str
) -> None:
    settings = configure("jellyfin", refresh_interval_s=60, refresh_timeout_s=0.2)
    refresher = Refresher(settings, clock=clock)
    media_server.mood = mood
    note_entry(settings, song="s1")
    for failures, pause_s in enumerate((60, 120, 240, 480, LONGEST_PAUSE_S, LONGEST_PAUSE_S), start=1):
        settle(refresher)
        assert read_states(settings)["jellyfin"].failures == failures
        clock.now += pause_s - 1
        settle(refresher)
        assert read_states(settings)["jellyfin"].failures == failures
        clock.now += 1
    assert [line["failures"] for line in logged] == [1, 2, 3, 4, 5, 6]
    assert {line["server"] for line in logged} == {"jellyfin"}
    media_server.mood = "well"
    assert settle(refresher) == "jellyfin is up to date"
    assert read_states(settings)["jellyfin"].failures == 0


def test_a_new_code_server_goes_on_where_the_last_one_stopped(
    configure: Configure, media_server: MediaServer, clock: Clock
) -> None:
    settings = configure("plex")
    note_entry(settings, song="s1")
    settle(Refresher(settings, clock=clock))
    settle(Refresher(settings, clock=clock))
    assert media_server.scans == 1
    note_entry(settings, song="s2")  # the code server ends before it could say so
    assert settle(Refresher(settings, clock=clock)) == "plex is up to date"
    assert media_server.scans == 2


def test_a_server_at_another_address_is_another_server(
    configure: Configure, media_server: MediaServer, clock: Clock
) -> None:
    settings = configure("plex", refresh_plex_url="http://127.0.0.1:1")
    note_entry(settings, song="s1")
    assert "cannot be reached" in settle(Refresher(settings, clock=clock))
    settings = configure("plex")
    assert settle(Refresher(settings, clock=clock)) == "plex is up to date"
    assert media_server.scans == 1


@pytest.mark.parametrize("mood", ["well", "500", "redirect", "no http", "web page", "half a json", "silent"])
def test_no_secret_is_logged_or_kept(
    configure: Configure, media_server: MediaServer, clock: Clock, logged: list[dict[str, Any]], mood: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    settings = configure(*NAMES, refresh_plex_token="wrong-" + TOKEN, refresh_timeout_s=0.2)
    media_server.mood = mood
    note_entry(settings, song="s1")
    settle(Refresher(settings, clock=clock))
    kept = "".join(path.read_text() for path in (settings.home_dir / "run").iterdir())
    shown = f"{logged} {kept} {''.join(capfd.readouterr())}"
    assert logged
    for secret in (TOKEN, PASSWORD):
        assert secret not in shown
    for _, _, path in media_server.asked:
        for part in path.partition("?")[2].split("&"):
            name, _, value = part.partition("=")
            assert name not in ("t", "s") or value not in shown


def test_without_a_server_nothing_is_written(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    note_entry(settings, song="s1")
    assert not (tmp_path / "home").exists()
    assert Refresher(settings).tick() == "no media server is configured"


def test_a_home_that_cannot_be_written_is_a_warning(
    configure: Configure, logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    settings = configure("plex")
    monkeypatch.setattr(notes.atomic, "write_json", refuse)
    note_entry(settings, song="s1")
    assert [line["song"] for line in logged] == ["s1"]
    monkeypatch.undo()
    note_entry(settings, song="s1")
    monkeypatch.setattr(notes.atomic, "write_json", refuse)
    assert settle(Refresher(settings)) == "plex is up to date"
    assert len(logged) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"plex": 1}', '{"plex": {"url": "x", "failures": "many"}}', "\0"])
def test_damaged_files_hold_nothing(
    configure: Configure, media_server: MediaServer, clock: Clock, content: str
) -> None:
    settings = configure("plex")
    run = settings.home_dir / "run"
    run.mkdir(parents=True)
    (run / "servers.json").write_text(content)
    (run / "last-entry.json").write_text(content)
    assert settle(Refresher(settings, clock=clock)) == "plex is up to date"
    note_entry(settings, song="s1")
    settle(Refresher(settings, clock=clock))
    assert media_server.scans == 1


def test_notes_of_many_runs_at_once_leave_one_whole_note(configure: Configure) -> None:
    settings = configure("plex")
    threads = [threading.Thread(target=note_entry, args=(settings,), kwargs={"song": f"s{n}"}) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(last_entry(settings)) == 32


@pytest.mark.parametrize(
    ("given", "variable"),
    [
        ({"refresh_plex_url": "http://nas"}, "IRONCLAD_REFRESH_PLEX_TOKEN"),
        ({"refresh_jellyfin_url": "http://nas", "refresh_jellyfin_token": ""}, "IRONCLAD_REFRESH_JELLYFIN_TOKEN"),
        ({"refresh_navidrome_url": "http://nas"}, "IRONCLAD_REFRESH_NAVIDROME_USER"),
        ({"refresh_subsonic_url": "http://x", "refresh_subsonic_user": "a"}, "IRONCLAD_REFRESH_SUBSONIC_PASSWORD"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, given: dict[str, str], variable: str) -> None:
    found = configured_servers(Settings(home=tmp_path, **given))
    assert found.servers == ()
    assert [missing for _, missing in found.incomplete] == [variable]


@pytest.mark.parametrize(
    "url", ["ftp://nas", "http://user:password@nas", "nas:32400", "http://nas/?x=1", "http://", ""]
)
def test_an_address_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="refresh_plex_url"):
        Settings(home=tmp_path, refresh_plex_url=url)


def test_another_process_gets_the_secrets(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is hidden from eyes is not hidden from the code server."""
    settings = configure(*NAMES)
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    assert configured_servers(Settings()) == configured_servers(settings)
