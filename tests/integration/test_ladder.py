"""Out of memory, through the whole graph and real workers: which rung is reached, and what is said of it."""

from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.contracts.v1.stems import Stems
from ironclad_assets.resources.descent import STATE_NAME
from ironclad_assets.settings import MEBIBYTE
from ironclad_assets.storage.artifacts import load_artifact
from tests.integration.conftest import Installation
from tests.integration.hungry import write_hungry

NEED = {"batch 4": 64.0, "batch 2": 32.0, "batch 1": 16.0, "half": 8.0, "cpu": 6.4, "1 s": 3.2, "small": 0.8}
"""Units that `hungry` needs on each footing, from a GPU with a batch of 4 downward."""


@pytest.fixture
def gpu(installation: Installation) -> Installation:
    """An installation whose engines compute on a GPU, which `hungry` believes."""
    write_hungry(installation.folder / "engines")
    return with_settings(installation, engine_device="cuda", engine_batch=4, default_engine="hungry")


def with_settings(installation: Installation, **changes: Any) -> Installation:
    return replace(installation, settings=installation.settings.model_copy(update=changes))


def stems_of(installation: Installation, song: str) -> Stems:
    return load_artifact(installation.store.stage("stems", song), Stems).payload


def shown(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    for event in result.get_asset_materialization_events():
        if event.asset_key == dg.AssetKey("stems"):
            return dict(event.materialization.metadata)
    raise AssertionError("no stems")


@pytest.mark.parametrize(
    ("budget", "rungs"),
    [
        (NEED["batch 4"], []),
        (NEED["half"], ["2", "1", "half"]),
        (NEED["1 s"], ["2", "1", "half", "cpu", "1 s"]),
        (NEED["small"], ["2", "1", "half", "cpu", "1 s", "0.5 s", "small"]),
    ],
)
def test_a_song_comes_out_on_the_first_rung_that_memory_suffices_for(
    gpu: Installation, budget: float, rungs: list[str]
) -> None:
    job = gpu.song(seconds=5.0, parameters={"budget": budget}, allow_smaller_model=True)
    result = gpu.dispatch(job)
    assert result.success
    stems = stems_of(gpu, job.song)
    assert [rung.value for rung in stems.rungs] == rungs
    assert stems.device == ("cpu" if "cpu" in rungs else "cuda")
    assert stems.precision == ("half" if rungs[-1:] == ["half"] else "full")
    assert stems.engine.model == ("small" if "small" in rungs else "large")
    assert ("quality" in stems.engine.parameters) == (stems.engine.model == "large")
    assert stems.window_s == (1.0 if rungs[-1:] == ["1 s"] else None)
    notes = [line.detail for line in gpu.ledger.history(job.job_uuid) if "out of memory" in line.detail]
    assert len(notes) == len(rungs)
    metadata = shown(result)
    assert ("rungs" in metadata) == bool(rungs)
    assert metadata["load_s"].value >= 0
    assert metadata["warm"].value is False


def test_a_smaller_batch_computes_no_finished_chunk_again_and_gives_the_same_stems(gpu: Installation) -> None:
    undisturbed = gpu.song("a.flac", seconds=45.0, parameters={"budget": NEED["batch 4"]})
    result = gpu.dispatch(undisturbed)
    assert shown(result)["resumed_chunks"].value == 0
    short = gpu.song("b.flac", seconds=45.0, parameters={"budget": NEED["batch 1"], "spared": 20}, user_id="ada")
    result = gpu.dispatch(short)
    assert result.success
    assert [rung.action for rung in stems_of(gpu, short.song).rungs] == ["batch", "batch"]
    assert shown(result)["resumed_chunks"].value >= 1
    first, second = (load_artifact(gpu.store.stage("stems", job.song), Stems).folder for job in (undisturbed, short))
    for name in ("vocals.f32", "other.f32"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_where_nothing_suffices_the_job_fails_with_every_rung_and_a_retry_begins_at_the_top(gpu: Installation) -> None:
    job = gpu.song(seconds=3.0, parameters={"budget": 1.0})
    assert not gpu.dispatch(job).success
    failed = gpu.ledger.job(job.job_uuid)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.code == "out_of_memory"
    assert "tried: batch 2, batch 1, half precision, device cpu, window 1 s, window 0.5 s" in failed.error.detail
    assert not list(gpu.store.stage("stems", job.song).path.rglob(STATE_NAME))
    retried = gpu.ledger.retry(job.job_uuid, actor="test", options=job.options.model_copy(
        update={"allow_smaller_model": True, "parameters": {"budget": 1.0}}
    ))  # fmt: skip
    assert gpu.dispatch(retried).success
    assert stems_of(gpu, job.song).engine.model == "small"


def test_the_memory_watchdog_sends_the_work_down_the_ladder(installation: Installation) -> None:
    write_hungry(installation.folder / "engines")
    limit = 200 * MEBIBYTE
    on_cpu = with_settings(installation, engine_batch=4, default_engine="hungry", engine_memory_bytes=limit)
    job = on_cpu.song(seconds=9.0, parameters={"really": True})
    assert on_cpu.dispatch(job).success
    stems = stems_of(on_cpu, job.song)
    assert stems.rungs[0].action == "batch"
    assert "allowed are 200 MiB" in stems.rungs[0].reason


def test_stems_of_too_little_memory_are_made_again_when_there_is_more(gpu: Installation) -> None:
    job = gpu.song(seconds=3.0, parameters={"budget": NEED["half"]})
    assert gpu.dispatch(job).success
    again = gpu.ledger.retry(job.job_uuid, actor="test")
    assert shown(gpu.dispatch(again))["reused"].value is True
    more = with_settings(gpu, engine_memory_bytes=gpu.settings.engine_memory_bytes + 1)
    once_more = gpu.ledger.retry(job.job_uuid, actor="test")
    assert shown(more.dispatch(once_more))["reused"].value is False
