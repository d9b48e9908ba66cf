"""What `pipelinectl health` says about the sources: a warning at most, because songs complete without them."""

import os
from pathlib import Path

import pytest

from ironclad_assets.cli import health
from ironclad_assets.cli.installation import open_installation
from ironclad_assets.lookup.state import FILE_NAME, SharedState
from ironclad_assets.settings import Settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("IRONCLAD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IRONCLAD_LOOKUP_CONTACT", "music@example.org")
    return tmp_path / "home"


def sources() -> dict[str, health.Finding]:
    return {finding.part: finding for finding in health._sources(open_installation(require_ledger=False))}


def test_sources_are_off_without_a_contact(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IRONCLAD_LOOKUP_CONTACT")
    found = sources()
    assert list(found) == ["musicbrainz", "cover_art_archive", "acoustid"]
    assert all(finding.well and "IRONCLAD_LOOKUP_CONTACT" in finding.detail for finding in found.values())
    assert not (home / FILE_NAME).exists()


def test_a_source_that_does_not_answer_is_a_warning_with_its_last_error(home: Path) -> None:
    """META-003"""
    state = SharedState(home / FILE_NAME)
    state.succeeded("cover_art_archive")
    state.succeeded("musicbrainz")
    for _ in range(2):
        state.failed("musicbrainz", why="MusicBrainz gave no answer in time", after=2, rest_s=300.0)
    state.close()
    found = sources()
    assert found["cover_art_archive"].detail.startswith("answered 20")
    assert found["musicbrainz"].well
    assert found["musicbrainz"].detail.startswith("warning: left alone for ")
    assert "2 failures in a row" in found["musicbrainz"].detail
    assert "MusicBrainz gave no answer in time; answered 20" in found["musicbrainz"].detail


def test_a_memory_that_cannot_be_read_is_named(home: Path) -> None:
    (home / FILE_NAME).mkdir()
    (finding,) = sources().values()
    assert (finding.part, finding.well) == ("lookups", False)
    assert str(home / FILE_NAME) in finding.remedy


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lookup_contact", "me"[:0]),
        ("lookup_contact", "me\r\nX-Evil: 1"),
        ("lookup_contact", "a) b"),
        ("lookup_musicbrainz_url", "file:///etc/passwd"),
        ("lookup_musicbrainz_url", "https://musicbrainz.org/path"),
        ("lookup_acoustid_key", "a b"),
        ("lookup_total_s", "0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        Settings(**{name: value})


def test_health_of_a_home_with_odd_signs_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "what?#%41 home"
    odd.mkdir()
    monkeypatch.setitem(os.environ, "IRONCLAD_HOME", str(odd))
    SharedState(odd / FILE_NAME).close()
    assert set(sources()) == {"musicbrainz", "cover_art_archive", "acoustid"}
