"""Reading backups: every changed byte is found, with and without encryption, whole or in parts."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.settings import Settings
from ironclad_assets.upkeep.backup.create import BackupWish, create_backup
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.backup.seal import make_identity, make_seal, read_identities
from ironclad_assets.upkeep.backup.verify import Subset, parse_subset, verify_backup
from tests.unit.upkeep.installations import Installed, install

FLIPS = 100
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))


@pytest.fixture
def installed(settings: Settings) -> Iterator[Installed]:
    """An installation with three songs."""
    made = install(settings)
    for number in range(1, 4):
        made.complete_song(made.add_song(number))
    yield made
    made.ledger.close()


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_every_flipped_byte_is_found(installed: Installed, tmp_path: Path, encrypted: bool) -> None:
    """Promise 18: 1 flipped byte found, 100 of 100; at least one in every file, the manifest among them."""
    folder = tmp_path / "backups"
    recipients = [make_identity(tmp_path / "key")] if encrypted else []
    made = create_backup(installed.settings, wish=BackupWish(folder=folder, recipients=recipients), actor="me")
    repository = Repository(folder)
    assert verify_backup(repository, made.manifest.id).whole
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    files = [path for path in files if path.name != "tombstones.jsonl"]
    choice = random.Random(1)
    tried = 0
    while tried < FLIPS:
        for path in files:
            content = path.read_bytes()
            place, bit = choice.randrange(len(content)), 1 << choice.randrange(8)
            changed = content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
            path.unlink()
            path.write_bytes(changed)
            assert not verify_backup(repository, made.manifest.id).whole, f"{path} at {place}"
            path.write_bytes(content)
            tried += 1
    assert verify_backup(repository, made.manifest.id).whole


def test_manifest_has_one_spelling(installed: Installed, tmp_path: Path) -> None:
    """A byte that means nothing to JSON cannot be changed unseen either."""
    repository = Repository(tmp_path / "backups")
    made = create_backup(installed.settings, wish=BackupWish(folder=repository.folder), actor="me")
    file = repository.manifest_file(made.manifest.id)
    content = file.read_bytes()
    for changed in (content + b" ", content.replace(b"\n", b" "), b" " + content, content.replace(b":1,", b":01,", 1)):
        file.write_bytes(changed)
        assert not verify_backup(repository, made.manifest.id).whole


def test_every_missing_object_is_named(installed: Installed, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "backups")
    made = create_backup(installed.settings, wish=BackupWish(folder=repository.folder), actor="me")
    gone = made.manifest.objects[:2]
    for one in gone:
        repository.object_file(one.name).unlink()
    found = verify_backup(repository, made.manifest.id)
    assert found.damage == [f"object {one.name} is missing" for one in gone]


def test_parts_together_read_everything(installed: Installed, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "backups")
    made = create_backup(installed.settings, wish=BackupWish(folder=repository.folder), actor="me")
    parts = [verify_backup(repository, made.manifest.id, subset=Subset(number, 3)) for number in (1, 2, 3)]
    names = {one.name for one in made.manifest.objects}
    assert names == {name for name in names for number in (1, 2, 3) if Subset(number, 3).holds(name)}
    assert sum(one.objects for one in parts) == len(names) + 3, "the contents are read with each part"
    assert parse_subset("2/3") == Subset(2, 3)
    for wrong in ("0/3", "4/3", "3", "a/b", "1/0"):
        with pytest.raises(IroncladError) as caught:
            parse_subset(wrong)
        assert caught.value.code is ErrorCode.BAD_OPTION


def test_damaged_object_is_copied_again_once_it_was_put_aside(installed: Installed, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "backups")
    wish = BackupWish(folder=repository.folder)
    made = create_backup(installed.settings, wish=wish, actor="me")
    path = repository.object_file(installed.ledger.song("s1").sha256)
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.unlink()
    path.write_bytes(content)
    assert verify_backup(repository, made.manifest.id, mend=True).put_aside == 1
    create_backup(installed.settings, wish=wish, actor="me")
    assert verify_backup(repository, made.manifest.id).whole, "the older backup has its object back too"


def test_encrypted_backup_opens_with_its_key_alone(installed: Installed, tmp_path: Path) -> None:
    """SUPPORT-001."""
    repository = Repository(tmp_path / "backups")
    public = make_identity(tmp_path / "key")
    wish = BackupWish(folder=repository.folder, recipients=[public])
    made = create_backup(installed.settings, wish=wish, actor="me")
    assert verify_backup(repository, made.manifest.id).contents == "sealed"
    keys = read_identities(tmp_path / "key", passphrase=None, sealed=None)
    found = verify_backup(repository, made.manifest.id, identities=keys)
    assert (found.whole, found.contents) == (True, "verified")
    make_identity(tmp_path / "other")
    other = read_identities(tmp_path / "other", passphrase=None, sealed=None)
    with pytest.raises(IroncladError) as caught:
        verify_backup(repository, made.manifest.id, identities=other)
    assert caught.value.code is ErrorCode.BACKUP_LOCKED
    again = create_backup(installed.settings, wish=wish, actor="me")
    assert again.copied_bytes < made.copied_bytes / 2, "encrypted objects are copied once too"


def test_encrypted_backup_shows_neither_names_nor_hashes_nor_bytes(installed: Installed, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "backups")
    wish = BackupWish(folder=repository.folder, recipients=[make_identity(tmp_path / "key")])
    create_backup(installed.settings, wish=wish, actor="me")
    song = installed.ledger.song("s1")
    for path in repository.folder.rglob("*"):
        shown = path.name.encode() + (path.read_bytes() if path.is_file() else b"")
        for secret in (song.sha256, song.original_name, "song 1song 1", "archive/", "s1/manifest.json"):
            assert secret.encode() not in shown, (path, secret)


def test_new_key_shares_nothing_with_the_old_one(installed: Installed, tmp_path: Path) -> None:
    """A stolen key opens no backup made after it was changed."""
    repository = Repository(tmp_path / "backups")
    old = make_identity(tmp_path / "old")
    first = create_backup(installed.settings, wish=BackupWish(folder=repository.folder, recipients=[old]), actor="me")
    new = make_identity(tmp_path / "new")
    second = create_backup(installed.settings, wish=BackupWish(folder=repository.folder, recipients=[new]), actor="me")
    assert not {one.name for one in first.manifest.objects} & {one.name for one in second.manifest.objects}


@pytest.mark.chaos
@pytest.mark.long  # a passphrase is slow to try, on purpose
def test_passphrase_opens_the_key_of_its_backups_again() -> None:
    seal = make_seal([], passphrase="correct horse")
    assert seal is not None
    assert seal.sealed_identity is not None
    assert make_seal([], passphrase="correct horse", known=[seal.sealed_identity]) == seal
    with pytest.raises(IroncladError) as caught:
        read_identities(None, passphrase="battery staple", sealed=seal.sealed_identity)
    assert caught.value.code is ErrorCode.BACKUP_LOCKED


def test_key_that_is_none_is_refused_before_anything_is_made(installed: Installed, tmp_path: Path) -> None:
    for recipients in (["age1nonsense"], ["ssh-rsa AAAA"], [""]):
        wish = BackupWish(folder=tmp_path / "backups", recipients=recipients)
        with pytest.raises(IroncladError) as caught:
            create_backup(installed.settings, wish=wish, actor="me")
        assert caught.value.code is ErrorCode.BAD_OPTION
    assert Repository(tmp_path / "backups").ids() == []
