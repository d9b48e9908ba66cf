"""What the room decides by itself: policy, limits, and how a child's end is put to the user."""

import signal
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import SongIdentity
from ironclad_assets.errors import ErrorCode, IroncladError, JobCanceled
from ironclad_assets.pipeline.policy import Policy, crash_as_damage
from ironclad_assets.pipeline.validate import validate_file
from ironclad_assets.sandbox.task import ChildCrashError
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store
from tests import synth


def identity(store: Store, path: Path, *, size_bytes: int | None = None) -> SongIdentity:
    return SongIdentity(
        song="song",
        user_id="local",
        original_name="My Song.flac",
        sha256="ab" * 32,
        size_bytes=path.stat().st_size if size_bytes is None else size_bytes,
        archive_path=path.relative_to(store.root).as_posix(),
        uploaded_at="2026-01-01T00:00:00Z",
        door="test",
    )


@pytest.fixture
def original(store: Store) -> Path:
    return synth.good_song(store.archive / "original.flac", seconds=2.0)


def test_good_file_becomes_a_validated_file(store: Store, original: Path) -> None:
    """CAT-001."""
    song = identity(store, original)
    found = validate_file(song, store=store, policy=Policy())
    assert (found.archive_path, found.sha256, found.size_bytes) == (song.archive_path, song.sha256, song.size_bytes)
    assert (found.container, found.codec, found.lossless) == ("flac", "flac", True)
    assert found.audio.duration_s == pytest.approx(2.0)
    assert found.original_name == "My Song.flac"


def test_validating_twice_gives_the_same(store: Store, original: Path) -> None:
    """SPLIT-006."""
    song = identity(store, original)
    assert validate_file(song, store=store, policy=Policy()) == validate_file(song, store=store, policy=Policy())


def test_durations_of_the_policy_apply(store: Store, original: Path) -> None:
    for policy, code in (
        (Policy(max_duration_s=1.0), ErrorCode.TOO_LONG),
        (Policy(min_duration_s=3.0), ErrorCode.TOO_SHORT),
        (Policy(max_bytes=1_000), ErrorCode.TOO_LARGE),
    ):
        with pytest.raises(IroncladError) as caught:
            validate_file(identity(store, original), store=store, policy=policy)
        assert caught.value.code is code


def test_missing_or_changed_original_is_told_apart(store: Store, original: Path) -> None:
    with pytest.raises(IroncladError) as caught:
        validate_file(identity(store, original, size_bytes=5), store=store, policy=Policy())
    assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED
    song = identity(store, original)
    original.unlink()
    with pytest.raises(IroncladError) as caught:
        validate_file(song, store=store, policy=Policy())
    assert caught.value.code is ErrorCode.ARTIFACT_MISSING


def test_memory_of_the_child_is_limited(store: Store, original: Path) -> None:
    """SPLIT-010."""
    with pytest.raises(IroncladError) as caught:
        validate_file(identity(store, original), store=store, policy=Policy(media_memory_bytes=1_000_000))
    assert caught.value.code is ErrorCode.LIMIT_MEMORY


def test_watch_may_cancel(store: Store, original: Path) -> None:
    """JOB-002."""

    class CancelAtOnce:
        def progress(self, fraction: float, message: str) -> None:
            pass

        def canceled(self) -> bool:
            return True

    with pytest.raises(JobCanceled):
        validate_file(identity(store, original), store=store, policy=Policy(), watch=CancelAtOnce())


def test_crash_of_the_decoder_is_the_files_doing() -> None:
    error = crash_as_damage(ChildCrashError(-signal.SIGSEGV, output=""))
    assert error.code is ErrorCode.DAMAGED
    assert "SIGSEGV" in error.detail


def test_exit_without_a_signal_is_not_blamed_on_the_file() -> None:
    assert crash_as_damage(ChildCrashError(3, output="boom")).code is ErrorCode.INTERNAL


def test_policy_comes_from_the_settings_and_names_only_what_decides() -> None:
    policy = Policy.from_settings(Settings(max_duration_s=60, media_cpu_s=7, max_upload_bytes=5))
    assert (policy.max_duration_s, policy.media_cpu_s, policy.max_bytes) == (60, 7, 5)
    assert policy.as_json() == {"min_duration_s": 0.5, "max_duration_s": 60.0, "max_bytes": 5}


def test_limits_grow_with_the_length() -> None:
    policy = Policy(media_cpu_s=20, max_duration_s=600)
    assert policy.media_limits(duration_s=300).cpu_s == 25
    assert policy.media_limits(duration_s=300).cpu_growth_s == 0
    assert policy.media_limits().cpu_s == 20
    assert policy.media_limits().cpu_growth_s == 10
