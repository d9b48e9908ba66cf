"""delete-song, delete-user and receipts, as people and scripts meet them."""

import json
import os

import pytest
from filelock import FileLock

from ironclad_assets.cli import delete_commands
from ironclad_assets.cli.exits import Exit
from ironclad_assets.contracts.v1.job import JobState
from tests.unit.cli.conftest import documents


@pytest.fixture
def job(run, ledger, song):
    """A song that waits."""
    return ledger.job(documents(run("submit", song, "--user", "quixote", "--json"))["jobs"][0]["job_uuid"])


def test_a_song_is_only_asked_for_with_no_wait_and_the_receipt_names_nothing(run, ledger, job) -> None:
    done = run("delete-song", job.job_uuid[:8], "--yes", "--no-wait", "--json")
    assert done.exit_code == Exit.OK
    shown = json.loads(done.stdout)
    assert (shown["kind"], shown["state"], shown["removed"], shown["completed_at"]) == ("song", "requested", {}, None)
    assert not [name for name in (job.song, job.job_uuid, "song.mp3", "quixote") if name in done.stdout]
    assert ledger.job(job.job_uuid).state is JobState.CANCELED
    again = json.loads(run("delete-song", job.song, "--yes", "--no-wait", "--json").stdout)
    assert again["receipt"] == shown["receipt"]


def test_nothing_is_deleted_where_the_answer_is_no(run, ledger, job) -> None:
    for command in (("delete-song", job.song), ("delete-user", "quixote")):
        assert run(*command).exit_code == Exit.INTERRUPTED
    assert ledger.deletions.open() == []


def test_where_no_system_runs_the_command_deletes_by_itself(run, ledger, job, installed, monkeypatch) -> None:
    """GLOBAL-004: the receipt is there when the command ends, and nothing of the song is."""
    for name, value in installed.as_environment().items():
        monkeypatch.setenv(name, value)
    waiting = installed.store_root / "input" / "quixote" / "waiting.mp3"
    waiting.parent.mkdir()
    waiting.write_bytes(b"waits")
    done = run("delete-user", "quixote", "--yes", "--json")
    log = (installed.home_dir / "logs" / "erase.log").read_text()
    assert done.exit_code == Exit.OK, done.output + log
    shown = json.loads(done.stdout)
    assert (shown["state"], shown["removed"]["archive"]["count"]) == ("done", 1)
    assert not waiting.parent.exists()
    assert not [path for path in (installed.store_root / "archive").rglob("*") if path.is_file()]
    gone = run("status", job.job_uuid, "--json")
    assert json.loads(gone.stderr)["error"]["code"] == "deleted"
    text = run("receipts", shown["receipt"][:6])
    assert "archive: 1" in text.stdout
    assert shown["receipt"] in run("receipts").stdout
    listed = json.loads(run("receipts", "--json").stdout)["receipts"]
    assert [one["receipt"] for one in listed] == [shown["receipt"]]


def test_while_a_system_runs_the_command_waits_for_it(run, ledger, job, installed, monkeypatch) -> None:
    monkeypatch.setattr(delete_commands, "WAIT_S", 0.6)
    monkeypatch.setattr(delete_commands, "TELL_S", 0.1)
    (installed.home_dir / "run").mkdir(exist_ok=True)
    with FileLock(installed.home_dir / "run" / "supervisor.lock"):
        done = run("delete-song", job.song, "--yes")
    assert done.exit_code == Exit.UNHEALTHY
    assert "not done yet" in done.stdout
    assert "still deleting" in done.stderr


def test_a_store_that_is_away_keeps_the_request(run, ledger, job, installed) -> None:
    (installed.store_root / ".store-id").unlink()
    done = run("delete-user", "quixote", "--yes", "--no-wait")
    assert done.exit_code == Exit.OK
    assert [one.subject for one in ledger.deletions.open()] == ["quixote"]


@pytest.mark.parametrize(
    "arguments", [("delete-song", "nothing", "--yes"), ("delete-user", "nobody", "--yes"), ("receipts", "0000")]
)
def test_what_is_not_there_is_said_and_deletes_nothing(run, ledger, installed, arguments) -> None:
    done = run(*arguments)
    assert done.exit_code not in (Exit.OK, Exit.UNHEALTHY)
    assert ledger.deletions.receipts() == []


def test_before_anything_was_deleted_there_are_no_receipts(run, installed) -> None:
    assert "nothing was ever deleted" in run("receipts").stdout
    assert os.environ["IRONCLAD_HOME"] in str(installed.home_dir)
