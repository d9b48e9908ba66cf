"""`pipelinectl demo`, as a new user runs it: one command, and nothing left behind."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ironclad_assets.ledger.store import Ledger

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
GONE_S = 30.0
"""A run notices that its supervisor is gone within a second, but only once it has started."""


def _processes_of(home: Path) -> list[psutil.Process]:
    """Return the living processes that were told of this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("IRONCLAD_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


Demo = tuple[Path, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    home = tmp_path_factory.mktemp("demo") / "home"
    done = subprocess.run(
        [sys.executable, "-c", "from ironclad_assets.cli.main import main; main()", "demo"],
        cwd=ROOT,
        env={**os.environ, "IRONCLAD_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return home, done


def test_the_demo_succeeds(demo: Demo) -> None:
    _, done = demo
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_demo_shows_time_separation_and_library(
    demo: Demo,
) -> None:
    home, done = demo
    for expected in ("Time per stage", "stems", "doing nothing", "The Paper Kilns", "Clockwork Harbours", "Dagster UI"):
        assert expected in done.stdout
    assert (home / "report.svg").stat().st_size > 5_000
    assert (home / "report.html").stat().st_size > 5_000


def test_the_demo_leaves_one_completed_job_and_its_files(
    demo: Demo,
) -> None:
    home, _ = demo
    (job,) = Ledger(f"sqlite:///{home / 'ledger.db'}").jobs()
    assert job.state.value == "completed"
    manifest = home / "pipeline-data" / "stages" / "library_entry" / job.song / "manifest.json"
    for entry in json.loads(manifest.read_text(encoding="utf-8"))["payload"]["files"]:
        assert (home / "pipeline-data" / entry["root"] / entry["file"]["path"]).is_file()
    assert list((home / "pipeline-data" / "input").iterdir()) == []


def test_the_demo_stops_every_process_that_it_started(
    demo: Demo,
) -> None:
    home, _ = demo
    deadline = time.monotonic() + GONE_S
    while (left := _processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []
