"""What each ending of a worker means, and what stays of its work."""

import signal
from pathlib import Path

import pytest

from ironclad_assets.engine_host.ending import Ending, conclude
from ironclad_assets.errors import ChildKilled, ErrorCode, IroncladError
from tests.unit.engine_host.rogues import Bench, set_up


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A song whose worker left growing stems and a checkpoint, and no result."""
    bench = set_up(tmp_path, entry="Good")
    for name in ("one.f32.part", "two.f32.part", "checkpoint", "another file"):
        (bench.output / name).write_bytes(b"growing")
    return bench


@pytest.mark.parametrize(
    ("ending", "kind", "code", "words", "resumable"),
    [
        (Ending(0), IroncladError, ErrorCode.ENGINE_PROTOCOL, "without a result", False),
        (Ending(1, output="a\nlast"), IroncladError, ErrorCode.ENGINE_FAILED, "status 1: last", False),
        (Ending(-signal.SIGSEGV), IroncladError, ErrorCode.ENGINE_FAILED, "it printed nothing", False),
        (Ending(-signal.SIGKILL), ChildKilled, ErrorCode.OUT_OF_MEMORY, "by the system", True),
        (Ending(-signal.SIGKILL, oom_killed=True), IroncladError, ErrorCode.OUT_OF_MEMORY, "the kernel", True),
        (Ending(-signal.SIGTERM), ChildKilled, ErrorCode.ENGINE_FAILED, "from outside", True),
        (Ending(143), ChildKilled, ErrorCode.ENGINE_FAILED, "from outside", True),
        (Ending(-signal.SIGXCPU), IroncladError, ErrorCode.LIMIT_CPU, "processor time", True),
    ],
)
def test_an_ending_without_a_result_has_its_code_and_keeps_only_what_can_go_on(
    bench: Bench, ending: Ending, kind: type[IroncladError], code: ErrorCode, words: str, resumable: bool
) -> None:
    with pytest.raises(IroncladError, match=words) as caught:
        conclude(bench.request, ending=ending)
    assert caught.value.code is code
    assert isinstance(caught.value, ChildKilled) == (kind is ChildKilled)
    left = {path.name for path in bench.output.iterdir()}
    kept = {"one.f32.part", "two.f32.part", "checkpoint"} if resumable else set()
    assert left == {"another file", *kept}
