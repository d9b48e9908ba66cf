"""What a worker claims is checked against the request and the files."""

import json
from pathlib import Path
from typing import Any

import pytest

from ironclad_assets.engine_host.result import read_finished, read_result
from ironclad_assets.errors import ErrorCode, IroncladError
from tests.unit.engine_host.rogues import Bench, set_up


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return set_up(tmp_path, entry="Good", seconds=0.1)


def write(bench: Bench, **changes: Any) -> None:
    frames = bench.request.mixture.frames
    stems = [{"name": name, "path": f"{name}.f32", "frames": frames} for name in ("one", "two")]
    value = {"protocol": 1, "key": bench.request.key, "status": "completed", "stems": stems} | changes
    (bench.output / "result.json").write_text(json.dumps(value), encoding="utf-8")


def write_stems(bench: Bench) -> None:
    for name in ("one", "two"):
        (bench.output / f"{name}.f32").write_bytes(bytes(bench.request.mixture.frames * 8))


def test_a_true_result_is_returned(bench: Bench) -> None:
    write_stems(bench)
    write(bench)
    assert read_result(bench.request) == read_finished(bench.request)
    assert read_finished(bench.request) is not None


def test_no_result_and_a_result_of_other_work_are_none(bench: Bench) -> None:
    assert read_result(bench.request) is None
    write_stems(bench)
    write(bench, key="b" * 64)
    assert read_result(bench.request) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": 2},
        {"surprise": 1},
        {"stems": []},
        {
            "stems": [
                {"name": "two", "path": "two.f32", "frames": 4410},
                {"name": "one", "path": "one.f32", "frames": 4410},
            ]
        },
        {
            "stems": [
                {"name": "one", "path": "one.f32", "frames": 9},
                {"name": "two", "path": "two.f32", "frames": 4410},
            ]
        },
        {
            "stems": [
                {"name": "one", "path": "../m", "frames": 4410},
                {"name": "two", "path": "two.f32", "frames": 4410},
            ]
        },
        {
            "stems": [
                {"name": "one", "path": "no.f32", "frames": 4410},
                {"name": "two", "path": "two.f32", "frames": 4410},
            ]
        },
        {"status": "failed"},
    ],
)
def test_a_false_result_is_a_broken_protocol(bench: Bench, changes: dict[str, Any]) -> None:
    write_stems(bench)
    write(bench, **changes)
    with pytest.raises(IroncladError) as caught:
        read_result(bench.request)
    assert caught.value.code is ErrorCode.ENGINE_PROTOCOL
    assert read_finished(bench.request) is None


def test_a_link_is_not_a_stem(bench: Bench) -> None:
    write_stems(bench)
    (bench.output / "one.f32").rename(bench.folder / "elsewhere")
    (bench.output / "one.f32").symlink_to(bench.folder / "elsewhere")
    write(bench)
    with pytest.raises(IroncladError, match="bytes instead of"):
        read_result(bench.request)


def test_a_failed_result_is_not_finished_work(bench: Bench) -> None:
    write(bench, status="failed", stems=[], failure={"code": "engine_failed", "detail": "no"})
    result = read_result(bench.request)
    assert result is not None
    assert result.failure is not None
    assert read_finished(bench.request) is None
