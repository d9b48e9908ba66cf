"""The staged song fits its engine and its source, and the plan covers every frame once."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ironclad_assets.contracts.v1.engine import EngineModel
from ironclad_assets.contracts.v1.job import SongIdentity
from ironclad_assets.contracts.v1.staged_chunks import EngineChoice, StagedChunks
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.pipeline.policy import Policy
from ironclad_assets.pipeline.stage import plan_chunks, stage_song
from ironclad_assets.pipeline.validate import validate_file
from ironclad_assets.storage.store import Store
from tests import synth

CHOICE = EngineChoice(engine="spectral", version="1", model="default", stems=("vocals", "accompaniment"))


def identity(original: Path) -> SongIdentity:
    return SongIdentity(
        song="song",
        user_id="local",
        original_name="x.flac",
        sha256="ab" * 32,
        size_bytes=original.stat().st_size,
        archive_path="archive/original.flac",
        uploaded_at="2026-01-01T00:00:00Z",
        door="test",
    )


def stage(store: Store, *, sr: int = synth.SR, rate: int = 44_100, channels: int = 2) -> tuple[StagedChunks, Path]:
    original = synth.write_flac(store.archive / "original.flac", synth.music(2.0, sr=sr), sr=sr)
    song = identity(original)
    work = store.stage("staged_chunks", "song").work("0" * 64)
    validated = validate_file(song, store=store, policy=Policy())
    model = EngineModel(name="default", stems=CHOICE.stems, sample_rate_hz=rate, channels=channels)
    staged = stage_song(validated, choice=CHOICE, model=model, store=store, work=work, policy=Policy())
    return staged, work


def test_song_is_staged_at_the_engines_rate_and_the_sources(store: Store) -> None:
    """SPLIT-001."""
    staged, work = stage(store, sr=48_000)
    assert staged.engine == CHOICE
    assert staged.original_sha256 == "ab" * 32
    assert (staged.mixture.sample_rate_hz, staged.mixture.frames) == (44_100, 88_200)
    assert staged.source is not None
    assert staged.source_audio is staged.source
    assert (staged.source_format.sample_rate_hz, staged.source_format.frames) == (48_000, 96_000)
    for audio in (staged.mixture, staged.source):
        assert (work / audio.path).stat().st_size == audio.frames * audio.channels * 4


def test_fitting_song_has_one_file(store: Store) -> None:
    staged, work = stage(store)
    assert staged.source is None
    assert staged.source_audio is staged.mixture
    assert [path.name for path in work.iterdir()] == [staged.mixture.path]


def test_staging_twice_gives_the_same_contract_and_bytes(store: Store) -> None:
    """SPLIT-006."""
    first, work = stage(store, sr=48_000)
    content = (work / first.mixture.path).read_bytes()
    second, _ = stage(store, sr=48_000)
    assert first == second
    assert (work / second.mixture.path).read_bytes() == content


def test_staging_that_would_not_fit_above_the_reserve_is_held(store: Store) -> None:
    """SPLIT-010: the disk is asked before it is filled."""
    stage(store)
    with pytest.raises(IroncladError, match="above the reserve") as caught:
        stage(Store(store.root, reserve_bytes=2**62))
    assert caught.value.code is ErrorCode.STORAGE_FULL
    assert not caught.value.permanent


def test_memory_does_not_grow_with_the_song(store: Store) -> None:
    """SPLIT-009: five minutes staged as stereo fill 106 MB of disk, in a child that may hold 64 MB."""
    original = synth.silent_flac(store.archive / "original.flac", seconds=300.0)
    policy = Policy(media_memory_bytes=64_000_000)
    song = identity(original)
    validated = validate_file(song, store=store, policy=policy)
    model = EngineModel(name="default", stems=CHOICE.stems, sample_rate_hz=44_100, channels=2)
    work = store.stage("staged_chunks", "song").work("0" * 64)
    staged = stage_song(validated, choice=CHOICE, model=model, store=store, work=work, policy=policy)
    assert (work / staged.mixture.path).stat().st_size == 300 * 44_100 * 2 * 4
    assert len(staged.chunks) == 10
    assert staged.silent


@given(frames=st.integers(1, 10_000_000), chunk_s=st.integers(1, 60))
def test_chunks_cover_every_frame_once(frames: int, chunk_s: int) -> None:
    """SPLIT-009."""
    chunks = plan_chunks(frames, sample_rate_hz=8_000, chunk_s=chunk_s)
    assert chunks[0].start == 0
    assert all(chunk.start == before.start + before.frames for before, chunk in pairwise(chunks))
    assert chunks[-1].start + chunks[-1].frames == frames
    assert all(chunk.frames == chunk_s * 8_000 for chunk in chunks[:-1])
