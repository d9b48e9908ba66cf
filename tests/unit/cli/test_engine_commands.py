"""The commands about engines; how environments are built and tried is tested with the engine host."""

from pathlib import Path
from typing import Any

import pytest

from ironclad_assets.cli import engine_commands
from ironclad_assets.cli.exits import Exit
from ironclad_assets.contracts.v1.environments import Promise, SelfTest, Verification
from ironclad_assets.engine_host.doctor import Finding
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.errors import ErrorCode, IroncladError, failure
from tests.unit.cli.conftest import Run, documents


@pytest.fixture(autouse=True)
def _engines(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_commands, "find_interpreters", lambda: ())


def verification(outcome: str, *, detail: str = "") -> Verification:
    kept = outcome == "passed"
    promises = () if outcome == "skipped" else (Promise(name="finite", kept=kept, detail=detail),)
    tests = (SelfTest.model_validate({"model": "small", "outcome": outcome, "detail": detail, "promises": promises}),)
    return Verification.model_validate(
        {"engine": "other", "engine_version": "1.2.3", "device": "cpu", "at": "2026-01-01T00:00:00Z", "tests": tests}
    )


class FakeHost:
    """Stands for building and trying."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set_up: list[tuple[str, tuple[str, ...], bool]] = []
        self.problems: tuple[IroncladError, ...] = ()
        self.verified = verification("passed")
        self.models: tuple[str, ...] = ()
        monkeypatch.setattr(engine_commands, "set_up", self._set_up)
        monkeypatch.setattr(engine_commands, "verify_engine", self._verify)

    def _set_up(
        self, engine: InstalledEngine, *, environments: tuple[str, ...], again: bool, **rest: Any
    ) -> tuple[IroncladError, ...]:
        self.set_up.append((engine.manifest.name, environments, again))
        return self.problems

    def _verify(self, engine: InstalledEngine, *, models: tuple[str, ...] = (), **rest: Any) -> Verification:
        self.models = models
        return self.verified


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    return FakeHost(monkeypatch)


def test_engines_are_installed_and_tried(run: Run, host: FakeHost) -> None:
    result = run("engines", "install", "other", "spectral", "--again")
    assert result.exit_code == 0
    assert host.set_up == [("other", ("default",), True), ("spectral", (), True)]
    assert "finite" in result.stdout
    assert "finite" not in run("engines", "install", "other", "--no-verify").stdout


@pytest.mark.parametrize(("outcome", "code"), [("passed", 0), ("skipped", 0), ("failed", Exit.UNHEALTHY)])
def test_an_installation_fails_with_its_self_test_and_not_for_want_of_weights(
    run: Run, host: FakeHost, outcome: str, code: int
) -> None:
    host.verified = verification(outcome, detail="because")
    result = run("engines", "install", "other", "--json")
    assert result.exit_code == code
    document = documents(result)
    assert document["environments"][0]["state"] == "missing"
    assert document["verified"][0]["tests"][0]["outcome"] == outcome
    assert "because" in run("engines", "install", "other").stdout


def test_what_stopped_a_further_environment_is_the_end_of_the_command(run: Run, host: FakeHost) -> None:
    host.problems = (failure(ErrorCode.INSTALL_FAILED, "other-gpu needs Python 3.8"),)
    result = run("engines", "install", "other")
    assert result.exit_code == Exit.REFUSED
    assert result.stderr.startswith("install_failed: other-gpu needs Python 3.8; ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("install", "nothing"), "unknown_engine: engine 'nothing' is not one of other, spectral"),
        (("install", "other", "--environment", "gpu"), "bad_option: other has no environment 'gpu', only default"),
        (("verify", "nothing"), "unknown_engine: "),
        (("verify", "other", "--model", "huge"), "unknown_model: other has no model 'huge', only small"),
        (("remove", "nothing", "--yes"), "unknown_engine: "),
    ],
)
def test_names_that_there_are_not_are_refused_with_what_there_is(
    run: Run, host: FakeHost, arguments: tuple[str, ...], said: str
) -> None:
    result = run("engines", *arguments)
    assert result.exit_code == Exit.REFUSED
    assert result.stderr.startswith(said)
    assert host.set_up == []


@pytest.mark.parametrize(("outcome", "code"), [("passed", 0), ("skipped", Exit.UNHEALTHY), ("failed", Exit.UNHEALTHY)])
def test_verify_ends_well_only_where_something_was_tried_and_nothing_failed(
    run: Run, host: FakeHost, outcome: str, code: int
) -> None:
    host.verified = verification(outcome, detail="because")
    result = run("engines", "verify", "other", "--model", "small", "--json")
    assert result.exit_code == code
    assert documents(result)["verified"][0]["passed"] is (outcome == "passed")
    assert host.models == ("small",)
    assert "because" in run("engines", "verify", "other").stdout


def test_remove_asks_first_and_deletes_only_environments(run: Run, home: Path, other_environment: Path) -> None:
    (home / "models" / "other").mkdir(parents=True)
    assert run("engines", "remove", "other").exit_code != 0
    assert other_environment.exists()
    result = run("engines", "remove", "other", "--yes")
    assert result.stdout == f"removed {other_environment}\n"
    assert not other_environment.exists()
    assert (home / "models" / "other").exists()
    assert run("engines", "remove", "other").stdout == "other has no environments here\n"
    assert documents(run("engines", "remove", "spectral", "--json")) == {"removed": []}


def test_the_list_tells_how_environments_and_weights_are(run: Run, other_environment: Path) -> None:
    listed = {engine["name"]: engine for engine in documents(run("engines", "list", "--json"))["engines"]}
    assert listed["other"]["installed"][0]["state"] == "foreign"
    assert listed["other"]["weights"] == {"small": ""}
    assert listed["spectral"]["installed"][0]["state"] == "core"
    assert listed["spectral"]["verified"] is None
    shown = run("engines", "list").stdout
    assert "foreign" in shown
    assert "none needed" in shown


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("note", 0), ("problem", Exit.UNHEALTHY)])
def test_the_doctor_ends_as_it_finds(run: Run, monkeypatch: pytest.MonkeyPatch, level: Any, code: int) -> None:
    finding = Finding("gpu", level, "no driver", "mend it" if level == "problem" else "")
    monkeypatch.setattr(engine_commands, "examine_engines", lambda engines, settings: iter([finding]))
    result = run("engines", "doctor")
    assert result.exit_code == code
    assert level in result.stdout
    assert ("no driver; mend it" in result.stdout) is (level == "problem")
    document = documents(run("engines", "doctor", "--json"))
    assert document["well"] is (code == 0)
    assert document["findings"][0]["part"] == "gpu"


def test_the_doctor_works_on_a_bare_machine(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    result = run("engines", "doctor")
    assert result.exit_code == 0
    assert "spectral (default)" in result.stdout
    assert "pipelinectl engines install other" in " ".join(result.stdout.split())
    assert not home.exists()
