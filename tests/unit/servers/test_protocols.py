"""Each kind of server is asked in its own words, and whatever it answers is told without a secret."""

import socket
import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from ironclad_assets.servers.configured import NAMES, configured_servers
from ironclad_assets.servers.protocols import Answer, Server, ask_to_scan
from ironclad_assets.servers.request import ServerProblem
from ironclad_assets.settings import Settings
from tests.fakes.media_servers import PASSWORD, TOKEN, USER, MediaServer

Configure = Callable[..., Settings]
EVERY = pytest.mark.parametrize("name", NAMES)


def server_of(configure: Configure, name: str) -> Server:
    (server,) = configured_servers(configure(name)).servers
    return server


def problem_of(server: Server, *, timeout_s: float = 0.5) -> str:
    with pytest.raises(ServerProblem) as caught:
        ask_to_scan(server, timeout_s=timeout_s)
    said = str(caught.value)
    assert server.secret not in said
    assert caught.value.__cause__ is None
    return said


@EVERY
def test_a_server_with_the_right_secret_scans(configure: Configure, media_server: MediaServer, name: str) -> None:
    assert ask_to_scan(server_of(configure, name), timeout_s=5) is Answer.STARTED
    assert media_server.scans == 1


def test_plex_and_jellyfin_get_their_token_in_a_header(configure: Configure, media_server: MediaServer) -> None:
    """An address stands in the logs of servers and proxies, a header does not."""
    for name in ("plex", "jellyfin"):
        ask_to_scan(server_of(configure, name), timeout_s=5)
    assert [(method, path) for _, method, path in media_server.asked] == [
        ("GET", "/library/sections/all/refresh"),
        ("POST", "/Library/Refresh"),
    ]
    plex, jellyfin = media_server.headers
    assert plex["X-Plex-Token"] == TOKEN
    assert jellyfin["Authorization"] == f'MediaBrowser Token="{TOKEN}"'


def test_subsonic_never_gets_the_password_and_no_salt_twice(configure: Configure, media_server: MediaServer) -> None:
    ask_to_scan(server_of(configure, "navidrome"), timeout_s=5)
    assert media_server.paths() == ["/rest/getScanStatus", "/rest/startScan"]
    queries = [parse_qs(urlsplit(path).query) for _, _, path in media_server.asked]
    for query in queries:
        assert set(query) == {"u", "t", "s", "v", "c", "f"}
        assert (query["u"], query["f"]) == ([USER], ["json"])
    assert len({query["s"][0] for query in queries}) == 2
    assert not any(PASSWORD in path for _, _, path in media_server.asked)


def test_a_folder_in_the_address_stays_in_front(configure: Configure, media_server: MediaServer) -> None:
    server = replace(server_of(configure, "jellyfin"), url=f"{media_server.url}/jellyfin")
    assert problem_of(server) == "answered with HTTP 404"
    assert media_server.paths() == ["/jellyfin/Library/Refresh"]


def test_a_subsonic_server_that_scans_is_asked_again_later(configure: Configure, media_server: MediaServer) -> None:
    """It would ignore the request, and may have passed the new files already."""
    media_server.scanning = True
    assert ask_to_scan(server_of(configure, "subsonic"), timeout_s=5) is Answer.BUSY
    assert media_server.paths() == ["/rest/getScanStatus"]


@EVERY
def test_a_wrong_secret_is_told_as_one(configure: Configure, media_server: MediaServer, name: str) -> None:
    said = problem_of(replace(server_of(configure, name), secret="another-secret"))
    assert "does not accept" in said
    assert media_server.scans == 0


def test_a_user_who_may_not_scan_is_told_that(configure: Configure, media_server: MediaServer) -> None:
    media_server.mood = "not an administrator"
    assert "needs an administrator" in problem_of(server_of(configure, "navidrome"))


@pytest.mark.parametrize(
    ("mood", "said"),
    [
        ("500", "answered with HTTP 500"),
        ("503", "answered with HTTP 503"),
        ("web page", "answered with a web page"),
        ("redirect", "redirects to https://elsewhere.example; use that address"),
        ("odd redirect", "redirects to another page; use that address"),
        ("no http", "no HTTP"),
        ("hanging up", "closed the connection without an answer"),
        ("silent", "did not answer within 0.5 s"),
        ("dripping", "did not answer within 0.5 s"),
        ("dripping body", "did not answer within 0.5 s"),
    ],
)
@EVERY
def test_a_misbehaving_server_is_told_in_words(
    configure: Configure, media_server: MediaServer, name: str, mood: str, said: str
) -> None:
    media_server.mood = mood
    started = time.monotonic()
    assert said in problem_of(server_of(configure, name))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("mood", ["half a json", "other json", "deep json"])
def test_json_that_is_not_the_protocols_is_no_success(
    configure: Configure, media_server: MediaServer, mood: str
) -> None:
    media_server.mood = mood
    assert "JSON" in problem_of(server_of(configure, "subsonic"))


@EVERY
def test_a_refused_connection_is_told_at_once(configure: Configure, name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert "cannot be reached (Connection refused)" in problem_of(replace(server_of(configure, name), url=url))


@EVERY
@pytest.mark.parametrize("url", ["http://nas:port", "http://nas:99999", "https://[::1"])
def test_an_address_that_cannot_be_asked_is_told(configure: Configure, name: str, url: str) -> None:
    assert "cannot be" in problem_of(replace(server_of(configure, name), url=url))


@EVERY
def test_a_host_that_does_not_exist_is_told(configure: Configure, name: str) -> None:
    server = replace(server_of(configure, name), url="http://no-such-host.invalid")
    assert "cannot be reached" in problem_of(server, timeout_s=5)


@pytest.mark.parametrize("secret", ["two\r\nX-Evil: lines", "ünicode", 'a"b'])
@pytest.mark.parametrize("name", ["plex", "jellyfin"])
def test_a_token_that_no_header_can_hold_is_not_sent(
    configure: Configure, media_server: MediaServer, name: str, secret: str
) -> None:
    assert "characters that no token has" in problem_of(replace(server_of(configure, name), secret=secret))
    assert media_server.asked == []


def test_proxies_are_not_used(configure: Configure, media_server: MediaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token goes to the server that was configured and to nobody else."""
    for variable in ("http_proxy", "HTTP_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    assert ask_to_scan(server_of(configure, "plex"), timeout_s=5) is Answer.STARTED


def test_a_secret_is_in_no_representation(configure: Configure) -> None:
    settings = configure(*NAMES)
    shown = f"{settings!r} {settings} {configured_servers(settings)!r} {settings.model_dump_json()}"
    assert TOKEN not in shown
    assert PASSWORD not in shown
