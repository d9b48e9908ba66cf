"""Many processes at one ledger: nothing lost, nothing twice, nobody turned away (QUEUE-002)."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import current_worker
from tests.unit.ledger.conftest import add_song, make_song

PROCESSES = 8
SONGS = 12


def work_on_every_song(url: str, number: int, results: "multiprocessing.Queue[tuple[int, int, int]]") -> None:
    """Register every song, try to run every song, and report what was won."""
    ledger = Ledger(url)
    new = sum(
        not ledger.register(
            make_song(song).model_copy(update={"song": f"s{song}-{number}"}), JobOptions(), actor=f"p{number}"
        ).duplicate
        for song in range(SONGS)
    )
    won = refused = 0
    for job in ledger.jobs(limit=SONGS):
        run_id = f"{job.song}:{number}"
        try:
            mine = ledger.begin_run(
                job.song, run_id=run_id, worker=current_worker(), actor=run_id, job_uuid=job.job_uuid
            )
        except IroncladError as error:
            refused += error.code is ErrorCode.JOB_ACTIVE
            continue
        if mine.run_id == run_id:
            for step in range(3):
                ledger.report_progress(mine.job_uuid, stage="stems", fraction=step / 3, message="")
            ledger.complete(mine.job_uuid, actor=run_id)
            won += 1
    results.put((new, won, refused))


def test_eight_processes_register_and_run_each_song_once(url: str) -> None:
    """WATCH-001: two watchers on one folder never start a file twice."""
    Ledger(url).migrate()
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[tuple[int, int, int]] = context.Queue()
    workers = [context.Process(target=work_on_every_song, args=(url, number, results)) for number in range(PROCESSES)]
    for worker in workers:
        worker.start()
    counted = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(timeout=30)
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    ledger = Ledger(url)
    jobs = ledger.jobs(limit=1000)
    assert len(jobs) == SONGS == sum(new for new, _, _ in counted)
    assert {job.state for job in jobs} == {JobState.COMPLETED}
    assert sum(won for _, won, _ in counted) == SONGS
    assert all(len(ledger.history(job.job_uuid)) == 3 for job in jobs)
    ledger.close()


def test_a_forked_child_opens_connections_of_its_own(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    assert ledger.job(job_uuid).state is JobState.QUEUED
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            ledger.request_cancel(job_uuid, actor="child")
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert ledger.job(job_uuid).state is JobState.CANCELED
    add_song(ledger, 2)


def test_threads_share_one_ledger(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda number: add_song(ledger, number), range(40)))
    assert len(set(ids)) == 40
    assert len(ledger.jobs(limit=100)) == 40


def test_a_writer_waits_for_another_instead_of_failing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = Ledger(url)
    ledger.migrate()
    entered = threading.Event()

    def hold() -> None:
        with Ledger(url)._database.write():
            entered.set()
            time.sleep(0.5)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(timeout=5)
    started = time.monotonic()
    add_song(ledger)
    waited_s = time.monotonic() - started
    holder.join()
    ledger.close()
    assert waited_s > 0.2


@pytest.mark.chaos
def test_a_killed_writer_loses_no_acknowledged_job_and_leaves_no_lock(tmp_path: Path) -> None:
    """WATCH-004: kill -9 in mid-write; what was printed is there, whole, and the next writer gets in."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    Ledger(url).migrate()
    script = (
        "import sys\n"
        "from tests.unit.ledger.conftest import add_song\n"
        "from ironclad_assets.ledger.store import Ledger\n"
        "ledger = Ledger(sys.argv[1])\n"
        "for number in range(int(sys.argv[2]), 10**6):\n"
        "    print(add_song(ledger, number), flush=True)\n"
    )
    root = Path(__file__).resolve().parents[3]
    acknowledged: list[str] = []
    for round_number in range(3):
        command = [sys.executable, "-c", script, url, str(round_number * 10_000)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
        assert writer.stdout is not None
        acknowledged.append(writer.stdout.readline().strip())
        time.sleep(0.05 * round_number + 0.013)
        writer.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
        writer.stdout.close()
        writer.wait()
    ledger = Ledger(url)
    assert len(acknowledged) > 3
    for job_uuid in acknowledged:
        assert ledger.song(ledger.job(job_uuid).song)
        assert len(ledger.history(job_uuid)) == 1
    add_song(ledger, 999_999)
    ledger.close()
