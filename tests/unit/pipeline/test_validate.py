"""What the room decides by itself: policy, limits, and how a child's end is put to the user."""

import signal
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import SongIdentity
from ironclad_assets.contracts.v1.limits import EffectiveLimits
from ironclad_assets.errors import ErrorCode, IroncladError, JobCanceled, Refusal
from ironclad_assets.pipeline import validate
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


def test_policy_of_a_user_comes_from_the_users_limits() -> None:
    """SPLIT-020, SPLIT-021: what an operator allows one user overrules the settings, in both directions."""
    settings = Settings(max_duration_s=60, max_upload_bytes=5)
    limits = EffectiveLimits(max_duration_s=600.0, max_upload_bytes=50, types=("wav", "flac"))
    policy = Policy.for_user(settings, limits=limits)
    assert (policy.max_duration_s, policy.max_bytes, policy.types) == (600.0, 50, ("wav", "flac"))
    assert policy.as_json()["types"] == ["flac", "wav"]
    unlimited = Policy.for_user(settings, limits=EffectiveLimits(max_duration_s=None, max_upload_bytes=None))
    assert unlimited.max_duration_s == 7 * 86_400
    assert unlimited.max_bytes == 2**40
    assert "types" not in unlimited.as_json()


def test_types_of_the_policy_are_those_of_the_content(store: Store, original: Path) -> None:
    with pytest.raises(IroncladError, match=r"the file is flac; taken from this user are mp3, wav$") as caught:
        validate_file(identity(store, original), store=store, policy=Policy(types=("wav", "mp3")))
    assert caught.value.code is ErrorCode.TYPE_REFUSED
    with pytest.raises(IroncladError, match="this user may upload nothing"):
        validate_file(identity(store, original), store=store, policy=Policy(types=()))
    assert validate_file(identity(store, original), store=store, policy=Policy(types=("flac",))).codec == "flac"


def test_a_screen_looks_before_anything_is_decoded(
    store: Store, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPLIT-020"""
    seen: list[Path] = []

    def refuse(path: Path) -> bool:
        seen.append(path)
        raise Refusal("no", code=ErrorCode.MALWARE)

    assert validate_file(identity(store, original), store=store, policy=Policy(), screen=lambda path: True).scanned
    assert not validate_file(identity(store, original), store=store, policy=Policy(), screen=lambda path: False).scanned
    monkeypatch.setattr(validate, "run_task", None)
    with pytest.raises(Refusal, match="no"):
        validate_file(identity(store, original), store=store, policy=Policy(), screen=refuse)
    assert seen == [original]
    with pytest.raises(IroncladError, match="bytes; allowed are 1"):
        validate_file(identity(store, original), store=store, policy=Policy(max_bytes=1), screen=refuse)
    assert seen == [original]
