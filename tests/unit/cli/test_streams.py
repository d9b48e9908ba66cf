"""Standard output that nobody reads any more, in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ironclad_assets.ledger.store import Ledger
from tests.unit.ledger.conftest import add_song

SCRIPT = "from ironclad_assets.cli.main import main; main()"


@pytest.fixture
def closed() -> Iterator[int]:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def call(*arguments: str, stdout: int, stderr: int = subprocess.PIPE) -> tuple[int, str | None]:
    """Run a command; return its exit code and what it wrote to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        stdout=stdout,
        stderr=stderr,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_what_is_printed_is_what_was_printed(
    ledger: Ledger, unbuffered: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    file = tmp_path / "queue"
    with file.open("wb") as stream:
        assert call("queue", "--json", stdout=stream.fileno()) == (0, "")
    script = [sys.executable, "-c", f"print('\u266b', flush=False); {SCRIPT}", "queue", "--json"]
    done = subprocess.run(script, capture_output=True, encoding="utf-8", timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("\u266b\n" + file.read_text(encoding="utf-8"), "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("queue",), 0),
        (("queue", "--json"), 0),
        (("--help",), 0),
        (("health",), 5),
        (("status", "nothing"), 3),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
def test_a_command_whose_reader_has_gone_ends_as_it_would_and_says_no_more(
    ledger: Ledger, closed: int, arguments: tuple[str, ...], code: int
) -> None:
    """As with `| head -1`; the exit code is that of the command, since 1 means that a job failed."""
    for number in range(100):  # more than a pipe's buffer of the process holds
        add_song(ledger, number)
    told = call(*arguments, stdout=closed)
    assert told == call(*arguments, stdout=subprocess.DEVNULL)
    assert told[0] == code


def test_what_a_command_was_asked_to_do_is_done_though_nobody_reads_of_it(ledger: Ledger, closed: int) -> None:
    jobs = [add_song(ledger, number) for number in range(3)]
    assert call("cancel", *jobs[:1], stdout=closed) == (0, "")
    assert [ledger.job(job).state for job in jobs] == ["canceled", "queued", "queued"]


def test_an_error_whose_reader_has_gone_keeps_its_exit_code(ledger: Ledger, closed: int) -> None:
    """As with `2>&1 | head -1`."""
    assert call("status", "nothing", stdout=closed, stderr=closed) == (3, None)


def test_a_reader_that_goes_in_the_middle_has_what_it_read(ledger: Ledger) -> None:
    for number in range(300):
        add_song(ledger, number)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "queue", "--limit", "300", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"{\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
