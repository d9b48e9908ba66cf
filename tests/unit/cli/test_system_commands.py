"""up, demo, health, engines list, and help."""

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ironclad_assets.cli import system_commands
from ironclad_assets.cli.exits import MEANINGS, Exit
from ironclad_assets.cli.reference import make_commands_page
from ironclad_assets.errors import ErrorCode, TransientFailure
from ironclad_assets.settings import Settings
from tests.unit.cli.conftest import Run, documents

NOBODY = 2**22 + 1
"""A process id above any that Linux gives."""


def publish(home: Path, *, processes: dict[str, Any] | None = None, tick: dict[str, Any] | None = None) -> None:
    (home / "run").mkdir(parents=True, exist_ok=True)
    if processes is not None:
        (home / "run" / "processes.json").write_text(json.dumps(processes), encoding="utf-8")
    if tick is not None:
        (home / "run" / "watcher.json").write_text(json.dumps(tick), encoding="utf-8")


def everything(port: int | None) -> dict[str, Any]:
    here = {"pid": os.getpid(), "port": None}
    return {
        "supervisor": here,
        "daemon": here,
        "code-server": {**here, "port": port},
        "webserver": {**here, "port": port},
    }


def now(*, seconds_ago: float = 0.0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()


def parts(run: Run) -> tuple[int, dict[str, Any]]:
    result = run("health", "--json")
    return result.exit_code, documents(result)["parts"]


def test_a_running_system_is_well(run: Run, installed: Settings, home: Path) -> None:
    """WATCH-002."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        publish(home, processes=everything(server.getsockname()[1]), tick={"at": now(), "summary": "0 taken"})
        code, found = parts(run)
        shown = run("health")
    assert code == 0, found
    assert all(part["well"] for part in found.values())
    assert "0 queued" in found["queue"]["detail"]
    assert shown.exit_code == 0
    assert "not ok" not in shown.stdout


def test_a_fresh_machine_is_told_to_start_the_system(run: Run, home: Path) -> None:
    code, found = parts(run)
    assert code == Exit.UNHEALTHY
    assert {name for name, part in found.items() if not part["well"]} == {
        "store", "disk", "ledger", "queue", "pauses", "processes", "watcher",
    }  # fmt: skip
    assert "pipelinectl up" in found["processes"]["remedy"]
    assert not home.exists()
    assert "not ok" in run("health").stdout


def test_a_dead_process_and_a_silent_port_are_named(run: Run, installed: Settings, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    processes = everything(port)
    processes["daemon"] = {"pid": NOBODY, "port": None}
    del processes["supervisor"]
    publish(home, processes=processes, tick={"at": now()})
    _, found = parts(run)
    assert found["daemon"]["detail"] == f"process {NOBODY} is gone"
    assert found["supervisor"]["detail"] == "is not running"
    assert found["webserver"]["detail"].endswith(f"does not answer on port {port}")


@pytest.mark.parametrize(
    ("seconds_ago", "tick", "said"),
    [
        (3600.0, {"summary": "0 taken"}, "looked 36"),
        (0.0, {"summary": "paused: disk", "paused": "disk"}, "paused: disk"),
        (None, {"nonsense": True}, "watcher.json"),
    ],
)
def test_a_watcher_that_stopped_or_paused_is_not_well(
    run: Run, installed: Settings, home: Path, seconds_ago: float | None, tick: dict[str, Any], said: str
) -> None:
    """WATCH-002."""
    at = {} if seconds_ago is None else {"at": now(seconds_ago=seconds_ago)}
    publish(home, tick={**tick, **at})
    _, found = parts(run)
    assert not found["watcher"]["well"]
    assert said in found["watcher"]["detail"]


def test_a_torn_process_file_is_told(run: Run, installed: Settings, home: Path) -> None:
    publish(home)
    (home / "run" / "processes.json").write_text("{", encoding="utf-8")
    _, found = parts(run)
    assert "processes.json" in found["processes"]["detail"]


def test_engines_are_listed_with_models_stems_and_problems(run: Run, installed: Settings) -> None:
    result = run("engines", "list")
    for expected in ("spectral (default)", "1.2.3", "small (default)", "vocals, drums"):
        assert expected in result.stdout
    engines = {engine["name"]: engine for engine in documents(run("engines", "list", "--json"))["engines"]}
    assert engines["spectral"]["default"] is True
    assert engines["spectral"]["problem"] == ""
    assert engines["other"]["problem"].startswith("engine_unavailable: ")


def test_up_runs_the_system_with_the_settings_of_the_environment(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def fake(settings: Settings, *, report: Any) -> int:
        seen.append(settings.home_dir)
        report("running")
        return 0

    monkeypatch.setattr(system_commands, "run_system", fake)
    assert run("up").stdout == "running\n"
    assert json.loads(run("up", "--json").stdout) == {"event": "running"}
    assert seen == [home, home]


def test_up_tells_in_one_line_why_it_cannot_start(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(settings: Settings, *, report: Any) -> int:
        raise TransientFailure("IRONCLAD_WEB_PORT: port 3000 is in use", code=ErrorCode.PORT_TAKEN)

    monkeypatch.setattr(system_commands, "run_system", fail)
    result = run("up")
    assert result.exit_code == Exit.UNHEALTHY
    assert result.stderr.startswith("port_taken: IRONCLAD_WEB_PORT: port 3000 is in use; ")


@pytest.mark.parametrize("code", [0, 1, 130])
def test_demo_ends_as_its_song_does(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fake(settings: Settings, *, keep: bool) -> int:
        sys.stdout.write(f"picture, keep {keep}\n")
        return code

    monkeypatch.setattr(system_commands, "run_demo", fake)
    result = run("demo", "--keep")
    assert (result.exit_code, result.stdout) == (code, "picture, keep True\n")
    result = run("demo", "--json")
    assert result.exit_code == code
    assert documents(result) == {"completed": code == 0, "exit_code": code}
    assert "picture" in result.stderr


def test_a_wrong_setting_is_named_by_its_variable(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRONCLAD_WEB_PORT", "many")
    for arguments in (("up",), ("health",), ("status",)):
        result = run(*arguments)
        assert result.exit_code == Exit.REFUSED
        assert result.stderr.startswith("bad_option: IRONCLAD_WEB_PORT: ")


@pytest.mark.parametrize("url", ["no url, secret", "nosuchdatabase://u:secret@h/d", "mysql://u:secret@h/d"])
def test_a_wrong_database_url_is_refused_without_repeating_its_password(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("IRONCLAD_DATABASE_URL", url)
    for arguments in (("up",), ("health",), ("status",)):
        result = run(*arguments)
        assert result.exit_code == Exit.REFUSED
        assert result.stderr.startswith("bad_option: IRONCLAD_DATABASE_URL: ")
        assert "secret" not in result.output


@pytest.mark.parametrize(
    "command",
    [("up",), ("demo",), ("submit",), ("status",), ("retry",), ("cancel",), ("health",)]
    + [("engines", name) for name in ("list", "install", "verify", "remove", "doctor")]
    + [("models", name) for name in ("list", "fetch", "import", "export", "verify", "remove")],
)
def test_every_command_has_json_an_example_and_its_exit_codes(run: Run, command: tuple[str, ...]) -> None:
    """CLI-001."""
    shown = run(*command, "--help").stdout
    for expected in ("--json", "Example", f"pipelinectl {' '.join(command)}", "Exit codes: 0 ok"):
        assert expected in shown


def test_help_and_reference_tell_every_exit_code_in_the_same_words(run: Run) -> None:
    """CLI-001."""
    shown, page = " ".join(run("status", "--help").stdout.split()), make_commands_page()
    for code in Exit:
        assert f"{int(code)} {MEANINGS[code]}" in shown
        assert f"| {int(code)} | {MEANINGS[code]} |" in page


def test_the_command_line_starts_without_dagster_and_media_libraries() -> None:
    script = (
        "import sys; from ironclad_assets.cli.main import build_app; build_app(); "
        "print([name for name in ('dagster', 'numpy', 'scipy', 'av', 'mutagen', 'alembic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("command", ["status", "queue"])
def test_the_commands_asked_most_import_no_more_than_their_answer_needs(installed: Settings, command: str) -> None:
    unneeded = (
        "engine_host",
        "pipeline.analyse",
        "intake.upload",
        "rich.live",
        "sqlalchemy.dialects.postgresql",
        "alembic",
        "dagster",
    )
    script = (
        "import sys; from ironclad_assets.cli.main import main\n"
        "try:\n main()\n"
        "finally:\n"
        " names = (name.removeprefix('ironclad_assets.') for name in sys.modules)\n"
        f" print([name for name in names if name in {unneeded}], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, command], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert "job" in done.stdout


def test_the_installed_command_runs(home: Path) -> None:
    script = "from ironclad_assets.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "status"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == Exit.UNHEALTHY
    assert done.stderr.startswith("schema_mismatch: ")
    assert done.stderr.count("\n") == 1


def test_postgres_without_its_driver_is_told_what_installs_it(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)  # as where it is not installed
    monkeypatch.setenv("IRONCLAD_DATABASE_URL", "postgresql://ada:secret@h/d")
    result = run("up")
    assert result.exit_code == Exit.REFUSED
    assert "pip install --no-deps -r constraints/postgres.txt" in result.stderr
    assert "secret" not in result.output
