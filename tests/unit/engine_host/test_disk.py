"""A failure for want of disk is told from a failure of the engine."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ironclad_assets.engine_host.disk import find_disk_trouble
from ironclad_assets.errors import ErrorCode

ROOMY = {"f_flag": 0, "f_blocks": 10**6, "f_bavail": 10**6, "f_frsize": 4096, "f_files": 10**6, "f_favail": 10**6}


@pytest.mark.parametrize(
    ("state", "output", "code"),
    [
        pytest.param({}, "", None, id="nothing"),
        pytest.param({"f_flag": os.ST_RDONLY}, "", ErrorCode.STORAGE_READ_ONLY, id="read-only"),
        pytest.param({"f_bavail": 3}, "", ErrorCode.STORAGE_FULL, id="no blocks"),
        pytest.param({"f_favail": 0}, "", ErrorCode.STORAGE_FULL, id="no inodes"),
        pytest.param({"f_files": 0, "f_favail": 0}, "", None, id="a disk without inodes"),
        pytest.param({"f_blocks": 0, "f_bavail": 0}, "", None, id="a disk without a size"),
        pytest.param({}, "OSError: [Errno 28] No space left", ErrorCode.STORAGE_FULL, id="was full"),
        pytest.param({}, "OSError: [Errno 122] Quota", ErrorCode.STORAGE_FULL, id="quota"),
        pytest.param({}, "OSError: [Errno 30] Read-only", ErrorCode.STORAGE_READ_ONLY, id="was read-only"),
        pytest.param({}, "OSError: [Errno 28] first\nOSError: [Errno 5] last", None, id="the last error counts"),
        pytest.param({}, "PermissionError: [Errno 13] Permission denied", None, id="another error"),
    ],
)
def test_the_disk_is_blamed_for_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Any], output: str, code: ErrorCode | None
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**{**ROOMY, **state}))
    trouble = find_disk_trouble(tmp_path, output=output)
    assert (trouble.code if trouble else None) is code


def test_a_folder_that_is_gone_is_storage_that_is_away(tmp_path: Path) -> None:
    trouble = find_disk_trouble(tmp_path / "gone", output="")
    assert trouble is not None
    assert trouble.code is ErrorCode.STORAGE_AWAY
