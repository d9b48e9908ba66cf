"""What must hold in a warm worker: the same bytes as in a fresh one, and life after a stop or a failure."""

import itertools
import signal
from pathlib import Path

from ironclad_conformance import warm_worker
from ironclad_conformance.setting import EngineUnderTest
from ironclad_conformance.worker import Ending, Work, after_window
from ironclad_conformance.worker import run as run_fresh


class WarmConformance(EngineUnderTest):
    """The tests of a worker that serves one song after the other."""

    def test_a_warm_worker_gives_the_bytes_of_a_fresh_one(
        self, tmp_path: Path, undisturbed: tuple[Work, Ending]
    ) -> None:
        alone, first = (self.prepare(tmp_path / name, seconds=2.0) for name in ("alone", "first"))
        second = self.prepare(tmp_path / "second", seconds=self.resume_s)
        self.assert_completed(alone, ending=run_fresh(alone))
        with warm_worker.start(first) as server:
            endings = [(work, server.run(work)) for work in (first, second)]
            pong = server.ping()
        for work, ending in endings:
            self.assert_completed(work, ending=ending)
            times = [at for at, _ in ending.events]
            assert max((after - before for before, after in itertools.pairwise(times)), default=0.0) < 1.5
        assert first.stem_bytes() == alone.stem_bytes()
        assert second.stem_bytes() == undisturbed[0].stem_bytes()
        assert pong["served"] == 2
        assert pong["rss_bytes"] > 0
        results = [work.result() or {} for work in (alone, first, second)]
        assert [result["warm"] for result in results] == [False, False, self.keeps_model]

    def test_a_stop_over_the_socket_is_quick_and_keeps_the_work(
        self, tmp_path: Path, undisturbed: tuple[Work, Ending]
    ) -> None:
        work = self.prepare(tmp_path / "work", seconds=self.resume_s)
        with warm_worker.start(work) as server:
            ending = server.run(work, stop_when=after_window(1))
            assert ending.seconds_after_signal is not None
            assert ending.seconds_after_signal < self.stop_s
            assert ending.status in (128 + signal.SIGTERM, 0), "0: it had ended before the stop came"
            if ending.status:
                assert work.result() is None
            if ending.status and server.process.poll() is None:
                ending = server.run(work)
                assert ending.of_kind("started")[0]["resumed_frames"] > 0
        if ending.status:  # one window took longer than the grace: that worker has ended itself
            ending = run_fresh(work)
        self.assert_completed(work, ending=ending)
        assert work.stem_bytes() == undisturbed[0].stem_bytes()

    def test_a_warm_worker_goes_on_after_a_failure(self, tmp_path: Path) -> None:
        bad, good = (self.prepare(tmp_path / name, seconds=1.0) for name in ("bad", "good"))
        bad.change_request(stems=["no_such_stem"])
        with warm_worker.start(good) as server:
            assert server.run(bad).status == 1
            self.assert_completed(good, ending=server.run(good))
        assert not list(bad.output.glob("*.f32*"))
