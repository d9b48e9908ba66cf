"""Lanes share threads; each keeps its order, and its failures to itself."""

import threading
import time

import pytest

from ironclad_assets.audio.lanes import Lanes


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_jobs_of_a_lane_run_in_order_and_one_at_a_time(threads: int) -> None:
    seen: dict[int, list[int]] = {number: [] for number in range(5)}
    busy = [threading.Lock() for _ in seen]

    def work(lane: int, job: int) -> None:
        assert busy[lane].acquire(blocking=False)
        time.sleep(0.0005)
        seen[lane].append(job)
        busy[lane].release()

    with Lanes(threads=threads) as lanes:
        opened = [lanes.open_lane() for _ in seen]
        for job in range(40):
            for number, lane in enumerate(opened):
                lane.post(lambda number=number, job=job: work(number, job))
        for lane in opened:
            lane.drain()
        assert all(order == list(range(40)) for order in seen.values())


def test_lanes_run_beside_each_other() -> None:
    both = threading.Barrier(2, timeout=10)
    with Lanes(threads=2) as lanes:
        opened = [lanes.open_lane(), lanes.open_lane()]
        for lane in opened:
            lane.post(lambda: both.wait() and None)
        for lane in opened:
            lane.drain()


def test_few_jobs_wait_in_a_lane_however_many_are_posted() -> None:
    """Memory: every waiting job holds a block of audio."""
    gate, posted = threading.Event(), []

    def post_many() -> None:
        for number in range(50):
            lane.post(gate.wait)  # type: ignore[arg-type]
            posted.append(number)

    with Lanes(threads=1) as lanes:
        lane = lanes.open_lane()
        poster = threading.Thread(target=post_many)
        poster.start()
        time.sleep(0.2)
        assert len(posted) < 5
        gate.set()
        poster.join()
        lane.drain()


def test_the_failure_of_a_job_reaches_whoever_posts_or_drains_and_stops_its_lane_alone() -> None:
    done: list[str] = []

    def fail() -> None:
        raise OSError(28, "No space left on device")

    with Lanes(threads=2) as lanes:
        broken, sound = lanes.open_lane(), lanes.open_lane()
        broken.post(fail)
        sound.post(lambda: done.append("sound"))
        with pytest.raises(OSError, match="No space left"):
            broken.drain()
        with pytest.raises(OSError, match="No space left"):
            broken.post(lambda: done.append("broken"))
        sound.drain()
    assert done == ["sound"]
