"""The commands about backups as a script sees them: what they print, and how they end."""

import json
from pathlib import Path

import pytest

from ironclad_assets.settings import Settings
from ironclad_assets.upkeep.backup.journal import JOURNAL
from ironclad_assets.upkeep.backup.repository import Repository
from tests.unit.cli.conftest import Run, documents
from tests.unit.upkeep.installations import install


@pytest.fixture
def folder(home: Path, tmp_path: Path) -> Path:
    """A folder for backups beside an installation with a song."""
    made = install(Settings(home=home, disk_reserve_bytes=1))
    made.add_song(1)
    made.ledger.close()
    return tmp_path / "backups"


def test_backup_is_made_listed_verified_removed_and_restored(
    run: Run, folder: Path, home: Path, tmp_path: Path
) -> None:
    """SUPPORT-001: the whole life of a backup, from the command line."""
    made = run("backup", "create", "--to", folder, "--json")
    assert made.exit_code == 0, made.output
    backup = documents(made)["backup"]
    assert (backup["songs"], backup["encryption"], backup["warnings"]) == (1, "none", [])
    listed = documents(run("backup", "list", "--from", folder, "--json"))["backups"]
    assert [one["id"] for one in listed] == [backup["id"]]
    verified = run("backup", "verify", "--from", folder, "--json")
    assert (verified.exit_code, documents(verified)["verified"][0]["contents"]) == (0, "verified")
    restored = run("restore", "--from", folder, "--home", tmp_path / "new", "--json")
    assert restored.exit_code == 0, restored.output
    assert documents(restored)["restored"]["songs"] == 1
    assert run("restore", "--from", folder, "--home", tmp_path / "new").exit_code == 4
    assert run("backup", "create", "--to", folder).exit_code == 0
    pruned = documents(run("backup", "prune", "--from", folder, "--keep", "1", "--yes", "--json"))
    assert pruned["removed"] == [backup["id"]]
    assert run("backup", "remove", pruned["kept"][0], "--from", folder, "--yes").exit_code == 0
    assert documents(run("backup", "list", "--from", folder, "--json"))["backups"] == []


def test_people_are_told_what_a_backup_came_to(run: Run, folder: Path, tmp_path: Path) -> None:
    made = run("backup", "create", "--to", folder)
    assert "1 songs" in made.output
    assert "same disk" in made.output
    assert "is whole" in run("backup", "verify", "--from", folder).output
    assert "no" in run("backup", "list", "--from", folder).output
    assert "pipelinectl up" in run("restore", "--from", folder, "--home", tmp_path / "new").output


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_list_shows_the_whole_id_however_narrow_the_terminal(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """`backup remove` and `restore` are given it; the first characters are the same for all backups of a day."""
    assert run("backup", "create", "--to", folder, "--with", "library", "--with", "stages").exit_code == 0
    monkeypatch.setenv("COLUMNS", columns)
    (backup,) = Repository(folder).ids()
    assert backup in run("backup", "list", "--from", folder).output


@pytest.mark.parametrize("command", [["submit", "FILE"], ["prune", "--confirm"], ["delete-song", "s1", "--yes"]])
def test_nothing_is_done_in_a_home_whose_restore_is_not_done(
    run: Run, folder: Path, home: Path, tmp_path: Path, command: list[str]
) -> None:
    """Beside a store that is there, `--only home`, a song had got into the ledger that was still to be filled."""
    file = tmp_path / "song.wav"
    file.write_bytes(b"RIFF")
    (home / JOURNAL).write_text("{}")
    refused = run(*[file if word == "FILE" else word for word in command], "--json")
    assert refused.exit_code == 4
    assert "home_in_use" in refused.output
    (home / JOURNAL).unlink()
    assert len(documents(run("status", "--json"))["jobs"]) == 1


def test_exit_codes_are_those_of_the_document(run: Run, folder: Path, tmp_path: Path) -> None:
    """Promise 18: exit codes documented (docs/operations.md)."""
    assert run("backup", "verify", "--from", folder).exit_code == 3
    assert run("backup", "list").exit_code == 0, "none was made yet"
    assert run("backup", "list", "--from", folder).exit_code == 3, "a slip of the pen is not an empty folder"
    assert run("backup", "create", "--to", folder).exit_code == 0
    repository = Repository(folder)
    with repository.writing():
        assert run("backup", "create", "--to", folder).exit_code == 4
    (backup,) = repository.ids()
    assert run("backup", "remove", "2020", "--from", folder, "--yes").exit_code == 3
    assert run("backup", "prune", "--from", folder).exit_code == 4
    assert run("backup", "verify", "--from", folder, "--subset", "8/7").exit_code == 4
    assert run("backup", "create", "--to", folder, "--with", "everything").exit_code == 4
    assert run("restore", "--from", folder, "--only", "half").exit_code == 4
    file = repository.manifest_file(backup)
    file.write_bytes(file.read_bytes()[:-2])
    damaged = run("backup", "verify", "--from", folder, "--json")
    assert damaged.exit_code == 5
    assert documents(damaged)["verified"][0]["whole"] is False
    assert run("backup", "list", "--from", folder).exit_code == 5
    assert run("restore", "--from", folder, "--home", tmp_path / "new").exit_code == 5


def test_encrypted_backup_needs_its_key(run: Run, folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.txt"
    public = documents(run("backup", "keygen", key, "--json"))["recipient"]
    assert key.stat().st_mode & 0o777 == 0o600
    assert run("backup", "keygen", key).exit_code == 4
    assert run("backup", "create", "--to", folder, "--encrypt-to", public).exit_code == 0
    assert "for want of a key" in run("backup", "verify", "--from", folder).output
    assert run("backup", "verify", "--from", folder, "--identity", key).exit_code == 0
    locked = run("restore", "--from", folder, "--home", tmp_path / "new", "--json")
    assert locked.exit_code == 4
    assert "backup_locked" in locked.output
    assert "--identity" in locked.output
    assert "--passphrase-file" in locked.output
    assert run("restore", "--from", folder, "--home", tmp_path / "new", "--identity", key).exit_code == 0


def test_original_that_is_missing_is_told_with_5_and_the_backup_is_there(run: Run, folder: Path, home: Path) -> None:
    (original,) = (home / "pipeline-data" / "archive").glob("*/*")
    original.unlink()
    made = run("backup", "create", "--to", folder, "--json")
    assert made.exit_code == 5
    assert len(documents(made)["backup"]["warnings"]) == 1
    assert run("backup", "verify", "--from", folder).exit_code == 0


def test_ledger_goes_into_a_file_and_back(run: Run, folder: Path, home: Path, tmp_path: Path, monkeypatch) -> None:
    """GLOBAL-003: how a ledger moves to another database."""
    file = tmp_path / "ledger.jsonl"
    assert documents(run("ledger", "export", file, "--json"))["rows"]["songs"] == 1
    assert run("ledger", "export", tmp_path / "nowhere" / "x").exit_code == 3
    assert run("ledger", "import", file).exit_code == 0, "the same rows are there already"
    monkeypatch.setenv("IRONCLAD_DATABASE_URL", f"sqlite:///{tmp_path / 'other.db'}")
    assert documents(run("ledger", "import", file, "--json"))["rows"]["songs"] == 1
    assert json.loads(run("status", "--json").stdout)["jobs"][0]["song"] == "s1"
    file.write_bytes(file.read_bytes()[:-5])
    assert run("ledger", "import", file).exit_code == 5
    assert run("ledger", "import", tmp_path / "nothing").exit_code == 3
