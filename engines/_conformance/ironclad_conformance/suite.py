"""The tests that any engine inherits. Its whole test file:

    from ironclad_conformance.suite import EngineConformance

    class TestMyEngine(EngineConformance):
        folder = Path(__file__).parent.parent

They drive a worker over the protocol alone, so they hold for any host. What a test file may set, weights
among it, is in `setting`. See `docs/engines.md`.
"""

import itertools
import signal
from pathlib import Path

import numpy as np
import pytest

from ironclad_conformance import signals, worker
from ironclad_conformance.batches import BatchConformance
from ironclad_conformance.warm import WarmConformance
from ironclad_conformance.weights import WeightsConformance
from ironclad_conformance.worker import Ending, Work, after_window


class EngineConformance(BatchConformance, WeightsConformance, WarmConformance):
    """Inherit, set the attributes of `EngineUnderTest` that differ, run pytest."""

    # Audio of every shape

    @pytest.mark.parametrize("frames", [1, 2, 1023, 44_100, 44_101, 123_457])
    def test_any_length_comes_back_at_that_length(self, tmp_path: Path, frames: int) -> None:
        work = self.prepare(tmp_path / "work", frames=frames)
        self.assert_completed(work, ending=worker.run(work))

    def test_a_second_of_music_is_separated(self, tmp_path: Path) -> None:
        work = self.prepare(tmp_path / "work", seconds=1.0)
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

    def test_no_two_stems_that_can_be_heard_are_the_same_sound(self, undisturbed: tuple[Work, Ending]) -> None:
        """A job whose stems are copies of one another fails."""
        work, _ = undisturbed
        heard = [name for name in work.model["stems"] if np.abs(work.stem(name)).max() > 1e-4]
        for one, other in itertools.combinations(heard, 2):
            assert not np.array_equal(work.stem(one), work.stem(other)), f"{one} = {other}"

    def test_stems_sum_to_the_mixture_as_far_as_promised(self, undisturbed: tuple[Work, Ending]) -> None:
        work, _ = undisturbed
        rate, channels = self.audio_format()
        mixture = signals.band(work.frames, channels=channels, rate=rate).astype(np.float64)
        residual = mixture - sum(work.stem(name).astype(np.float64) for name in work.model["stems"])
        residual_db = 10 * np.log10(max((residual**2).sum(), 1e-30) / (mixture**2).sum())
        # Weights that a test makes separate nothing: without a promise any sum is right.
        assert residual_db < (-90 if self.stems_sum_to_mixture else np.inf if self._files else 0)

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
        killed = worker.run(work, send=signal.SIGKILL, when=after_window(windows))
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
        stopped = worker.run(work, send=signal.SIGTERM, when=after_window(1))
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
        worker.run(work, send=signal.SIGKILL, when=after_window(2))
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
