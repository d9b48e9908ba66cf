"""What all processes know together: turns, blocks, answers, rests."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ironclad_assets.lookup import state as state_module
from ironclad_assets.lookup.state import LONGEST_BLOCK_S, SharedState, read_states


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SharedState]:
    state = SharedState(tmp_path / "lookup.db")
    yield state
    state.close()


def turn(state: SharedState, host: str = "h", *, interval_s: float = 10.0, patience_s: float = 100.0) -> float | None:
    return state.take_turn(host, interval_s=interval_s, patience_s=patience_s)


def test_turns_are_an_interval_apart_and_hosts_do_not_wait_for_each_other(state: SharedState) -> None:
    assert turn(state) == 0.0
    assert turn(state) == pytest.approx(10.0, abs=4.0)
    assert turn(state) == pytest.approx(20.0, abs=4.0)
    assert turn(state, "other") == 0.0


def test_who_cannot_wait_takes_nobodys_turn(state: SharedState) -> None:
    turn(state)
    assert turn(state, patience_s=5.0) is None
    assert turn(state) == pytest.approx(10.0, abs=4.0)


def test_a_block_holds_for_everybody_and_is_never_shortened_nor_endless(state: SharedState) -> None:
    state.block("h", seconds=50.0)
    state.block("h", seconds=20.0)
    assert turn(state) == pytest.approx(50.0, abs=4.0)
    assert state.blocked_s("h") == pytest.approx(50.0, abs=4.0)
    assert state.blocked_s("other") == 0.0
    state.block("far", seconds=1e12)
    assert state.blocked_s("far") <= LONGEST_BLOCK_S
    state.block("past", seconds=-5.0)
    assert state.blocked_s("past") == 0.0


def test_a_clock_that_was_wrong_blocks_nobody(state: SharedState, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time()
    monkeypatch.setattr(state_module.time, "time", lambda: real + 10 * 365 * 86_400.0)
    turn(state)
    state.block("h", seconds=100.0)
    state.failed("s", why="x", after=1, rest_s=300.0)
    monkeypatch.setattr(state_module.time, "time", lambda: real)
    assert turn(state) == 0.0
    assert state.blocked_s("h") == 0.0
    assert state.may_ask("s")


def test_a_source_rests_after_failures_in_a_row_and_one_may_try_it_then(
    state: SharedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """META-003"""
    assert state.may_ask("s")
    state.failed("s", why="one", after=3, rest_s=100.0)
    state.failed("s", why="two", after=3, rest_s=100.0)
    state.succeeded("s")
    state.failed("s", why="three", after=3, rest_s=100.0)
    assert state.may_ask("s"), "not in a row"
    state.failed("s", why="four", after=3, rest_s=100.0)
    state.failed("s", why="five", after=3, rest_s=100.0)
    assert not state.may_ask("s")
    later = time.time() + 101.0
    monkeypatch.setattr(state_module.time, "time", lambda: later)
    assert state.may_ask("s")
    assert not state.may_ask("s"), "one at a time tries"
    state.succeeded("s")
    assert state.may_ask("s")


def test_what_happened_is_written_down(state: SharedState, tmp_path: Path) -> None:
    state.succeeded("a")
    state.failed("b", why="it is away", after=5, rest_s=1.0)
    states = read_states(tmp_path / "lookup.db")
    assert states["a"].last_answer_at is not None
    assert (states["b"].failures, states["b"].last_error, states["b"].rest_until) == (1, "it is away", 0.0)


def test_of_too_many_answers_the_oldest_go(state: SharedState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "MAX_ANSWERS", 2)
    for key in ("a", "b", "c"):
        state.keep(key, status=200, body=key.encode())
        time.sleep(0.002)
    assert state.answer("a") is None
    kept = state.answer("c")
    assert kept is not None
    assert (kept.status, kept.body) == (200, b"c")
    state.forget("c")
    assert state.answer("c") is None


def test_an_answer_that_rotted_is_none(state: SharedState, tmp_path: Path) -> None:
    state.keep("a", status=200, body=b"x")
    with sqlite3.connect(tmp_path / "lookup.db") as connection:
        connection.execute("update answers set body = x'00'")
    connection.close()
    assert state.answer("a") is None


def test_an_error_within_a_transaction_undoes_it(state: SharedState) -> None:
    with pytest.raises(sqlite3.OperationalError), state._transaction() as connection:
        connection.executemany("insert into turns values (?, 1, 0)", [("h",)]).execute("select nonsense from nowhere")
    assert turn(state) == 0.0


def test_a_file_of_something_else_is_replaced_but_never_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "lookup.db"
    path.write_bytes(b"garbage" * 1000)
    SharedState(path).close()
    assert read_states(path) == {}
    with pytest.raises(sqlite3.OperationalError):
        SharedState(tmp_path / "missing" / "lookup.db")
    assert read_states(tmp_path / "missing" / "lookup.db") == {}
