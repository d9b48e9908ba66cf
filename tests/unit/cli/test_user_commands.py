"""The commands about users, terms, limits and usage."""

import json
from pathlib import Path
from typing import Any

import pytest

from ironclad_assets.cli.quantities import bar_text, bytes_text, quantity_text, read_quantity
from ironclad_assets.contracts.v1.limits import LIMITS, EffectiveLimits, SystemLimits, Usage
from ironclad_assets.errors import Refusal
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.usage import ORIGINAL
from ironclad_assets.settings import Settings
from tests.unit.cli.conftest import Run


@pytest.fixture
def songs(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{number}.mp3" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(b"%d" % number * 1000)
    return [str(path) for path in paths]


def document(run: Run, *words: str) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_users_come_get_a_role_and_are_stopped(run: Run, installed: Settings, songs: list[str]) -> None:
    assert "no users yet" in run("users", "list").output
    assert run("submit", songs[0], "--user", "ada").exit_code == 0
    assert run("users", "role", "ada", "admin").output == "user ada is admin\n"
    assert "ada is admin, disabled" in run("users", "disable", "ada").output
    refused = run("submit", songs[1], "--user", "ada")
    assert (refused.exit_code, "user_disabled" in refused.output) == (4, True)
    assert document(run, "users", "enable", "ada")["user"]["disabled"] is False
    assert document(run, "users", "add", "eve")["user"]["role"] == "member"
    users = document(run, "users", "list")["users"]
    assert [(user["user_id"], user["role"], user["stored_bytes"]) for user in users] == [
        ("ada", "admin", 1000),
        ("eve", "member", 0),
    ]
    assert "1000 B" in run("users", "list").output
    assert run("users", "role", "nobody", "admin").exit_code != 0
    assert run("users", "add", "No Name").exit_code == 4


def test_terms_hold_a_song_until_they_are_accepted(
    run: Run, installed: Settings, songs: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """EULA-001."""
    assert "there are no terms" in run("terms", "show").output
    assert run("terms", "accept").exit_code == 4
    text = tmp_path / "terms.txt"
    text.write_text("Be kind.\x1b[2J\n", encoding="utf-8")
    monkeypatch.setenv("IRONCLAD_TERMS_VERSION", "2026-11")
    monkeypatch.setenv("IRONCLAD_TERMS_URL", str(text))
    shown = run("terms", "show").output
    assert "version 2026-11" in shown
    assert "Be kind." in shown
    assert "\x1b" not in shown
    assert "nobody has accepted" in run("terms", "list").output
    said = run("submit", songs[0], "--user", "ada").output
    assert said.startswith("held 0.mp3 as job ")
    assert "terms accept" in said
    assert run("terms", "accept", "--user", "ada").exit_code == 0
    assert run("submit", songs[1], "--user", "ada").output.startswith("queued 1.mp3")
    accepted = document(run, "terms", "list", "--user", "ada")["acceptances"][0]
    assert (accepted["user_id"], accepted["version"], bool(accepted["request_id"])) == ("ada", "2026-11", True)
    assert "2026-11" in run("terms", "list").output


def test_limits_are_set_shown_and_cleared(run: Run, installed: Settings, songs: list[str]) -> None:
    assert run("limits", "set", "stored_bytes", "2K", "--user", "ada").exit_code == 0
    assert run("limits", "set", "songs_per_day", "7", "--role", "guest").exit_code == 0
    assert document(run, "limits", "set", "concurrent_jobs", "4", "--system")["limit"]["value"] == 4
    everything = document(run, "limits", "show")
    assert everything["roles"]["guest"]["songs_per_day"] == 7
    assert everything["system"]["concurrent_jobs"] == 4
    assert everything["users"] == [{"user": "ada", "name": "stored_bytes", "value": 2048}]
    assert "user ada: stored_bytes 2.0 KiB" in run("limits", "show").output
    mine = document(run, "limits", "show", "--user", "ada")
    assert (mine["limits"]["stored_bytes"], mine["set_for"]) == (2048, {"stored_bytes": "user"})
    table = run("limits", "show", "--user", "ada").output
    assert all(name in table for name in LIMITS)
    refused = run("submit", *songs, "--user", "ada")
    assert (refused.exit_code, refused.output.count("quota_exceeded")) == (4, 1)
    assert "near a limit: user 'ada' uses 98% of stored_bytes" in refused.output
    assert document(run, "limits", "clear", "--user", "ada") == {"cleared": 1}
    assert run("submit", songs[2], "--user", "ada").exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("set", "stored_bytes", "lots", "--user", "ada"),
        ("set", "stored_bytes", "-1", "--user", "ada"),
        ("set", "nonsense", "1", "--user", "ada"),
        ("set", "songs_per_day", "1.5", "--user", "ada"),
        ("set", "songs_per_day", "1", "--system"),
        ("set", "songs_per_day", "1"),
        ("set", "songs_per_day", "1", "--system", "--user", "ada"),
        ("set", "songs_per_day", "1", "--user", "A D A"),
        ("clear", "nonsense", "--user", "ada"),
        ("show", "--user", "../x"),
    ],
)
def test_what_makes_no_sense_changes_nothing(run: Run, installed: Settings, words: tuple[str, ...]) -> None:
    assert run("limits", *words).exit_code in (2, 4)
    assert Ledger(installed.ledger_url).limits.rows() == []


def test_usage_shows_bars_and_warns_near_a_limit(run: Run, installed: Settings, songs: list[str]) -> None:
    """ORG-003."""
    run("limits", "set", "songs_per_day", "2", "--user", "ada")
    assert run("submit", *songs[:2], "--user", "ada").exit_code == 0
    shown = run("usage", "--user", "ada").output
    assert "[####################] 100%" in shown
    assert "near its limit: user 'ada' uses 100% of songs_per_day: 2 of 2" in shown
    found = document(run, "usage")["usage"]
    assert [(one["user"], one["used"]["stored_bytes"]) for one in found] == [(None, 2000), ("ada", 2000)]
    assert found[1]["limits"]["songs_per_day"] == 2


def test_a_recount_mends_the_account_from_the_store(run: Run, installed: Settings, songs: list[str]) -> None:
    run("submit", songs[0], "--user", "ada")
    ledger = Ledger(installed.ledger_url)
    song = ledger.jobs()[0].song
    ledger.usage.record(song, ORIGINAL, size_bytes=5)
    ledger.usage.record(song, "stems", size_bytes=9**9)
    assert document(run, "usage", "--recount")["corrected"] == 2
    assert ledger.usage.stored(song) == {ORIGINAL: 1000}
    assert "0 entries" in run("usage", "--recount").output
    (installed.store_root / ".store-id").unlink()
    assert run("usage", "--recount").exit_code == 5
    assert ledger.usage.stored(song) == {ORIGINAL: 1000}, "a store that is away is not an empty one"


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("5", "bytes", 5),
        ("1.5k", "bytes", 1536),
        ("2 GiB", "bytes", 2 * 1024**3),
        ("500MB", "bytes", 500 * 1024**2),
        ("90m", "seconds", 5400.0),
        ("4h", "seconds", 14_400.0),
        ("30", "days", 30.0),
        ("30d", "days", 30.0),
        ("0.5 days", "days", 0.5),
        ("12", "songs", 12),
        ("none", "songs", None),
        ("FLAC, wav", "types", ("flac", "wav")),
    ],
)
def test_quantities_are_read_as_people_write_them(text: str, unit: str, value: object) -> None:
    assert read_quantity(text, unit=unit) == value


@pytest.mark.parametrize(("text", "unit"), [("", "bytes"), ("1e9", "bytes"), ("5x", "seconds"), ("½", "songs")])
def test_other_words_are_refused(text: str, unit: str) -> None:
    with pytest.raises(Refusal):
        read_quantity(text, unit=unit)


def test_quantities_are_shown_short() -> None:
    assert [bytes_text(size) for size in (0, 1023, 1024, 3.5 * 1024**4)] == ["0 B", "1023 B", "1.0 KiB", "3.5 TiB"]
    assert quantity_text(None, unit="types") == "all"
    assert quantity_text(1500, unit="songs") == "1,500 songs"
    assert bar_text(5, most=0) == "[####################] 100%"
    assert bar_text(30, most=10).endswith("300%")


def test_every_limit_has_its_facts_and_every_usage_its_limit() -> None:
    assert set(LIMITS) == set(EffectiveLimits.model_fields)
    assert set(Usage.model_fields) <= set(LIMITS)
    assert set(SystemLimits.model_fields) <= set(Usage.model_fields)
