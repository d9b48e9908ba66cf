"""The work in one process: resumed after a death at any write, it gives the same bytes and repeats no chunk."""

import os
from pathlib import Path

import numpy as np
import pytest

from ironclad_harness import checkpoint
from ironclad_harness.engine import EngineError, Samples, Window
from ironclad_harness.stopping import Stopped
from tests.unit.harness.small import Counting, make_request, read_header, stems, work


class Died(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


def die_at(monkeypatch: pytest.MonkeyPatch, *, call: str, number: int) -> None:
    """Let the `number`-th call of a function of `os` be the last thing this process does."""
    real, count = getattr(os, call), iter(range(1, 10_000))

    def counted(*arguments: object) -> object:
        if next(count) == number:
            raise Died
        return real(*arguments)

    monkeypatch.setattr(os, call, counted)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    request = make_request(tmp_path_factory.mktemp("undisturbed") / "song")
    work(request)
    return stems(request)


@pytest.mark.parametrize("call", ["write", "fdatasync", "fsync", "ftruncate"])
def test_death_at_any_moment_changes_no_byte_of_the_stems(tmp_path: Path, undisturbed: list[bytes], call: str) -> None:
    """SPLIT-008: none done twice, none skipped."""
    for number in range(1, 200):
        request = make_request(tmp_path / f"{call}-{number}")
        first, second = Counting(), Counting()
        died = False
        with pytest.MonkeyPatch.context() as patch:
            die_at(patch, call=call, number=number)
            try:
                work(request, engine=first)
            except Died:
                died = True
        if not died:
            assert number > 1
            return
        saved = read_header(request)
        outcome = work(request, engine=second)
        assert stems(request) == undisturbed
        repeated = set(first.seen) & set(second.seen)
        assert all(index >= saved["next_windows"][number] for number, index in repeated)
        done = sum(end <= saved["frames"] for end in request.chunk_ends)
        assert outcome.resumed_chunks == done
        assert outcome.computed_chunks == len(request.chunk_ends) - done
    pytest.fail("the work never ended")


def test_a_stop_between_windows_saves_what_is_done(tmp_path: Path, undisturbed: list[bytes]) -> None:
    request = make_request(tmp_path / "song")
    first, second = Counting(), Counting()
    with pytest.raises(Stopped):
        work(request, engine=first, stop=lambda: len(first.seen) == 4)
    work(request, engine=second)
    assert not set(first.seen) & set(second.seen)
    assert stems(request) == undisturbed


@pytest.mark.parametrize("damage", ["other key", "flipped byte", "cut off", "not ours", "stems gone"])
def test_a_checkpoint_that_is_not_ours_or_damaged_counts_as_none(
    tmp_path: Path, undisturbed: list[bytes], damage: str
) -> None:
    request = make_request(tmp_path / "song", key="before" if damage == "other key" else "key")
    first = Counting()
    with pytest.raises(Stopped):
        work(request, engine=first, stop=lambda: len(first.seen) == 5)
    path = request.output_dir / checkpoint.NAME
    content = path.read_bytes()
    if damage == "flipped byte":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut off":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "not ours":
        path.write_bytes(b"\xff\x00 nothing\n")
    elif damage == "stems gone":
        (request.output_dir / "one.f32.part").unlink()
    again = Counting()
    outcome = work(make_request(tmp_path / "song"), engine=again)
    assert again.seen[0] == (0, 0)
    assert outcome.resumed_chunks == 0
    assert stems(request) == undisturbed


class Wrong(Counting):
    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def separate(self, y: Samples, *, window: Window) -> Samples:
        return self.answer  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (None, "engine_protocol"),
        (np.zeros((2, 2, 3), np.float32), "engine_protocol"),
        (np.full((2, 2, 920), np.inf, np.float32), "stems_invalid"),
    ],
)
def test_a_wrong_answer_is_named(tmp_path: Path, answer: object, code: str) -> None:
    request = make_request(tmp_path / "song")
    with pytest.raises(EngineError) as caught:
        work(request, engine=Wrong(answer))
    assert caught.value.code == code


def test_an_engine_may_answer_in_double_precision(tmp_path: Path) -> None:
    class Double(Counting):
        def separate(self, y: Samples, *, window: Window) -> Samples:
            return np.stack([y, y]).astype(np.float64)  # type: ignore[return-value]

    request = make_request(tmp_path / "song")
    work(request, engine=Double())
    found = np.frombuffer(stems(request)[0], "<f4")
    assert np.allclose(found, np.fromfile(request.mixture.path, "<f4"), atol=1e-6)
