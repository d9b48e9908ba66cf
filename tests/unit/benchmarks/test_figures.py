"""What the benchmarks conclude from what they see, without starting the system."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.installation import free_ports, run_processes, spent_by_children_s, spread
from benchmarks.memory import MEBIBYTE, RUN, PeakSampler, grows
from benchmarks.throughput import Figures

README = Path(__file__).resolve().parents[3] / "benchmarks" / "README.md"
EXACT = Figures(
    songs=3,
    seconds=6.0,
    per_minute=30.0,
    cpu_s_per_song=4.0,
    partitions=3,
    runs=3,
    successes=3,
    failures=0,
    duplicates=0,
    jobs_completed=3,
    library_entries=3,
)


def test_a_burst_is_exact_when_every_song_became_one_of_everything() -> None:
    assert EXACT.exact


@pytest.mark.parametrize(
    "change",
    [
        {"partitions": 2},
        {"runs": 4},
        {"successes": 2},
        {"failures": 1},
        {"duplicates": 1},
        {"jobs_completed": 2},
        {"library_entries": 4},
    ],
)
def test_a_burst_is_not_exact_when_any_count_differs(change: dict[str, int]) -> None:
    assert not dataclasses.replace(EXACT, **change).exact


@pytest.mark.parametrize(
    ("shorter", "longer", "expected"),
    [
        (100 * MEBIBYTE, 109 * MEBIBYTE, False),
        (100 * MEBIBYTE, 112 * MEBIBYTE, True),
        (9 * MEBIBYTE, 11 * MEBIBYTE, False),
        (9 * MEBIBYTE, 12 * MEBIBYTE, True),
    ],
)
def test_memory_grows_beyond_a_tenth_and_what_chance_explains(shorter: int, longer: int, expected: bool) -> None:
    assert grows(shorter, longer) is expected


def test_the_sampler_sees_the_peak_of_a_child_that_gave_its_memory_back() -> None:
    code = "import time; block = bytearray(b'x' * 80 * 2**20); time.sleep(0.5); del block; time.sleep(0.3)"
    with subprocess.Popen([sys.executable, "-c", code]) as process, PeakSampler(process.pid).running() as sampler:
        process.wait(30)
    assert 75 * MEBIBYTE < sampler.peaks[RUN] < 200 * MEBIBYTE


def test_processor_seconds_of_ended_children_are_counted_once_they_are_reaped() -> None:
    code = (
        "import subprocess, sys, time\n"
        "work = 'import time\\nwhile time.process_time() < 0.4: pass'\n"
        "child = subprocess.Popen([sys.executable, '-c', work])\n"
        "child.wait()\n"
        "print('reaped', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"reaped\n"
            assert 0.35 <= spent_by_children_s(process.pid) < 1.5
            assert run_processes(process.pid) == []
        finally:
            process.kill()


def test_a_running_child_of_the_code_server_is_a_run() -> None:
    code = "import subprocess, sys; subprocess.run(['sleep', '30'])"
    with subprocess.Popen([sys.executable, "-c", code], process_group=0) as process:
        try:
            deadline = time.monotonic() + 10
            while len(run_processes(process.pid)) != 1:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            subprocess.run(["kill", "-9", "--", f"-{process.pid}"], check=True)


def test_spread_is_median_least_and_greatest() -> None:
    assert spread([3.0, 1.0, 10.0]) == (3.0, 1.0, 10.0)


def test_free_ports_are_different_ones() -> None:
    assert len(set(free_ports(5))) == 5


def test_the_readme_names_every_benchmark() -> None:
    text = README.read_text(encoding="utf-8")
    commands = [path.stem for path in README.parent.glob("*.py") if "argparse" in path.read_text(encoding="utf-8")]
    assert [name for name in commands if f"benchmarks.{name}" not in text and f"{name}.py" not in text] == []
