"""The upload watcher: what one tick takes, dispatches, skips, and says."""

import json

import dagster as dg
import pytest

from ironclad_assets.ledger.pauses import PauseKind
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.sensors import upload_watcher as module
from ironclad_assets.sensors.upload_watcher import UploadWatcher, build_upload_watcher
from tests import synth


@pytest.fixture
def watcher(settings, store, monkeypatch):
    monkeypatch.setattr(module, "LONG_POLL_S", 2.5)
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    (settings.home_dir / "run").mkdir(parents=True)
    watcher = UploadWatcher(ledger=ledger, store=store, settings=settings)
    yield watcher
    watcher.close()
    ledger.close()


def tick(watcher):
    with dg.DagsterInstance.ephemeral() as instance:
        return watcher.tick(dg.build_sensor_context(instance=instance))


def tick_until_taken(watcher):
    """Tick as often as the daemon would; a busy machine may need more than one to take a file."""
    for _ in range(20):
        result = tick(watcher)
        if isinstance(result, dg.SensorResult):
            return result
    raise AssertionError(result.skip_message)


def drop(store, name, *, user="", seed=0):
    folder = store.input / user
    folder.mkdir(exist_ok=True)
    synth.write_flac(folder / ".half.part", synth.noise(0.6, seed=seed)).rename(folder / name)


def test_complete_file_gets_partition_and_run_in_one_result(watcher, store):
    """WATCH-001: a file that was renamed into place starts a run."""
    drop(store, "song.flac")
    result = tick_until_taken(watcher)
    (request,) = result.run_requests
    assert result.dynamic_partitions_requests[0].partition_keys == [request.partition_key]
    assert list(store.input.glob("*.flac")) == []


def test_users_own_their_folders(watcher, store):
    drop(store, "song.flac", user="anna")
    drop(store, "other.flac", seed=1)
    users = {request.tags["ironclad/user"] for request in tick_until_taken(watcher).run_requests}
    assert users == {"anna", "local"}


def test_idle_tick_says_what_it_saw(watcher, store):
    """WATCH-002: each tick says what it saw and why it skipped."""
    (store.input / "link.flac").symlink_to("/etc/passwd")
    skipped = tick(watcher)
    assert isinstance(skipped, dg.SkipReason)
    assert "link.flac" in skipped.skip_message
    assert "symbolic link" in skipped.skip_message or "symlink" in skipped.skip_message


def test_growing_file_waits_and_is_named(watcher, store, settings):
    with (store.input / "growing.flac").open("wb") as stream:
        stream.write(b"fLaC")
        stream.flush()
        skipped = tick(watcher)
    assert isinstance(skipped, dg.SkipReason)
    assert "growing.flac" in skipped.skip_message


def test_same_bytes_again_link_to_the_known_song_and_start_nothing(watcher, store):
    """DUP-001: the watcher links a duplicate and does no work."""
    drop(store, "song.flac")
    first = tick_until_taken(watcher).run_requests[0].partition_key
    drop(store, "again.flac")
    skipped = tick(watcher)
    assert isinstance(skipped, dg.SkipReason)
    assert first in skipped.skip_message
    assert list(store.input.glob("*.flac")) == []


def test_missing_sentinel_pauses_and_touches_nothing(watcher, store):
    drop(store, "song.flac")
    content = store.sentinel.read_bytes()
    store.sentinel.unlink()
    skipped = tick(watcher)
    assert skipped.skip_message.startswith("paused: storage_away")
    assert (store.input / "song.flac").exists()
    store.sentinel.write_bytes(content)
    assert tick_until_taken(watcher).run_requests


def test_last_tick_is_published_for_the_health_command(watcher, store, settings):
    drop(store, "song.flac")
    tick_until_taken(watcher)
    published = json.loads((settings.home_dir / "run" / "watcher.json").read_text())
    assert published["dispatched"] == 1
    assert "song.flac" in published["summary"]


def test_sensor_runs_as_dagster_evaluates_it(watcher):
    sensor = build_upload_watcher(watcher)
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance=instance) as context:
        data = sensor.evaluate_tick(context)
    assert data.skip_message == "0 taken"


def test_a_pause_is_said_in_every_tick_and_nothing_is_dispatched(watcher, store, settings):
    """QUEUE-003, WATCH-002: uploads are still taken in."""
    watcher._ledger.pauses.set(PauseKind.ALL, actor="anna", reason="new disk")
    drop(store, "song.flac")
    skipped = tick(watcher)
    assert isinstance(skipped, dg.SkipReason)
    assert "1 taken" in skipped.skip_message
    assert "paused: everything since" in skipped.skip_message
    assert "by anna: new disk" in skipped.skip_message
    published = json.loads((settings.home_dir / "run" / "watcher.json").read_text(encoding="utf-8"))
    assert (len(published["pauses"]), published["paused"]) == (1, "")
    (job,) = watcher._ledger.jobs()
    assert watcher._ledger.history(job.job_uuid)[0].request_id is not None
    watcher._ledger.pauses.lift(PauseKind.ALL, actor="anna")
    assert len(tick_until_taken(watcher).run_requests) == 1
