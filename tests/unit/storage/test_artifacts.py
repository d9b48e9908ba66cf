"""Artifacts: what was stored is given back only after proof."""

import json

import pytest

from ironclad_assets.contracts.v1.base import CheckOutcome
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.contracts.v1.stems import Stems
from ironclad_assets.errors import ErrorCode, JobCanceled, PermanentFailure
from ironclad_assets.storage.artifacts import Envelope, find_reusable, load_artifact, persist_artifact
from ironclad_assets.storage.store import StageFolder

KEY = "0123456789abcdef" * 4
ENVELOPE = Envelope(
    stage="song_metadata",
    song="s1",
    job_uuid="j",
    user_id="local",
    trace_id="t",
    attempt=1,
    run_id="r",
    code_version="1",
)


@pytest.fixture
def folder(store):
    return store.stage("song_metadata", "s1")


@pytest.fixture
def lone_folder(tmp_path):
    """A folder whose artifact lasts nowhere else: what is damaged there cannot be fetched again."""
    return StageFolder(tmp_path / "stages" / "song_metadata" / "s1")


def persist(folder, *, passed=True, key=KEY):
    (folder.work(key) / "cover.jpg").write_bytes(b"picture")
    check = CheckOutcome(name="title_known", passed=passed)
    return persist_artifact(folder, SongMetadata(title="Öl"), key=key, checks=(check,), inputs={}, envelope=ENVELOPE)


def change_manifest(folder, **changes):
    document = json.loads(folder.manifest.read_text())
    document.update(changes)
    folder.manifest.write_text(json.dumps(document))


def test_stored_artifact_comes_back_equal(folder):
    persist(folder)
    artifact = load_artifact(folder, SongMetadata)
    assert artifact.payload == SongMetadata(title="Öl")
    assert (artifact.folder / "cover.jpg").read_bytes() == b"picture"


def test_equal_work_has_equal_payload_whoever_asked(folder, tmp_path):
    first = persist(folder)
    other = StageFolder(tmp_path / "other")
    second = persist(other)
    assert first.payload_sha256 == second.payload_sha256
    assert first.files == second.files


def test_missing_artifact_is_refused_by_name(folder):
    with pytest.raises(PermanentFailure) as caught:
        load_artifact(folder, SongMetadata)
    assert caught.value.code is ErrorCode.ARTIFACT_MISSING


def test_artifact_of_a_newer_release_is_refused_not_misread(lone_folder):
    """META-002: a newer artifact is refused with a clear error."""
    persist(lone_folder)
    change_manifest(lone_folder, contract_version=2, something_new=True)
    with pytest.raises(PermanentFailure, match="contract version 2") as caught:
        load_artifact(lone_folder, SongMetadata)
    assert caught.value.code is ErrorCode.ARTIFACT_NEWER


def test_artifact_that_failed_a_blocking_check_is_refused(folder):
    persist(folder, passed=False)
    with pytest.raises(PermanentFailure, match="title_known") as caught:
        load_artifact(folder, SongMetadata)
    assert caught.value.code is ErrorCode.ARTIFACT_REFUSED


@pytest.mark.parametrize("content", [b"pictur", b"pictura", None])
def test_changed_cut_or_missing_file_is_refused(lone_folder, content):
    manifest = persist(lone_folder)
    path = lone_folder.path / manifest.folder / "cover.jpg"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(PermanentFailure) as caught:
        load_artifact(lone_folder, SongMetadata)
    assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED


@pytest.mark.parametrize("text", ["", "[]", "{", '{"contract_version": 1}'])
def test_damaged_manifest_is_refused(lone_folder, text):
    persist(lone_folder)
    lone_folder.manifest.write_text(text)
    with pytest.raises(PermanentFailure) as caught:
        load_artifact(lone_folder, SongMetadata)
    assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED


def test_changed_payload_is_refused(lone_folder):
    persist(lone_folder)
    change_manifest(lone_folder, payload={"title": "Another"})
    with pytest.raises(PermanentFailure) as caught:
        load_artifact(lone_folder, SongMetadata)
    assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED


def test_artifact_of_another_contract_is_refused(folder):
    persist(folder)
    with pytest.raises(PermanentFailure):
        load_artifact(folder, Stems)


def test_only_the_artifact_of_the_same_key_is_reused(folder):
    """SPLIT-006: replaying the same request makes no duplicate work."""
    persist(folder)
    assert find_reusable(folder, SongMetadata, key=KEY) is not None
    assert find_reusable(folder, SongMetadata, key="f" * 64) is None


def test_new_key_replaces_the_old_files_after_its_manifest_is_written(folder):
    persist(folder)
    persist(folder, key="f" * 64)
    assert load_artifact(folder, SongMetadata).key == "f" * 64
    assert sorted(path.name for path in folder.path.iterdir() if path.name[0] != ".") == ["f" * 16, "manifest.json"]


def test_canceled_job_is_heard_while_a_large_artifact_is_verified(folder):
    """JOB-002: cancel takes effect while files are being read."""
    persist(folder)

    def cancel():
        raise JobCanceled("enough")

    with pytest.raises(JobCanceled):
        load_artifact(folder, SongMetadata, heed=cancel)
    with pytest.raises(JobCanceled):
        find_reusable(folder, SongMetadata, key=KEY, heed=cancel)
