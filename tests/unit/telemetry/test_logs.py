"""Log lines: whole, labelled, unforgeable (SPLIT-017)."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from ironclad_assets.telemetry.logs import bind, configure_logs


@pytest.fixture(autouse=True)
def fresh_configuration() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_json_line_carries_the_ids_it_was_bound_with() -> None:
    stream = io.StringIO()
    configure_logs(stream, as_json=True)
    bind(song="s1", job_uuid="j1", user_id="ada", engine="spectral").info("stage finished", seconds=1.5)
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "stage finished", "level": "info", "song": "s1", "job_uuid": "j1", "user_id": "ada",
        "engine": "spectral", "seconds": 1.5,
    }  # fmt: skip


def test_a_text_line_is_key_value_without_what_is_unknown() -> None:
    stream = io.StringIO()
    configure_logs(stream, as_json=False)
    bind(song="s1").warning("slow")
    assert "event='slow' song='s1'" in stream.getvalue()
    assert "engine" not in stream.getvalue()


@pytest.mark.parametrize("as_json", [True, False])
def test_no_value_can_forge_a_line_or_move_the_cursor(as_json: bool) -> None:
    stream = io.StringIO()
    configure_logs(stream, as_json=as_json)
    bind(song="s1").info("taken", name="a\nlevel=error event=forged\x1b[2J")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    configure_logs(stream, as_json=True, level=logging.WARNING)
    bind().info("quiet")
    assert stream.getvalue() == ""


def test_an_exception_is_part_of_its_line() -> None:
    stream = io.StringIO()
    configure_logs(stream, as_json=True)
    try:
        raise ValueError("broken")
    except ValueError:
        bind().exception("failed")
    assert "ValueError: broken" in json.loads(stream.getvalue())["exception"]
