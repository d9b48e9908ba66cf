"""A worker in a process of its own: weights first, true facts in the result, heard of all the time."""

import hashlib
import itertools
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.engine import EngineResult
from ironclad_conformance.worker import Ending, Work, after_window, run

MakeWork = Callable[..., Work]


def result_of(work: Work) -> EngineResult:
    return EngineResult.model_validate_json((work.output / "result.json").read_bytes())


def longest_silence(ending: Ending) -> float:
    times = [at for at, _ in ending.events]
    return max(after - before for before, after in itertools.pairwise(times))


@pytest.mark.parametrize("entry", ["SlowToLoad", "OneLongCall"])
def test_a_worker_is_heard_every_second_while_it_loads_and_computes(make_work: MakeWork, entry: str) -> None:
    """ENG-003."""
    work = make_work("work", entry=entry, seconds=5)
    ending = run(work)
    assert ending.status == 0
    assert ending.events[-1][0] - ending.events[0][0] > 3
    assert longest_silence(ending) < 1.0
    fractions = [event["fraction"] for event in ending.of_kind("progress")]
    assert fractions == sorted(fractions)
    assert result_of(work).load_s > (3 if entry == "SlowToLoad" else 0)


def test_a_stop_ends_one_long_call(make_work: MakeWork) -> None:
    """ENG-003."""
    beats = itertools.count()
    ending = run(
        make_work("work", entry="VeryLongCall"),
        send=signal.SIGTERM,
        when=lambda event: after_window(1)(event) and next(beats) == 1,
    )
    assert ending.status == 128 + signal.SIGTERM
    assert ending.seconds_after_signal is not None
    assert ending.seconds_after_signal < 2.5


def test_the_result_names_the_device_that_the_engine_used(make_work: MakeWork) -> None:
    quick, told = make_work("quick", device="cpu"), make_work("told", entry="SaysItsDevice")
    assert (run(quick).status, run(told).status) == (0, 0)
    assert result_of(quick).device == "cpu"
    assert result_of(told).device == "cuda:1 (a very fast one)"
    assert not result_of(told).warm
    assert 0 < result_of(told).load_s < 10


def test_a_missing_device_is_an_error_of_its_own(make_work: MakeWork) -> None:
    work = make_work("work", entry="NoDevice", device="cuda:3")
    assert run(work).status == 1
    failure = result_of(work).failure
    assert failure is not None
    assert failure.code == "device_unavailable"
    assert "cuda:3" in failure.detail


@pytest.mark.parametrize("damaged", [True, False])
def test_an_engine_is_not_even_made_with_damaged_weights(make_work: MakeWork, tmp_path: Path, damaged: bool) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    pinned = {"name": "weights", "path": str(path), "size_bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}
    if damaged:
        path.write_bytes(b"Weights")
    work = make_work("work", entry="OpensItsFile", model_files=[pinned])
    assert run(work).status == int(damaged)
    assert Path(f"{path}.opened").exists() is not damaged
    failure = result_of(work).failure
    assert (failure.code if failure else None) == ("model_damaged" if damaged else None)


def test_work_that_ran_out_of_memory_goes_on_with_a_smaller_batch(make_work: MakeWork) -> None:
    """SPLIT-008."""
    work, undisturbed = make_work("work", entry="Greedy", batch=3), make_work("undisturbed")
    assert run(undisturbed).status == 0
    assert run(work).status == 1
    failure = result_of(work).failure
    assert failure is not None
    assert failure.code == "out_of_memory"
    (work.output / "result.json").unlink()
    work.change_request(batch=1)
    again = run(work)
    assert again.status == 0, work.log()
    assert again.of_kind("started")[0]["resumed_frames"] == 6 * 1500
    assert result_of(work).resumed_chunks == 3
    assert result_of(work).computed_chunks == 4
