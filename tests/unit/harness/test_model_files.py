"""Weights are hashed before anything opens them, and not again while the file is the same."""

import hashlib
import os
from pathlib import Path

import pytest

from ironclad_harness.engine import EngineError
from ironclad_harness.model_files import Verifier
from ironclad_harness.protocol import PinnedFile
from ironclad_harness.stopping import Stopped

CONTENT = b"weights" * 1000


def never() -> bool:
    return False


@pytest.fixture
def file(tmp_path: Path) -> PinnedFile:
    path = tmp_path / "a.th"
    path.write_bytes(CONTENT)
    return PinnedFile("nets/a.th", path, size_bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give a list that grows with each file that is hashed."""
    names: list[str] = []
    real = hashlib.sha256

    def counted(*arguments: bytes) -> object:
        names.append("file")
        return real(*arguments)

    monkeypatch.setattr(hashlib, "sha256", counted)
    return names


def test_a_whole_file_is_given_to_the_engine_by_its_name(file: PinnedFile) -> None:
    verified = Verifier().verify([file], stop=never)
    assert verified["nets/a.th"].path == file.path
    assert verified["nets/a.th"].sha256 == file.sha256


def test_a_file_that_is_not_there_is_missing(file: PinnedFile) -> None:
    file.path.unlink()
    with pytest.raises(EngineError, match=r"nets/a\.th.*No such file") as caught:
        Verifier().verify([file], stop=never)
    assert caught.value.code == "model_missing"


@pytest.mark.parametrize("kind", ["folder", "fifo", "below a file"])
def test_what_is_no_file_is_missing(file: PinnedFile, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "odd"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path = file.path / "deeper"
    with pytest.raises(EngineError) as caught:
        Verifier().verify([PinnedFile("odd", path, size_bytes=1, sha256=file.sha256)], stop=never)
    assert caught.value.code == "model_missing"


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b"", b"W" + CONTENT[1:]])
def test_a_file_with_other_bytes_is_damaged_and_both_facts_are_named(file: PinnedFile, content: bytes) -> None:
    file.path.write_bytes(content)
    with pytest.raises(EngineError) as caught:
        Verifier().verify([file], stop=never)
    assert caught.value.code == "model_damaged"
    assert "nets/a.th" in caught.value.detail
    same_size = len(content) == len(CONTENT)
    for fact in (file.sha256, hashlib.sha256(content).hexdigest()) if same_size else (len(CONTENT), len(content)):
        assert str(fact) in caught.value.detail


def test_an_unchanged_file_is_hashed_once(file: PinnedFile, hashed: list[str]) -> None:
    verifier = Verifier()
    for _ in range(3):
        verifier.verify([file], stop=never)
    assert len(hashed) == 1


@pytest.mark.parametrize("change", ["touched", "replaced", "another hash is wanted"])
def test_a_changed_file_is_hashed_again(file: PinnedFile, hashed: list[str], change: str) -> None:
    verifier = Verifier()
    verifier.verify([file], stop=never)
    damaged = b"W" + CONTENT[1:]
    facts = file.path.stat()
    if change == "touched":
        file.path.write_bytes(damaged)
        os.utime(file.path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    elif change == "replaced":
        other = file.path.with_name("other")
        other.write_bytes(damaged)
        os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        other.replace(file.path)
    else:
        file = PinnedFile(file.name, file.path, size_bytes=file.size_bytes, sha256="0" * 64)
    with pytest.raises(EngineError) as caught:
        verifier.verify([file], stop=never)
    assert caught.value.code == "model_damaged"
    assert len(hashed) == 2


def test_hashing_ends_at_a_stop(file: PinnedFile) -> None:
    with pytest.raises(Stopped):
        Verifier().verify([file], stop=lambda: True)
