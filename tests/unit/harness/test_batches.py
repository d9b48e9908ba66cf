"""Windows in batches: aligned groups, the same bytes after a death, and a smaller batch when memory runs out."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ironclad_harness import checkpoint
from ironclad_harness.engine import EngineError, Samples, Window
from ironclad_harness.protocol import Request
from ironclad_harness.stopping import Stopped
from tests.unit.harness.small import Counting, make_request, read_header, stems, work


class Batched(Counting):
    """An engine whose answers depend on the whole group, as a library's rounding does."""

    def __init__(self, *, fails_in: tuple[int, int] | None = None, error: Exception | None = None) -> None:
        super().__init__()
        self.groups: list[tuple[int, list[int]]] = []
        self._fails_in, self._error = fails_in, error or MemoryError()

    def separate_many(self, ys: Sequence[Samples], *, windows: Sequence[Window]) -> Sequence[Samples]:
        self.groups.append((windows[0].pass_index, [window.index for window in windows]))
        if self._fails_in in [(window.pass_index, window.index) for window in windows]:
            raise self._error
        nudge = np.float32(1 + 1e-7 * len(windows))
        return np.stack([self.separate(y, window=w) * nudge for y, w in zip(ys, windows, strict=True)])


class Plain(Batched):
    """Nothing random: what comes out does not depend on the groups."""

    def separate(self, y: Samples, *, window: Window) -> Samples:
        self.seen.append((window.pass_index, window.index))
        return np.stack([y * np.float32(0.3), y * np.float32(0.7 + window.index)])


@pytest.mark.parametrize("batch", [2, 3, 4, 100])
def test_groups_end_at_multiples_of_the_batch_in_each_pass(tmp_path: Path, batch: int) -> None:
    engine = Batched()
    work(make_request(tmp_path / "song", batch=batch), engine=engine)
    for number in (0, 1):
        windows = sorted(index for each, index in engine.seen if each == number)
        assert windows == list(range(len(windows))), "each window once"
    for _, group in engine.groups:
        assert group == list(range(group[0], group[0] + len(group)))
        assert group[0] % batch == 0
        assert len(group) <= batch
    assert any(len(group) == min(batch, 9) for _, group in engine.groups)


def test_an_engine_without_batches_gets_windows_one_by_one(tmp_path: Path) -> None:
    alone, batched = make_request(tmp_path / "alone"), make_request(tmp_path / "batched", batch=4)
    work(alone)
    work(batched)
    assert stems(alone) == stems(batched)


def test_a_batch_of_one_does_not_use_separate_many(tmp_path: Path) -> None:
    engine = Batched()
    work(make_request(tmp_path / "song"), engine=engine)
    assert engine.groups == []


class Died(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


@pytest.mark.parametrize("batch", [2, 3])
def test_death_at_any_write_changes_no_byte_under_the_same_batch(tmp_path: Path, batch: int) -> None:
    """SPLIT-008."""
    undisturbed = make_request(tmp_path / "undisturbed", batch=batch)
    work(undisturbed, engine=Batched())
    real = os.write
    for number in range(1, 200):
        request, calls = make_request(tmp_path / str(number), batch=batch), iter(range(1, 10_000))

        def write(*arguments: object, at: int = number, calls: object = calls) -> object:
            if next(calls) == at:  # type: ignore[call-overload]
                raise Died
            return real(*arguments)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "write", write)
            try:
                work(request, engine=Batched())
            except Died:
                pass
            else:
                assert number > 10
                return
        work(request, engine=Batched())
        assert stems(request) == stems(undisturbed)
    pytest.fail("the work never ended")


def test_a_stop_falls_between_groups(tmp_path: Path) -> None:
    undisturbed, request = make_request(tmp_path / "undisturbed", batch=3), make_request(tmp_path / "song", batch=3)
    work(undisturbed, engine=Batched())
    first, second = Batched(), Batched()
    with pytest.raises(Stopped):
        work(request, engine=first, stop=lambda: len(first.seen) >= 4)
    assert not [index for index in read_header(request)["next_windows"] if index % 3]
    work(request, engine=second)
    assert stems(request) == stems(undisturbed)
    assert not set(first.seen) & set(second.seen)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory"), RuntimeError("std::bad_alloc")])
def test_work_goes_on_under_a_smaller_batch_when_memory_runs_out(tmp_path: Path, error: Exception) -> None:
    undisturbed, request = make_request(tmp_path / "undisturbed"), make_request(tmp_path / "song", batch=4)
    work(undisturbed, engine=Plain())
    first, second = Plain(fails_in=(0, 5), error=error), Plain()
    with pytest.raises(type(error)):
        work(request, engine=first)
    assert read_header(request)["next_windows"][0] == 4
    outcome = work(make_request(tmp_path / "song", batch=2), engine=second)
    assert not set(first.seen) & set(second.seen), "no window was computed twice"
    assert min(index for number, index in second.seen if number == 0) == 4
    assert outcome.resumed_chunks > 0
    assert np.allclose(*(np.frombuffer(stems(each)[0], "<f4") for each in (request, undisturbed)), atol=1e-5)


def test_other_failures_save_nothing(tmp_path: Path) -> None:
    request = make_request(tmp_path / "song", batch=4)
    with pytest.raises(ValueError, match="no"):
        work(request, engine=Plain(fails_in=(0, 1), error=ValueError("no")))
    assert not (request.output_dir / checkpoint.NAME).exists()


def test_the_memory_of_the_failed_window_is_free_before_the_checkpoint_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[bool] = []

    class Held:
        def __del__(self) -> None:
            freed.append(True)

    class Greedy(Plain):
        def separate_many(self, ys: Sequence[Samples], *, windows: Sequence[Window]) -> Sequence[Samples]:
            held = Held()
            if windows[0].index:
                raise MemoryError(str(id(held)))
            return super().separate_many(ys, windows=windows)

    real, seen = checkpoint.save, []

    def save(*arguments: object, **keywords: object) -> None:
        seen.append(len(freed))
        real(*arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(MemoryError):
        work(make_request(tmp_path / "song", batch=4), engine=Greedy())
    assert seen[-1] >= 2, "what the failing call held is gone"


class Misbehaving(Plain):
    def __init__(self, answers: object) -> None:
        super().__init__()
        self.answers = answers

    def separate_many(self, ys: Sequence[Samples], *, windows: Sequence[Window]) -> Sequence[Samples]:
        return self.answers  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([], "engine_protocol"),
        ([np.zeros((2, 2, 920), np.float32)] * 3, "engine_protocol"),
        ([np.zeros((2, 2, 9), np.float32)] * 2, "engine_protocol"),
        ([np.zeros((2, 2, 920), np.float32), np.full((2, 2, 920), np.nan, np.float32)], "stems_invalid"),
    ],
)
def test_wrong_answers_for_a_batch_are_named(tmp_path: Path, answers: object, code: str) -> None:
    with pytest.raises(EngineError) as caught:
        work(make_request(tmp_path / "song", batch=2), engine=Misbehaving(answers))
    assert caught.value.code == code


def test_a_request_may_ask_for_any_batch(tmp_path: Path) -> None:
    request: Request = make_request(tmp_path / "song", batch=1000)
    engine = Plain()
    work(request, engine=engine)
    assert {number for number, _ in engine.groups} == {0, 1}
