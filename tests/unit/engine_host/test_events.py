"""Events survive garbage, halves and endless lines."""

import contextlib
import os
import time

from ironclad_assets.engine_host.events import MAX_LINE_BYTES, EventPipe


def test_garbage_between_events_is_passed_over() -> None:
    with contextlib.closing(EventPipe()) as pipe:
        os.write(
            pipe.writing,
            b'nonsense\n{"kind": "progress", "fraction": 0.5}\n{"kind": "progress", "fraction": 7}\n\xff\n',
        )
        events = pipe.read(timeout_s=1)
    assert [event.fraction for event in events] == [0.5]


def test_an_event_in_two_parts_is_one_event() -> None:
    with contextlib.closing(EventPipe()) as pipe:
        os.write(pipe.writing, b'{"kind": "log", ')
        assert pipe.read(timeout_s=1) == []
        os.write(pipe.writing, b'"message": "hello"}\n')
        assert [event.message for event in pipe.read(timeout_s=1)] == ["hello"]


def test_an_endless_line_is_not_kept() -> None:
    with contextlib.closing(EventPipe()) as pipe:
        for _ in range(5):
            os.write(pipe.writing, b"x" * MAX_LINE_BYTES)
            pipe.read(timeout_s=1)
        os.write(pipe.writing, b'\n{"kind": "started"}\n')
        assert [event.kind for event in pipe.read(timeout_s=1)] == ["started"]
        assert len(pipe._lines._rest) == 0


def test_reading_waits_no_longer_than_told() -> None:
    with contextlib.closing(EventPipe()) as pipe:
        started = time.monotonic()
        assert pipe.read(timeout_s=0.1) == []
        pipe.close_writing()
        assert pipe.read(timeout_s=0.1) == []
        assert pipe.read(timeout_s=0.1) == []
        assert time.monotonic() - started < 1
