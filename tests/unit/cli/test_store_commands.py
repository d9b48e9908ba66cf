"""The commands about where the store lasts: shown, moved into a bucket, local copies let go."""

import hashlib

import pytest

from ironclad_assets.settings import Settings
from ironclad_assets.storage.opening import open_store
from tests.unit.cli.conftest import documents

SONG = b"an original" * 10
SHA256 = hashlib.sha256(SONG).hexdigest()


@pytest.fixture
def original(installed):
    path = installed.store_root / "archive" / SHA256[:2] / SHA256
    path.parent.mkdir()
    path.write_bytes(SONG)
    path.chmod(0o444)
    return path


@pytest.fixture
def in_bucket(s3, monkeypatch, run, original):
    """The same installation, with a bucket from now on."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(f"IRONCLAD_{name.upper()}", value)
    open_store(Settings()).create()
    return original


def test_store_in_its_root_is_shown_and_has_nothing_to_publish(run, original):
    shown = documents(run("store", "show", "--json"))
    assert shown["root"] == shown["lasts_in"]
    assert shown["copies_bytes"] == len(SONG)
    for command in ("publish", "evict"):
        done = run("store", command)
        assert done.exit_code != 0
        assert "IRONCLAD_OBJECT_STORE_URL" in done.output


def test_store_moves_into_a_bucket_and_its_copies_go(run, in_bucket, s3):
    assert documents(run("store", "show", "--json"))["lasts_in"] == f"s3://{s3.bucket}/store"
    assert documents(run("store", "publish", "--json"))["originals"] == 1
    assert documents(run("store", "publish", "--json"))["originals"] == 0
    assert "no limit" in run("store", "evict").output
    assert documents(run("store", "evict", "--limit-gb", "0", "--json"))["freed_bytes"] == len(SONG)
    assert not in_bucket.exists()
    assert "0.00 GB" in run("store", "show").output


def test_wrong_credentials_are_told_clearly_and_without_any_secret(run, in_bucket, s3):
    s3.fault = lambda number, request: "403"
    done = run("store", "show")
    assert done.exit_code != 0
    assert "check the credentials" in done.output
    assert "test-secret" not in done.output
    assert "AKIA" not in done.output
