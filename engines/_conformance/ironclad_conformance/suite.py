"""The tests that any engine inherits. Its whole test file:

    from ironclad_conformance.suite import EngineConformance

    class TestMyEngine(EngineConformance):
        folder = Path(__file__).parent.parent

They drive a worker over the protocol alone, so they hold for any host. See `docs/engines.md`.
"""

import itertools
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ironclad_conformance import signals, worker
from ironclad_conformance.worker import Ending, Work


def _after_window(number: int) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event.get("windows") is not None and event["windows"] >= number


class EngineConformance:
    """Inherit, name the engine's folder, run pytest.

    Attributes:
        folder: the engine's folder, with its `engine.toml`.
        python: interpreter of the engine's environment.
        stems_sum_to_mixture: whether the engine promises that; others only have their residual looked at.
        resume_s: seconds of audio that take the engine at least three windows.
        stop_s: within which a stop must have happened.
    """

    folder: ClassVar[Path]
    python: ClassVar[str] = sys.executable
    stems_sum_to_mixture: ClassVar[bool] = False
    resume_s: ClassVar[float] = 40.0
    stop_s: ClassVar[float] = 2.5

    @pytest.fixture(scope="class")
    @classmethod
    def undisturbed(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, Ending]:
        work = cls.prepare(tmp_path_factory.mktemp("undisturbed") / "work", seconds=cls.resume_s)
        return work, worker.run(work)

    @classmethod
    def prepare(
        cls, folder: Path, *, seconds: float | None = None, frames: int = 0, chunk_s: float = worker.CHUNK_S
    ) -> Work:
        """Lay out a request for some music of the engine's default format."""
        rate, channels = cls.audio_format()
        audio = signals.band(int(seconds * rate) if seconds is not None else frames, channels=channels, rate=rate)
        return cls.prepare_audio(folder, audio=audio, chunk_s=chunk_s)

    @classmethod
    def prepare_audio(cls, folder: Path, *, audio: signals.Audio, chunk_s: float = worker.CHUNK_S) -> Work:
        """Lay out a request for `audio`."""
        work = worker.prepare(cls.folder, folder=folder, audio=audio, chunk_s=chunk_s)
        return replace(work, python=cls.python)

    @classmethod
    def audio_format(cls) -> tuple[int, int]:
        """Return rate and channels of the engine's default model."""
        model = worker.default_model(worker.read_manifest(cls.folder))
        return model["sample_rate_hz"], model["channels"]

    def assert_completed(self, work: Work, *, ending: Ending) -> None:
        """Assert that every stem is there, whole and finite, and nothing else."""
        log = (work.folder / "log").read_text(encoding="utf-8", errors="replace")
        assert ending.status == 0, log[-2000:]
        result = work.result()
        assert result is not None
        assert result["status"] == "completed"
        assert [stem["name"] for stem in result["stems"]] == work.model["stems"]
        assert {path.name for path in work.output.iterdir()} == {
            "result.json",
            *(f"{name}.f32" for name in work.model["stems"]),
        }
        for name in work.model["stems"]:
            assert len(work.stem(name)) == work.frames
            assert np.isfinite(work.stem(name)).all()

    # Audio of every shape

    @pytest.mark.parametrize("frames", [1, 2, 1023, 44_100, 44_101, 123_457])
    def test_any_length_comes_back_at_that_length(self, tmp_path: Path, frames: int) -> None:
        work = self.prepare(tmp_path / "work", frames=frames)
        self.assert_completed(work, ending=worker.run(work))

    def test_audio_with_equal_channels_is_separated(self, tmp_path: Path) -> None:
        rate, channels = self.audio_format()
        work = self.prepare_audio(tmp_path / "work", audio=signals.mono(3 * rate, channels=channels, rate=rate))
        self.assert_completed(work, ending=worker.run(work))

    def test_silence_gives_silent_stems(self, tmp_path: Path) -> None:
        rate, channels = self.audio_format()
        work = self.prepare_audio(tmp_path / "work", audio=signals.silence(3 * rate, channels=channels))
        self.assert_completed(work, ending=worker.run(work))
        assert all(np.abs(work.stem(name)).max() < 1e-4 for name in work.model["stems"])

    def test_stems_sum_to_the_mixture_as_far_as_promised(self, undisturbed: tuple[Work, Ending]) -> None:
        work, _ = undisturbed
        rate, channels = self.audio_format()
        mixture = signals.band(work.frames, channels=channels, rate=rate).astype(np.float64)
        residual = mixture - sum(work.stem(name).astype(np.float64) for name in work.model["stems"])
        residual_db = 10 * np.log10(max((residual**2).sum(), 1e-30) / (mixture**2).sum())
        assert residual_db < (-90 if self.stems_sum_to_mixture else 0)

    # Progress

    def test_progress_comes_every_second_and_never_goes_back(self, undisturbed: tuple[Work, Ending]) -> None:
        work, ending = undisturbed
        self.assert_completed(work, ending=ending)
        fractions = [event["fraction"] for event in ending.of_kind("progress")]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0
        times = [at for at, _ in ending.events]
        assert max((after - before for before, after in itertools.pairwise(times)), default=0.0) < 1.5

    # The same request, the same bytes

    def test_the_same_request_gives_the_same_bytes(self, tmp_path: Path, undisturbed: tuple[Work, Ending]) -> None:
        work = self.prepare(tmp_path / "work", seconds=self.resume_s)
        self.assert_completed(work, ending=worker.run(work))
        assert work.stem_bytes() == undisturbed[0].stem_bytes()

    def test_the_chunk_plan_does_not_change_the_stems(self, tmp_path: Path, undisturbed: tuple[Work, Ending]) -> None:
        work = self.prepare(tmp_path / "work", seconds=self.resume_s, chunk_s=3.3)
        self.assert_completed(work, ending=worker.run(work))
        assert work.stem_bytes() == undisturbed[0].stem_bytes()

    # Accidents

    @pytest.mark.parametrize("windows", [0, 1, 2])
    def test_work_goes_on_after_a_kill(self, tmp_path: Path, undisturbed: tuple[Work, Ending], windows: int) -> None:
        work = self.prepare(tmp_path / "work", seconds=self.resume_s)
        killed = worker.run(work, send=signal.SIGKILL, when=_after_window(windows))
        assert killed.status in (-signal.SIGKILL, 0), "0: it had ended before the signal came"
        again = worker.run(work)
        self.assert_completed(work, ending=again)
        assert work.stem_bytes() == undisturbed[0].stem_bytes()
        self.assert_chunks_add_up(work, resumed_frames=again.of_kind("started")[0]["resumed_frames"])

    def assert_chunks_add_up(self, work: Work, *, resumed_frames: int) -> None:
        """Assert that the chunks done before the accident were not done again."""
        result = work.result()
        assert result is not None
        ends = work.chunk_ends()
        done = sum(end <= resumed_frames for end in ends)
        assert result["resumed_chunks"] == done
        assert result["computed_chunks"] == len(ends) - done

    def test_a_stop_is_quick_and_keeps_the_work(self, tmp_path: Path, undisturbed: tuple[Work, Ending]) -> None:
        work = self.prepare(tmp_path / "work", seconds=self.resume_s)
        stopped = worker.run(work, send=signal.SIGTERM, when=_after_window(1))
        assert stopped.seconds_after_signal is not None
        assert stopped.seconds_after_signal < self.stop_s
        assert stopped.status in (128 + signal.SIGTERM, 0), "0: it had ended before the signal came"
        ending = stopped
        if stopped.status:
            assert work.result() is None
            assert not list(work.output.glob("*.f32"))
            ending = worker.run(work)
            assert ending.of_kind("started")[0]["resumed_frames"] > 0
        self.assert_completed(work, ending=ending)
        assert work.stem_bytes() == undisturbed[0].stem_bytes()

    def test_work_under_another_key_is_not_continued(self, tmp_path: Path) -> None:
        work = self.prepare(tmp_path / "work", seconds=self.resume_s)
        worker.run(work, send=signal.SIGKILL, when=_after_window(2))
        work.change_request(key="another")
        again = worker.run(work)
        self.assert_completed(work, ending=again)
        assert again.of_kind("started")[0]["resumed_frames"] == 0

    # Requests that cannot be met

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"protocol": 99}, id="another protocol"),
            pytest.param({"stems": ["no_such_stem"]}, id="unknown stem"),
            pytest.param({"stems": []}, id="no stem"),
            pytest.param({"chunks": []}, id="no chunk"),
            pytest.param({"entry": "no_such_module:Engine"}, id="unknown entry"),
            pytest.param({"mixture": {"path": "/", "sample_rate_hz": 44100, "channels": 2, "frames": 9}}, id="no file"),
        ],
    )
    def test_a_bad_request_fails_without_output(self, tmp_path: Path, fields: dict[str, object]) -> None:
        work = self.prepare(tmp_path / "work", frames=44_100)
        work.change_request(**fields)
        ending = worker.run(work)
        assert ending.status == 1
        assert not list(work.output.glob("*.f32*"))
        result = work.result()
        assert result is None or result["failure"]["code"] in (
            "engine_protocol",
            "engine_unavailable",
            "artifact_damaged",
        )
