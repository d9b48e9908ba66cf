"""A command line over an installation with one fake engine."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ironclad_assets.cli import follow, job_commands
from ironclad_assets.cli.main import build_app
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store

ENGINE = """
name = "{name}"
version = "1.2.3"
kind = "separation"
protocol = 1
description = "Made for tests"
licence = "MIT"
entry = "m:C"
environment = "{environment}"
default_model = "small"
[[models]]
name = "small"
stems = ["vocals", "drums"]
sample_rate_hz = 44100
channels = 2
"""

Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home that the commands find, still empty."""
    for name, environment in (("spectral", "core"), ("other", "own")):
        folder = tmp_path / "engines" / name
        folder.mkdir(parents=True)
        (folder / "engine.toml").write_text(ENGINE.format(name=name, environment=environment), encoding="utf-8")
    monkeypatch.setenv("IRONCLAD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IRONCLAD_ENGINES_PATH", str(tmp_path / "engines"))
    monkeypatch.setenv("IRONCLAD_DISK_RESERVE_BYTES", "1")
    monkeypatch.setattr(follow, "POLL_S", 0.01)
    monkeypatch.setattr(job_commands, "CANCEL_WAIT_S", 0.05)
    return tmp_path / "home"


@pytest.fixture
def installed(home: Path) -> Settings:
    """Settings of a home with store and ledger."""
    settings = Settings(home=home, disk_reserve_bytes=1)
    Store(settings.store_root, reserve_bytes=1).create()
    Ledger(settings.ledger_url).migrate()
    return settings


@pytest.fixture
def ledger(installed: Settings) -> Iterator[Ledger]:
    """The ledger that the commands see."""
    ledger = Ledger(installed.ledger_url)
    yield ledger
    ledger.close()


@pytest.fixture
def other_environment(home: Path) -> Path:
    """The environment of the engine `other`, as far as anybody looks before a worker starts."""
    folder = home / "engines" / "other"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    return folder


@pytest.fixture
def run() -> Run:
    """Run a command line and return what it printed and its exit code."""
    runner, app = CliRunner(), build_app()

    def call(*arguments: str | Path) -> Result:
        return runner.invoke(app, [str(argument) for argument in arguments], terminal_width=200)

    return call


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """A file to submit."""
    file = tmp_path / "song.mp3"
    file.write_bytes(b"not audio, but the command line cannot know")
    return file


def documents(result: Result) -> dict[str, Any]:
    """Return the JSON document that a command printed."""
    loaded: dict[str, Any] = json.loads(result.stdout)
    return loaded
