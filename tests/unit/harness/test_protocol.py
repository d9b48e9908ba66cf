"""Requests are read strictly; the hand-written reader agrees with the contract of the other side."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ironclad_assets.contracts.v1.engine import EngineEvent, EngineRequest, EngineResult, ModelFile
from ironclad_harness.engine import EngineError
from ironclad_harness.events import Events
from ironclad_harness.failures import name_failure
from ironclad_harness.job import write_success
from ironclad_harness.protocol import RESULT_NAME, PinnedFile, read_request
from ironclad_harness.separation import Outcome


@pytest.fixture
def value(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "mixture").write_bytes(bytes(8 * 100))
    request = EngineRequest.model_validate(
        {
            "job_uuid": "job",
            "song": "song",
            "engine": "e",
            "engine_version": "1",
            "entry": "m:C",
            "model": "m",
            "stems": ["one", "two"],
            "parameters": {"shifts": 2, "fast": True},
            "mixture": {"path": str(tmp_path / "mixture"), "sample_rate_hz": 44100, "channels": 2, "frames": 100},
            "statistics": {"mean": 0.0, "std": 0.1, "peak": 1.0, "rms": 0.1},
            "chunks": [{"start": 0, "frames": 60}, {"start": 60, "frames": 40}],
            "key": "k",
            "output_dir": str(tmp_path),
        }
    )
    return json.loads(request.model_dump_json())


def read(value: Any, *, folder: Path) -> Any:
    path = folder / "request.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return read_request(path)


def test_what_the_contract_writes_the_harness_reads(value: dict[str, Any], tmp_path: Path) -> None:
    request = read(value, folder=tmp_path)
    assert request.stems == ("one", "two")
    assert request.chunk_ends == (60, 100)
    assert request.parameters == {"shifts": 2, "fast": True}
    assert request.statistics.std == 0.1


def test_what_the_harness_writes_the_contract_reads(value: dict[str, Any], tmp_path: Path) -> None:
    request = read(value, folder=tmp_path)
    outcome = Outcome(computed_chunks=1, resumed_chunks=1, compute_s=0.5)
    write_success(request, engine=SimpleNamespace(device="cuda:1"), outcome=outcome, load_s=1.5, warm=True)
    result = EngineResult.model_validate_json((tmp_path / RESULT_NAME).read_bytes())
    assert result.key == "k"
    assert [stem.frames for stem in result.stems] == [100, 100]
    assert (result.device, result.load_s, result.warm) == ("cuda:1", 1.5, True)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"protocol": 2}, "engine_protocol"),
        ({"stems": []}, "engine_protocol"),
        ({"stems": ["one", "one"]}, "engine_protocol"),
        ({"stems": ["../one"]}, "engine_protocol"),
        ({"entry": "os.system"}, "engine_protocol"),
        ({"chunks": [{"start": 0, "frames": 99}]}, "engine_protocol"),
        ({"chunks": [{"start": 0, "frames": 50}, {"start": 60, "frames": 40}]}, "engine_protocol"),
        ({"chunks": 5}, "engine_protocol"),
        ({"mixture": None}, "engine_protocol"),
        ({"batch": 0}, "engine_protocol"),
        ({"model_files": [{"name": "a", "path": "a", "size_bytes": 1, "sha256": "0"}]}, "engine_protocol"),
        ({"model_files": [{"name": "a", "path": "/a"}]}, "engine_protocol"),
        ({"mixture": {"path": "/nowhere", "sample_rate_hz": 1, "channels": 2, "frames": 100}}, "artifact_missing"),
    ],
)
def test_a_request_that_is_wrong_is_refused(
    value: dict[str, Any], tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(EngineError) as caught:
        read(value | changes, folder=tmp_path)
    assert caught.value.code == code


def test_a_mixture_of_another_size_is_refused(value: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mixture").write_bytes(bytes(8 * 99))
    with pytest.raises(EngineError) as caught:
        read(value, folder=tmp_path)
    assert caught.value.code == "artifact_damaged"


def test_weights_are_read_as_the_contract_writes_them(value: dict[str, Any], tmp_path: Path) -> None:
    file = ModelFile(name="nets/a.th", path="/models/nets/a.th", size_bytes=7, sha256="a" * 64)
    request = read(value | {"model_files": [file.model_dump(mode="json")]}, folder=tmp_path)
    assert request.model_files == (PinnedFile("nets/a.th", Path("/models/nets/a.th"), size_bytes=7, sha256="a" * 64),)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"protocol": 1}'])
def test_what_is_no_request_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "request.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EngineError):
        read_request(path)


def caused_by(cause: Exception) -> Exception:
    error = RuntimeError("the graph could not be run")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), "out_of_memory"),
        (RuntimeError("std::bad_alloc"), "out_of_memory"),
        (RuntimeError("bfc_arena.cc Failed to allocate memory for requested buffer of size 9"), "out_of_memory"),
        (OSError(12, "Cannot allocate memory"), "out_of_memory"),
        (caused_by(MemoryError()), "out_of_memory"),
        (caused_by(ValueError("nothing of that kind")), "engine_failed"),
        (OSError(28, "No space left on device"), "storage_full"),
        (OSError(30, "Read-only file system"), "storage_read_only"),
        (OSError(2, "No such file"), "engine_failed"),
        (EngineError("unknown_model", "no x"), "unknown_model"),
        (ZeroDivisionError("division by zero"), "engine_failed"),
    ],
)
def test_failures_are_named_by_published_codes(error: Exception, code: str) -> None:
    assert name_failure(error).code == code


def test_events_are_what_the_contract_says(capfd: pytest.CaptureFixture[str]) -> None:
    events = Events(1)
    events.started(resumed_frames=5, fraction=0.1)
    events.progress(0.5, message="half", chunk=1, windows=3)
    events.log("hello")
    lines = capfd.readouterr().out.splitlines()
    assert [EngineEvent.model_validate_json(line).kind for line in lines] == ["started", "progress", "log"]
