"""The log of a job's workers grows as they work, is bounded, and never gets in the way."""

from pathlib import Path

from ironclad_assets.engine_host.worker_log import HEAD_BYTES, MAX_BYTES, WorkerLog


def test_attempts_follow_one_another_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "job.log"
    WorkerLog(path).line("first attempt")
    WorkerLog(path).append(b"printed")
    WorkerLog(path).note("second attempt")
    lines = path.read_text(encoding="utf-8")
    assert lines.startswith("first attempt\nprinted")
    assert lines.endswith(" second attempt\n")


def test_of_too_much_the_beginning_and_the_end_stay(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "job.log")
    log.line("the beginning")
    for number in range(20_000):
        log.line(f"line {number}")
    content = (tmp_path / "job.log").read_text(encoding="utf-8")
    assert len(content) <= MAX_BYTES
    assert content.startswith("the beginning\n")
    assert content.endswith("line 19999\n")
    assert content.count("the middle is left out") == 1


def test_one_huge_block_is_bounded_too(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "job.log")
    log.line("x" * HEAD_BYTES)
    log.append(b"y" * (3 * MAX_BYTES) + b"the end")
    content = (tmp_path / "job.log").read_bytes()
    assert len(content) <= MAX_BYTES
    assert content.endswith(b"the end")


def test_a_link_in_the_logs_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("precious", encoding="utf-8")
    (tmp_path / "job.log").symlink_to(tmp_path / "other")
    WorkerLog(tmp_path / "job.log").line("hello")
    assert (tmp_path / "other").read_text(encoding="utf-8") == "precious"
