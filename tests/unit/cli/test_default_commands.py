"""defaults show, set, clear, and options in the commands about jobs."""

from pathlib import Path

import pytest

from ironclad_assets.cli.exits import Exit
from ironclad_assets.contracts.v1.options import ALL_STEMS, JobOptions
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import load_settings
from tests.unit.cli.conftest import Run, documents

TUNABLE = """
[parameters.shifts]
type = "int"
default = 1
minimum = 0
maximum = 10
description = "Passes"

[presets.fast]
shifts = 0
"""


@pytest.fixture
def tunable(home: Path, ledger: Ledger, other_environment: Path) -> Ledger:
    """A ledger beside an engine `other` with a parameter and a preset."""
    manifest = home.parent / "engines" / "other" / "engine.toml"
    manifest.write_text(manifest.read_text(encoding="utf-8") + TUNABLE, encoding="utf-8")
    return ledger


def test_defaults_are_set_bit_by_bit_shown_and_forgotten(run: Run, tunable: Ledger) -> None:
    """SPLIT-005."""
    assert run("defaults", "set", "--user", "ada", "--engine", "other", "--parameter", "shifts=3").exit_code == 0
    shown = run("defaults", "set", "--user", "ada", "--format", "mp3", "--bitrate", "192", "--stem", "none")
    assert shown.exit_code == 0, shown.output
    assert "shifts=3" in shown.stdout
    named = {
        "engine": "other", "parameters": {"shifts": "3"}, "format": "mp3", "bitrate_kbps": 192, "stems": [],
    }  # fmt: skip
    assert documents(run("defaults", "show", "--user", "ada", "--json"))["defaults"] == named
    assert documents(run("defaults", "show", "--json"))["defaults"] == {}
    run("defaults", "clear", "format", "bitrate_kbps", "--user", "ada")
    assert set(tunable.user_defaults("ada").named()) == {"engine", "parameters", "stems"}
    run("defaults", "clear", "--user", "ada")
    assert tunable.user_defaults("ada").named() == {}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("set", "--engine", "nine"), "unknown_engine"),
        (("set", "--engine", "other", "--parameter", "shifts=99"), "bad_option"),
        (("set", "--engine", "other", "--parameter", "speed=1"), "bad_option"),
        (("set", "--preset", "fast"), "bad_option"),
        (("set", "--stem", "guitar"), "unknown_target"),
        (("set", "--format", "flac", "--bitrate", "192"), "bad_option"),
        (("show", "--user", "Not A User"), "bad_user"),
        (("clear", "colour"), "bad_option"),
    ],
)
def test_a_default_that_nothing_here_could_meet_is_refused(
    run: Run, tunable: Ledger, arguments: tuple[str, ...], code: str
) -> None:
    result = run("defaults", *arguments)
    assert result.exit_code == Exit.REFUSED
    assert result.stderr.startswith(f"{code}: ")
    assert tunable.user_defaults(load_settings().default_user).named() == {}


def test_submit_takes_every_option_and_leaves_the_rest_to_defaults(run: Run, tunable: Ledger, song: Path) -> None:
    """STEM-001."""
    result = run(
        "submit", song, "--engine", "other", "--preset", "fast", "--parameter", "shifts=2", "--stem", "drums",
        "--residual", "--format", "wav", "--sample-format", "float32", "--allow-smaller-model",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert tunable.jobs()[0].options == JobOptions(
        engine="other", preset="fast", parameters={"shifts": "2"}, stems=("drums",), residual=True, format="wav",
        sample_format="float32", allow_smaller_model=True,
    )  # fmt: skip
    assert "targets" not in tunable.jobs()[0].options.named()


def test_a_file_for_dj_programs_is_refused_before_there_is_a_job(run: Run, tunable: Ledger, song: Path) -> None:
    """STEM-001: the engine makes no bass."""
    result = run("submit", song, "--engine", "other", "--dj-stems")
    assert result.exit_code == Exit.REFUSED
    assert result.stderr.startswith("unknown_target: other with small: the file for DJ programs needs bass;")
    assert tunable.jobs() == []
    assert run("submit", song, "--engine", "other", "--no-dj-stems").exit_code == 0
    assert tunable.jobs()[0].options.named()["dj_stems"] is False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--engine", "other", "--parameter", "shifts=11"), "allowed is a whole number from 0 to 10"),
        (("--engine", "other", "--parameter", "shifts"), "'shifts' is not NAME=VALUE"),
        (("--parameter", "shifts=1"), "spectral with small has no parameter 'shifts', only none"),
        (("--engine", "other", "--preset", "best"), "other has no preset 'best', only fast"),
        (("--preset", "quick"), "preset 'quick'"),
        (("--stem", "guitar"), "there is no stem guitar; the engine makes vocals, drums"),
        (("--format", "mp3", "--sample-format", "int16"), "sample_format int16 does not go with mp3"),
        (("--sample-format", "float32"), "float32 does not go with flac; it knows int16, int24"),
        (("--bitrate", "192"), "only mp3, m4a, opus have one"),
        (("--format", "mp3", "--bitrate", "500"), "not from 32 to 320, the range of mp3"),
        (("--format", "mp3", "--bitrate", "8"), "bitrate_kbps 8"),
    ],
)
def test_an_option_that_cannot_be_met_is_refused_with_what_can(
    run: Run, tunable: Ledger, song: Path, arguments: tuple[str, ...], said: str
) -> None:
    """SPLIT-002."""
    result = run("submit", song, *arguments)
    assert result.exit_code == Exit.REFUSED
    assert said in result.stderr
    assert tunable.jobs() == []


def test_a_wish_is_checked_over_the_defaults_of_its_user(run: Run, tunable: Ledger, song: Path) -> None:
    tunable.set_user_defaults("ada", JobOptions(engine="other"))
    assert run("submit", song, "--parameter", "shifts=2").exit_code == Exit.REFUSED
    assert run("submit", song, "--parameter", "shifts=2", "--user", "ada").exit_code == 0


def test_a_retry_takes_back_a_parameter_and_chooses_all_stems(run: Run, tunable: Ledger, song: Path) -> None:
    run("submit", song, "--engine", "other", "--parameter", "shifts=2", "--stem", "drums")
    job = tunable.jobs()[0]
    tunable.request_cancel(job.job_uuid, actor="test")
    result = run("retry", job.song, "--parameter", "shifts=", "--stem", "all")
    assert result.exit_code == 0, result.output
    assert tunable.jobs()[0].options.named() == {"engine": "other", "stems": list(ALL_STEMS)}


def test_an_engine_of_a_clusters_image_needs_no_environment_here(
    run: Run, tunable: Ledger, home: Path, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = home / "engines" / "other" / "bin" / "python"
    python.unlink(missing_ok=True)
    assert "engine_unavailable" in run("submit", song, "--engine", "other").stderr
    monkeypatch.setenv("IRONCLAD_EXECUTOR", "kubernetes")
    assert run("submit", song, "--engine", "other").exit_code == 0
