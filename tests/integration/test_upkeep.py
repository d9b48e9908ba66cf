"""Sweeps and real songs: what a sweep takes, a retry makes again, byte for byte; what is left is verified."""

import time

from ironclad_assets.contracts.v1.limits import LimitScope
from ironclad_assets.storage import atomic
from ironclad_assets.upkeep.prune.guard import Clock
from ironclad_assets.upkeep.prune.sweep import Sweep
from ironclad_assets.upkeep.verify.verification import Verification
from tests.filing import tree

HOUR_S = 3600.0


def test_a_song_whose_intermediates_were_swept_is_made_again_the_same(installation):
    """ORG-002, GLOBAL-004: replay and retry work after a sweep, and lineage says what was."""
    store, ledger, settings = installation.store, installation.ledger, installation.settings
    known = {str(store.root): store.sentinel.read_text(encoding="utf-8").strip()}
    atomic.write_json(settings.home_dir / "stores.json", known)
    job = installation.song(targets=("instrumental", "vocals"))
    assert installation.dispatch(job).success
    before = tree(store)
    stored = ledger.usage.of("local").stored_bytes
    assert findings(installation) == []

    ledger.limits.set(LimitScope.SYSTEM, "", "keep_intermediate_days", 0, actor="test")
    assert sweep(installation).removed.total() > 0
    stages = {path.parent.parent.name for path in store.root.glob(f"stages/*/{job.song}/manifest.json")}
    assert stages == {"validated_file", "song_metadata", "library_entry"}
    assert (store.stage("stems", job.song).path / "pruned.json").exists()
    assert ledger.usage.of("local").stored_bytes < stored
    assert findings(installation) == []

    again = ledger.retry(job.job_uuid, actor="test", options=job.options)
    assert installation.dispatch(again).success
    done = ledger.job(again.job_uuid)
    assert {timing.stage for timing in done.stages if timing.reused} >= {"validated_file", "song_metadata"}
    assert not next(timing for timing in done.stages if timing.stage == "stems").reused
    assert tree(store) == before
    assert ledger.usage.of("local").stored_bytes == stored
    assert findings(installation) == []


def test_tracks_that_were_too_old_come_back_with_a_retry(installation):
    """GLOBAL-004: retention in the library is no damage, and no obstacle."""
    store, ledger, settings = installation.store, installation.ledger, installation.settings
    known = {str(store.root): store.sentinel.read_text(encoding="utf-8").strip()}
    atomic.write_json(settings.home_dir / "stores.json", known)
    job = installation.song()
    assert installation.dispatch(job).success
    before = tree(store)
    for name in ("keep_stems_days", "keep_tracks_days"):
        ledger.limits.set(LimitScope.SYSTEM, "", name, 0, actor="test")
    sweep(installation)
    assert tree(store) == {}
    assert findings(installation) == []
    again = ledger.retry(job.job_uuid, actor="test", options=job.options)
    assert installation.dispatch(again).success
    assert tree(store) == before
    assert findings(installation) == []


def sweep(installation):
    """Sweep an hour later, as far as its clock knows."""
    clock = Clock(wall=lambda: time.time() + HOUR_S)
    return Sweep(
        store=installation.store,
        ledger=installation.ledger,
        settings=installation.settings,
        actor="test",
        confirmed=True,
        clock=clock,
    ).run()


def findings(installation):
    return (
        Verification(store=installation.store, ledger=installation.ledger, settings=installation.settings)
        .run()
        .findings
    )
