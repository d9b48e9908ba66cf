"""One song that cannot be read keeps no other out of a backup, and none out of a restore."""

import json
import os
import shutil
from pathlib import Path

import pytest

from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.hashing import hash_json
from ironclad_assets.storage.housekeeping import publish_everything
from ironclad_assets.storage.opening import open_store
from ironclad_assets.upkeep.backup.create import BackupWish, create_backup
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.backup.verify import verify_backup
from ironclad_assets.upkeep.recount import recount
from tests.fakes.s3_server import S3Server
from tests.unit.upkeep.backups import bring_back, let_disk_fail, make, paths
from tests.unit.upkeep.installations import Installed


@pytest.fixture
def installed(installed: Installed) -> Installed:
    """An installation with a complete song of one user and a new one of another."""
    installed.complete_song(installed.add_song(1))
    installed.add_song(2, user_id="bob")
    return installed


def spoil_entry(installed: Installed, song: str) -> None:
    """Let a song's entry be whole, and something that this release does not know, as another one may write it."""
    folder = installed.store.stage("library_entry", song)
    document = json.loads(folder.manifest.read_bytes())
    document.pop("document_sha256")
    document["payload"]["files"][0]["role"] = "hologram"
    document["document_sha256"] = hash_json(document)
    atomic.write_json(folder.manifest, document)
    assert read_manifest(folder).song == song


def test_entry_that_another_release_wrote_keeps_no_other_song_out(installed: Installed, folder: Path) -> None:
    spoil_entry(installed, "s1")
    made = make(installed, folder, extras=("library",))
    assert [line for line in made.warnings if "s1" in line and "its entry cannot be read" in line]
    assert {installed.ledger.song(song).archive_path for song in ("s1", "s2")} <= paths(made)


def test_entry_that_another_release_wrote_stops_no_restore(
    installed: Installed, target: Settings, folder: Path
) -> None:
    spoil_entry(installed, "s1")
    restored = bring_back(make(installed, folder), target)
    assert (restored.songs, restored.rebuilt) == (2, 1)


def test_file_whose_name_is_not_utf_8_is_named_and_left_out(
    installed: Installed, target: Settings, folder: Path
) -> None:
    sidecars = installed.store.path("sidecars/s1")
    atomic.make_folder(sidecars)
    Path(os.fsdecode(os.fsencode(sidecars) + b"/words\xff.txt")).write_bytes(b"la la")
    made = make(installed, folder)
    assert [line for line in made.warnings if r"words\udcff.txt" in line]
    assert verify_backup(Repository(folder), made.manifest.id).whole
    assert bring_back(made, target).songs == 2


def move_to_bucket(installed: Installed, s3: S3Server) -> Settings:
    """Let the originals last in a bucket and be there alone; return the settings that say so."""
    settings = Settings(home=installed.settings.home, disk_reserve_bytes=1, **s3.environment())
    store = open_store(settings)
    store.create()
    assert store.mirror is not None
    for song in ("s1", "s2"):
        path = installed.ledger.song(song).archive_path
        store.mirror.publish_original(store.path(path), relative=path, sha256=Path(path).name)
        store.path(path).unlink()
    return settings


def test_manifest_that_cannot_be_read_leaves_its_song_counted_as_it_was(installed: Installed, monkeypatch) -> None:
    recount(installed.ledger, store=installed.store)
    before = installed.ledger.usage.stored("s1")
    let_disk_fail(installed.store.stage("stems", "s1").manifest, monkeypatch=monkeypatch)
    installed.ledger.usage.record("s2", "stems", size_bytes=1)
    assert recount(installed.ledger, store=installed.store) == 1
    assert installed.ledger.usage.stored("s1") == before


@pytest.mark.parametrize("earlier", [False, True], ids=["new", "in an earlier backup"])
def test_object_that_the_bucket_refuses_keeps_no_other_song_out(
    installed: Installed, folder: Path, s3: S3Server, earlier: bool
) -> None:
    """As an object of another key or a colder class of storage: the bucket is there, and does not give this one."""
    settings = move_to_bucket(installed, s3)
    if earlier:
        create_backup(settings, wish=BackupWish(folder=folder), actor="me")
        installed.store.path(installed.ledger.song("s1").archive_path).unlink()
    refused = installed.ledger.song("s1").archive_path
    s3.fault = lambda number, request: "403" if refused in str(request) else None
    made = create_backup(settings, wish=BackupWish(folder=folder), actor="me")
    assert [line for line in made.warnings if "the original of s1" in line and "403" in line]
    assert made.lacking == (() if earlier else ("s1",))
    assert (installed.ledger.song("s1").archive_path in paths(made)) == earlier
    assert installed.ledger.song("s2").archive_path in paths(made)


def test_bucket_that_is_away_makes_no_backup_without_originals(
    installed: Installed, folder: Path, s3: S3Server
) -> None:
    settings = move_to_bucket(installed, s3)
    s3.fault = lambda number, request: "403"
    with pytest.raises(IroncladError) as caught:
        create_backup(settings, wish=BackupWish(folder=folder), actor="me")
    assert caught.value.code is ErrorCode.STORAGE_AWAY
    assert Repository(folder).ids() == []


def leave_to_bucket(installed: Installed, s3: S3Server) -> Settings:
    """Let what lasts be in a bucket alone, as on a machine whose disk was replaced, or beside another one."""
    for song in ("s1", "s2"):
        sidecar = installed.store.path(f"sidecars/{song}/lyrics.txt")
        atomic.make_folder(sidecar.parent)
        atomic.write_bytes(sidecar, b"la la")
    settings = move_to_bucket(installed, s3)
    publish_everything(open_store(settings))
    for name in ("sidecars", "stages"):
        shutil.rmtree(installed.store.path(name))
    return settings


def test_what_only_the_bucket_has_of_a_song_is_in_the_backup(installed: Installed, folder: Path, s3: S3Server) -> None:
    settings = leave_to_bucket(installed, s3)
    found = paths(create_backup(settings, wish=BackupWish(folder=folder), actor="me"))
    assert {"sidecars/s1/lyrics.txt", "stages/library_entry/s1/manifest.json"} <= found


@pytest.mark.parametrize("refused", ["sidecars/s1/lyrics.txt", "stages/library_entry/s1/manifest.json"])
def test_small_object_that_the_bucket_refuses_keeps_no_other_out(
    installed: Installed, folder: Path, s3: S3Server, refused: str
) -> None:
    installed.complete_song(installed.ledger.jobs_of("s2")[0])
    settings = leave_to_bucket(installed, s3)
    s3.fault = lambda number, request: "403" if refused in str(request) else None
    made = create_backup(settings, wish=BackupWish(folder=folder), actor="me")
    assert [line for line in made.warnings if "403" in line and refused in line]
    others = {f"{kind}/{song}" for kind in ("sidecars", "stages/library_entry") for song in ("s1", "s2")}
    found = {path.rpartition("/")[0] for path in paths(made)}
    assert others - found == {refused.rpartition("/")[0]}


def test_stage_that_nobody_has_is_asked_for_once_and_not_for_each_song(
    installed: Installed, folder: Path, s3: S3Server
) -> None:
    settings = leave_to_bucket(installed, s3)
    asked: list[str] = []
    s3.fault = lambda number, request: asked.append(str(request))
    create_backup(settings, wish=BackupWish(folder=folder), actor="me")
    assert not [one for one in asked if "song_analysis/" in one]
