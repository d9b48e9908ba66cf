"""The room beside the job: what it hands to the child, what it makes of the answer, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest

from ironclad_assets.contracts.v1.base import AudioFormat, FileRecord, Levels, StagedAudio
from ironclad_assets.contracts.v1.song_analysis import (
    AnalysisDocument,
    DrawnSource,
    Key,
    SongAnalysis,
    SourceLoudness,
    Tempo,
)
from ironclad_assets.contracts.v1.staged_chunks import EngineChoice, MixtureStatistics, StagedChunks
from ironclad_assets.contracts.v1.stems import Stem, Stems
from ironclad_assets.errors import ErrorCode, PermanentFailure
from ironclad_assets.pipeline import analyse as room
from ironclad_assets.pipeline.analyse import analyse, check_analysis, is_analysed, read_analysis
from ironclad_assets.sandbox.limits import GIBIBYTE, Limits
from ironclad_assets.sandbox.task import run_task
from ironclad_assets.storage import atomic
from ironclad_assets.storage.store import Store
from tests import synth
from tests.analysing import compiled_folder

ROOT = Path(__file__).resolve().parents[3]
ENGINE = EngineChoice(engine="e", version="1", model="m", stems=("vocals",))
LEVELS = Levels(loudness_lufs=-14.127, true_peak_dbtp=-1.456, peak=0.9, rms=0.1)
SILENT = Levels(loudness_lufs=None, true_peak_dbtp=None, peak=0.0, rms=0.0)


def make_song(folder: Path, y: np.ndarray, *, levels: Levels = LEVELS) -> tuple[StagedChunks, Stems]:
    """Write a staged mixture and one silent stem; return their contracts."""
    audio = {"sample_rate_hz": synth.SR, "channels": y.shape[0], "frames": y.shape[1]}
    synth.write_raw(folder / "mixture.f32", y)
    synth.write_raw(folder / "vocals.f32", np.zeros_like(y))
    staged = StagedChunks(
        original_sha256="0" * 64,
        engine=ENGINE,
        mixture=StagedAudio(path="mixture.f32", **audio),
        source=None,
        source_format=AudioFormat(**audio),
        statistics=MixtureStatistics(mean=0.0, std=0.1, peak=0.9, rms=0.1),
        chunks=(),
        silent=False,
    )
    stem = Stem(name="vocals", audio=StagedAudio(path="vocals.f32", **audio), levels=SILENT)
    stems = Stems(engine=ENGINE, device="cpu", stems=(stem,), residual_db=None, mixture_levels=levels)
    return staged, stems


def run(folder: Path, y: np.ndarray, *, levels: Levels = LEVELS, limits: Limits | None = None) -> SongAnalysis:
    staged, stems = make_song(folder, y, levels=levels)
    (folder / "work").mkdir(exist_ok=True)
    return analyse(
        stems,
        stems_folder=folder,
        staged=staged,
        staged_folder=folder,
        work=folder / "work",
        compiled=compiled_folder(),
        limits=limits,
    )


def test_a_song_gets_its_analysis_and_the_file_for_visualisers(tmp_path) -> None:
    y = synth.music(8.0)
    analysis = run(tmp_path, y)
    document = AnalysisDocument.model_validate_json((tmp_path / "work" / "analysis.json").read_bytes())
    assert (document.tempo, document.key, document.beats_s) == (analysis.tempo, analysis.key, analysis.beats_s)
    assert analysis.tempo.bpm == pytest.approx(120.0, abs=1.0)
    assert analysis.key.tonic == "A"
    mixture, vocals = document.sources
    assert (mixture.name, mixture.loudness_lufs, mixture.true_peak_dbtp) == ("mixture", -14.13, -1.46)
    assert (vocals.name, vocals.loudness_lufs, vocals.loudness_range_lu) == ("vocals", None, None)
    assert mixture.loudness_range_lu is not None
    assert max(mixture.peak) == pytest.approx(float(np.abs(y).max()), abs=1e-4)
    assert all(check.passed for check in check_analysis(analysis, work=tmp_path / "work"))


@pytest.mark.parametrize("seconds", [0.5, 10.0])
def test_silence_has_levels_of_nothing_and_no_music(tmp_path, seconds) -> None:
    analysis = run(tmp_path, synth.silence(seconds), levels=SILENT)
    assert analysis.tempo == Tempo()
    assert analysis.key == Key()
    assert all(check.passed for check in check_analysis(analysis, work=tmp_path / "work"))


@pytest.mark.long
def test_ten_minutes_take_no_more_memory_than_one(tmp_path) -> None:
    """SPLIT-009: memory does not grow with the song."""
    weights = {}
    for minutes in (1, 10):
        path = tmp_path / f"{minutes}.f32"
        section = synth.clicks(60.0, period_s=0.5, sr=22_050, channels=1) + synth.noise(60.0, sr=22_050, channels=1)
        with path.open("wb") as stream:
            for _ in range(minutes):
                stream.write(np.ascontiguousarray(section.T, dtype="<f4").tobytes())
        audio = {"path": str(path), "sample_rate_hz": 22_050, "channels": 1, "frames": minutes * 60 * 22_050}
        weights[minutes] = run_task(
            "tests.analysing:analyse_and_weigh",
            arguments={"mixture": {**audio, "rms": 0.1}, "stems": [], "compiled_path": str(compiled_folder())},
            limits=Limits(cpu_s=600.0, memory_bytes=GIBIBYTE, wall_s=600.0),
            readable=[tmp_path, ROOT / "tests"],
            writable=[compiled_folder()],
            code=[ROOT],
        )
    assert weights[10]["points"] == 10 * weights[1]["points"] == 12_000
    assert weights[10]["peak_mib"] - weights[1]["peak_mib"] < 25


def test_a_child_that_uses_too_much_is_ended_with_a_published_code(tmp_path) -> None:
    limits = Limits(cpu_s=60.0, memory_bytes=30 * 1024**2, wall_s=60.0)
    with pytest.raises(PermanentFailure) as caught:
        run(tmp_path, synth.music(2.0), limits=limits)
    assert caught.value.code is ErrorCode.LIMIT_MEMORY


def test_without_librosa_it_says_how_to_install_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(room, "_PACKAGE", "librosa-that-nobody-installed")
    with pytest.raises(PermanentFailure) as caught:
        run(tmp_path, synth.silence(1.0))
    assert caught.value.code is ErrorCode.ANALYSIS_UNAVAILABLE
    assert "make analysis" in caught.value.describe()


def written(folder: Path, *, beats_s: tuple[float, ...] = (0.5, 1.0), points: int = 40) -> SongAnalysis:
    """Write an analysis of a song of 2 s by hand."""
    source = DrawnSource(
        name="mixture", loudness_lufs=-14.0, true_peak_dbtp=-1.0, peak=(0.5,) * points, rms=(0.1,) * points
    )
    document = AnalysisDocument(
        duration_s=2.0, tempo=Tempo(), key=Key(), beats_s=beats_s, envelope_rate_hz=20, sources=(source,)
    )
    atomic.write_json(folder / "analysis.json", document.model_dump(mode="json"))
    return SongAnalysis(
        duration_s=2.0,
        sources=(SourceLoudness(name="mixture", loudness_lufs=-14.0, true_peak_dbtp=-1.0),),
        tempo=Tempo(),
        key=Key(),
        beats_s=beats_s,
        file=FileRecord(path="analysis.json", size_bytes=0, sha256="0" * 64),
    )


@pytest.mark.parametrize(
    ("wrong", "changed"),
    [
        ("beats_increase_inside_song", {"beats_s": (1.0, 1.0)}),
        ("beats_increase_inside_song", {"beats_s": (1.0, 2.5)}),
        ("beats_increase_inside_song", {"beats_s": (-0.1, 1.0)}),
        ("envelopes_cover_song", {"points": 39}),
    ],
)
def test_the_checks_find_what_is_wrong(tmp_path, wrong, changed) -> None:
    failed = [check.name for check in check_analysis(written(tmp_path, **changed), work=tmp_path) if not check.passed]
    assert failed == [wrong]
    assert all(check.passed for check in check_analysis(written(tmp_path), work=tmp_path))


def test_a_song_without_artifacts_needs_no_analysis_and_has_none(tmp_path) -> None:
    store = Store(tmp_path, reserve_bytes=0)
    assert is_analysed(store, "unknown", code_version="1")
    assert read_analysis(store, "unknown") is None


def test_an_analysis_that_cannot_be_read_is_none(tmp_path) -> None:
    store = Store(tmp_path, reserve_bytes=0)
    folder = store.stage("song_analysis", "broken")
    folder.path.mkdir(parents=True)
    folder.manifest.write_text("{", encoding="utf-8")
    assert read_analysis(store, "broken") is None
