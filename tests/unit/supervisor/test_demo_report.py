"""What the demo draws: the running view and the picture at the end."""

import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from ironclad_assets.contracts.v1.base import AudioFormat, FileRecord, Levels, StagedAudio
from ironclad_assets.contracts.v1.formats import OutputFormat
from ironclad_assets.contracts.v1.job import STAGES, Job, JobState, StageTiming
from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack, Track
from ironclad_assets.contracts.v1.staged_chunks import EngineChoice
from ironclad_assets.contracts.v1.stems import Stem, Stems
from ironclad_assets.supervisor.demo_report import DemoResult, SdrRow, draw, save
from ironclad_assets.supervisor.demo_view import DemoView

DROPPED = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
LEVELS = Levels(loudness_lufs=-16.5, true_peak_dbtp=-1.0, peak=0.85, rms=0.1)
AUDIO = AudioFormat(sample_rate_hz=44_100, channels=2, frames=1_323_000)


def _record(path: str) -> FileRecord:
    return FileRecord(path=path, size_bytes=2_000_000, sha256="0" * 64)


def _timing(index: int, *, done: bool = True) -> StageTiming:
    started = (DROPPED + timedelta(seconds=2 + index)).isoformat()
    return StageTiming(stage=STAGES[index], started_at=started, seconds=0.5 if done else None)


def _job(state: JobState, stages: tuple[StageTiming, ...]) -> Job:
    return Job(
        job_uuid="job-1", song="song-1", user_id="local", trace_id="t", attempt=1, state=state, options=JobOptions(),
        original_name="a.flac", stage=stages[-1].stage, fraction=0.4, message="chunk 2 of 5", created_at="",
        updated_at="", stages=stages,
    )  # fmt: skip


@pytest.fixture
def result(tmp_path: Path) -> DemoResult:
    choice = EngineChoice(engine="spectral", version="1.0.0", model="default", stems=("vocals",))
    staged = StagedAudio(**AUDIO.model_dump(), path="vocals.f32")
    track = Track(
        name="instrumental", kind="target", stems=("vocals",), method="subtract", file=_record("instrumental.flac"),
        format=OutputFormat.FLAC, audio=AUDIO, levels=LEVELS, tags_embedded=True, art_embedded=True,
    )  # fmt: skip
    path = "The Paper Kilns/Clockwork Harbours/03 - Lantern Weather.flac"
    return DemoResult(
        title="Lantern Weather",
        job=_job(JobState.COMPLETED, tuple(_timing(index) for index in range(6))),
        dropped_at=DROPPED,
        ended_at=DROPPED + timedelta(seconds=9),
        stems=Stems(
            engine=choice, device="cpu", stems=(Stem(name="vocals", audio=staged, levels=LEVELS),), residual_db=-92.4,
            mixture_levels=LEVELS,
        ),
        track=RecombinedTrack(tracks=(track,), gain_db=0.0),
        entry=LibraryEntry(files=(EntryFile(role="target", name="instrumental", root="output", file=_record(path)),)),
        sdr=[SdrRow("vocals", 3.21, -2.57), SdrRow("drums", None, None)],
        start_s=11.0,
        store_root=tmp_path / "pipeline-data",
        home=tmp_path,
        dagster_url="http://127.0.0.1:3000",
        running=False,
    )  # fmt: skip


def _text(result: DemoResult) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(draw(result))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_picture_names_every_stage_the_ratios_and_the_library(result: DemoResult) -> None:
    text = _text(result)
    assert all(stage in text for stage in STAGES)
    assert "+3.2 dB" in text
    assert "+5.8 dB" in text  # better than doing nothing by
    assert "-92 dB" in text
    assert "03 - Lantern Weather.flac" in text
    assert "-16.5 LUFS" in text
    assert "9.0 s" in text


def test_the_picture_says_how_to_open_the_dagster_ui(result: DemoResult) -> None:
    assert "make up" in _text(result)
    assert "http://127.0.0.1:3000" in _text(replace(result, running=True))


def test_the_saved_pictures_need_no_network(result: DemoResult, tmp_path: Path) -> None:
    svg, html = (path.read_text(encoding="utf-8") for path in save(result, folder=tmp_path))
    assert "Lantern" in svg
    assert "Lantern" in html
    for document in (svg, html):
        assert not re.findall(r"""(?:url\(|src=|href=)['"]?http""", document)


def test_nothing_known_is_drawn_as_nothing(result: DemoResult) -> None:
    stems = result.stems.model_copy(update={"residual_db": None})
    assert "not at all" in _text(replace(result, stems=stems))


def test_without_a_terminal_each_finished_stage_is_one_line() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    with DemoView(console) as view:
        view.say("starting daemon")
        view.say("starting daemon")
        for done in (False, True, True):
            view.show(_job(JobState.RUNNING, (_timing(0), _timing(1, done=done))))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("starting daemon") == 1
    assert text.count("validated_file") == text.count("song_metadata") == 1


def test_on_a_terminal_the_running_stage_shows_its_message() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with DemoView(console) as view:
        view.show(_job(JobState.RUNNING, (_timing(0), _timing(1, done=False))))
        console.print(view._render())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "chunk 2 of 5" in text
    assert "40%" in text
