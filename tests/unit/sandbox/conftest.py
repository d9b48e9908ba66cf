"""Runs the misbehaving tasks in the real sandbox."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.task import run_task

HERE = Path(__file__).resolve().parent
LIMITS = Limits(cpu_s=10, memory_bytes=256 * 1024**2, wall_s=20)

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run() -> Run:
    def run_misbehaving(name: str, *, limits: Limits = LIMITS, **options: Any) -> dict[str, Any]:
        arguments = options.pop("arguments", {})
        return run_task(f"misbehaving:{name}", arguments=arguments, limits=limits, code=[HERE], **options)

    return run_misbehaving
