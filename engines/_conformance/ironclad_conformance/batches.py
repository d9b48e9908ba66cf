"""What must hold when several windows are given at once: the same stems, and exact resume."""

import signal
from pathlib import Path

import numpy as np
import pytest

from ironclad_conformance.setting import EngineUnderTest
from ironclad_conformance.worker import Ending, Work, after_window, run


class BatchConformance(EngineUnderTest):
    """The tests of windows in batches. An engine that takes them one by one passes them by itself."""

    @pytest.fixture(scope="class")
    @classmethod
    def batched(cls, tmp_path_factory: pytest.TempPathFactory, model_files: None) -> tuple[Work, Ending]:
        """Give one undisturbed piece of work in batches of two."""
        work = cls.prepare(tmp_path_factory.mktemp("batched") / "work", seconds=cls.resume_s)
        work.change_request(batch=2)
        return work, run(work)

    def assert_alike(self, work: Work, *, reference: Work) -> None:
        """Assert that stems differ by rounding at most."""
        for name in work.model["stems"]:
            found, expected = (each.stem(name).astype(np.float64) for each in (work, reference))
            scale = max(float(np.linalg.norm(expected)), 1e-9)
            assert np.linalg.norm(found - expected) / scale <= self.batch_tolerance, name

    def test_a_batch_changes_no_more_than_rounding(self, tmp_path: Path, undisturbed: tuple[Work, Ending]) -> None:
        work = self.prepare(tmp_path / "work", seconds=self.resume_s)
        work.change_request(batch=self.batch)
        self.assert_completed(work, ending=run(work))
        self.assert_alike(work, reference=undisturbed[0])

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_work_in_batches_goes_on_to_the_same_bytes(
        self, tmp_path: Path, batched: tuple[Work, Ending], number: signal.Signals
    ) -> None:
        self.assert_completed(batched[0], ending=batched[1])
        work = self.prepare(tmp_path / "work", seconds=self.resume_s)
        work.change_request(batch=2)
        ending = run(work, send=number, when=after_window(2))
        if ending.status:
            ending = run(work)
        self.assert_completed(work, ending=ending)
        assert work.stem_bytes() == batched[0].stem_bytes()

    def test_work_goes_on_under_a_smaller_batch(self, tmp_path: Path, undisturbed: tuple[Work, Ending]) -> None:
        """What follows when memory runs out."""
        work = self.prepare(tmp_path / "work", seconds=self.resume_s)
        work.change_request(batch=2)
        ending = run(work, send=signal.SIGTERM, when=after_window(2))
        if ending.status:
            saved = (work.output / "checkpoint").exists()
            work.change_request(batch=1)
            ending = run(work)
            assert (ending.of_kind("started")[0]["resumed_frames"] > 0) == saved
        self.assert_completed(work, ending=ending)
        self.assert_alike(work, reference=undisturbed[0])
