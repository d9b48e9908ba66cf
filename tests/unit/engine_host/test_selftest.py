"""`engines verify` tells good engines from bad ones, through real workers."""

from array import array
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.environments import Promise, Verification
from ironclad_assets.engine_host import doctor, selftest, trial_song
from ironclad_assets.engine_host.doctor import examine_engines
from ironclad_assets.engine_host.listening import SilentListener
from ironclad_assets.engine_host.registry import find_engines
from ironclad_assets.engine_host.selftest import read_verification, verify_engine
from ironclad_assets.settings import Settings
from tests.unit.engine_host.rogues import ENGINES

MANIFEST = """
name = "tried"
version = "1.0.0"
kind = "separation"
protocol = 1
description = "Made for tests"
licence = "MIT"
entry = "tried:Engine"
environment = "core"
default_model = "small"
devices = ["cpu"]
[[models]]
name = "small"
stems = ["vocals", "drums"]
sample_rate_hz = 8000
channels = 1
[parameters.shifts]
type = "int"
default = 5
description = "More is slower"
[parameters.other]
type = "int"
default = 1
description = "Of another model"
models = ["large"]
[[models]]
name = "large"
weights = "large"
stems = ["vocals", "drums"]
sample_rate_hz = 8000
channels = 1
[presets.fast]
shifts = 1
other = 2
"""
CATALOGUE = """
[[weights]]
name = "large"
licence = "MIT"
source = "https://example.org"
[[weights.files]]
name = "large.th"
urls = ["https://weights.invalid/large.th"]
"""
ENGINE = """
import time
import numpy as np
from ironclad_harness.engine import Pass, EngineError

class Engine:
    def __init__(self, context):
        assert context.parameters == {"shifts": 1}, context.parameters
        self.rate = context.sample_rate_hz

    def passes(self):
        return (Pass(window=self.rate, hop=self.rate),)

    def separate(self, y, *, window):
        time.sleep(0.03)
        %s
"""
GOOD = "return np.stack([y / 3, y * 2 / 3])"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", engines_path=tmp_path / "engines")


def verify(settings: Settings, body: str, *models: str) -> Verification:
    folder = settings.engines_path / "tried"
    folder.mkdir(parents=True, exist_ok=True)
    if not (settings.engines_path / "_harness").exists():
        (settings.engines_path / "_harness").symlink_to(ENGINES / "_harness")
    (folder / "engine.toml").write_text(MANIFEST, encoding="utf-8")
    (folder / "models.toml").write_text(CATALOGUE, encoding="utf-8")
    (folder / "tried.py").write_text(ENGINE % body, encoding="utf-8")
    engine = find_engines(settings.engines_path)["tried"]
    return verify_engine(engine, settings=settings, listener=SilentListener(), models=models)


def promises(verification: Verification) -> dict[str, Promise]:
    return {promise.name: promise for promise in verification.tests[0].promises}


def test_an_engine_that_keeps_its_promises_passes(settings: Settings) -> None:
    """SPLIT-003: tests that any engine can run."""
    verification = verify(settings, GOOD)
    assert verification.passed
    kept = promises(verification)
    assert list(kept) == ["separates", "device", "length", "finite", "stems differ", "resumes", "refuses"]
    assert all(promise.kept for promise in kept.values())
    assert "same bytes" in kept["resumes"].detail
    assert "killed at" in kept["resumes"].detail
    assert [test.outcome for test in verification.tests] == ["passed", "skipped"]
    assert "model_missing" in verification.tests[1].detail
    engine = find_engines(settings.engines_path)["tried"]
    assert read_verification(engine, settings=settings) == verification


@pytest.mark.parametrize(
    ("body", "promise", "said"),
    [
        pytest.param("return np.stack([y / 2, y / 2])", "stems differ", "the same sound", id="equal stems"),
        pytest.param("return np.stack([y * 0, y * 0])", "stems differ", "all stems are silent", id="silence"),
        pytest.param("return np.stack([y, y * np.nan])", "separates", "stems_invalid", id="nan"),
        pytest.param("raise EngineError('model_damaged', 'torn')", "separates", "torn", id="failure"),
        pytest.param(
            "return np.stack([y / 3, y * np.float32(time.time() % 1)])", "resumes", "other bytes", id="not repeatable"
        ),
    ],
)
def test_a_broken_promise_is_named(settings: Settings, body: str, promise: str, said: str) -> None:
    verification = verify(settings, body, "small")
    assert not verification.passed
    broken = promises(verification)[promise]
    assert not broken.kept
    assert said in broken.detail
    assert verification.tests[0].detail == broken.detail


def test_what_was_found_of_one_model_is_kept_beside_what_is_known_of_others(settings: Settings) -> None:
    verify(settings, GOOD, "small")
    verify(settings, GOOD, "large")
    engine = find_engines(settings.engines_path)["tried"]
    kept = read_verification(engine, settings=settings)
    assert kept is not None
    assert {test.model: test.outcome for test in kept.tests} == {"small": "passed", "large": "skipped"}
    assert kept.passed


def test_an_engine_without_any_weights_is_not_called_verified(settings: Settings) -> None:
    assert not verify(settings, GOOD, "large").passed


def test_a_self_test_of_another_version_does_not_count(settings: Settings) -> None:
    verification = verify(settings, GOOD, "large")
    path = selftest.verification_path("tried", settings=settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = find_engines(settings.engines_path)["tried"]
    path.write_text(verification.model_copy(update={"engine_version": "0.9"}).model_dump_json(), encoding="utf-8")
    assert read_verification(engine, settings=settings) is None
    path.write_text("{", encoding="utf-8")
    assert read_verification(engine, settings=settings) is None
    path.write_text(verification.model_dump_json(), encoding="utf-8")
    assert read_verification(engine, settings=settings) == verification


def test_a_failed_self_test_is_the_doctors_business(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_pip", lambda: doctor.Finding("pip", "ok", ""))
    monkeypatch.setattr(doctor, "find_interpreters", lambda: ())
    verify(settings, "return np.stack([y / 2, y / 2])")
    settings = settings.model_copy(update={"default_engine": "tried"})
    findings = {one.part: one for one in examine_engines(find_engines(settings.engines_path), settings=settings)}
    assert findings["tried (default)"].level == "problem"
    assert "the same sound" in findings["tried (default)"].detail


# The song


@pytest.mark.parametrize("channels", [1, 2])
def test_the_song_is_the_same_every_time_and_its_figures_are_true(tmp_path: Path, channels: int) -> None:
    song = trial_song.write_song(tmp_path / "a", sample_rate_hz=1000, channels=1 if channels == 1 else 2)
    trial_song.write_song(tmp_path / "b", sample_rate_hz=1000, channels=1 if channels == 1 else 2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    samples = array("f")
    samples.frombytes((tmp_path / "a").read_bytes())
    assert len(samples) == song.audio.frames * channels
    assert song.statistics.peak == pytest.approx(max(abs(sample) for sample in samples))
    assert 0.05 < song.statistics.rms < song.statistics.peak < 1.0
    assert sum(chunk.frames for chunk in song.chunks) == song.audio.frames


def test_a_stem_of_another_length_or_with_nan_is_named(tmp_path: Path) -> None:
    song = trial_song.write_song(tmp_path / "song", sample_rate_hz=1000, channels=1)
    whole = array("f", [0.1]) * song.audio.frames
    for name, samples in (("good", whole), ("short", whole[:-1]), ("bad", whole[:-1] + array("f", [float("nan")]))):
        (tmp_path / name).write_bytes(samples.tobytes())
    stems = {name: tmp_path / name for name in ("good", "short", "missing")}
    assert trial_song.find_wrong_length({"good": tmp_path / "good"}, song=song) == ""
    assert trial_song.find_wrong_length(stems, song=song).startswith("short has ")
    assert trial_song.find_wrong_length({"m": tmp_path / "missing"}, song=song).startswith("m has 0 bytes")
    assert trial_song.find_non_finite({"good": tmp_path / "good"}, song=song) == ""
    assert trial_song.find_non_finite({"bad": tmp_path / "bad"}, song=song) == "bad holds NaN or infinite samples"
