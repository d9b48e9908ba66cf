"""Homes that know many songs: what is filled in by bulk is what the product reads."""

import dagster as dg

from benchmarks.known_songs import fill_dagster, fill_ledger, fill_store, plan_songs
from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.sensors.dispatch import run_key
from ironclad_assets.sensors.reconcile import reconcile


def test_filled_home_reads_like_one_that_grew(settings, store):
    known = plan_songs(12, queued=3)
    ledger = Ledger(f"sqlite:///{settings.home_dir / 'ledger.db'}")
    ledger.migrate()
    fill_ledger(settings.ledger_url, known)
    fill_store(settings, known)
    counts = ledger.count_by_state()
    assert (counts[JobState.COMPLETED], counts[JobState.QUEUED]) == (9, 3)
    assert [job.song for job in ledger.queue.next_jobs(limit=1)] == [known[9].song]
    newest = ledger.resolve(known[8].song)
    assert [line.to_state for line in ledger.history(newest.job_uuid)] == ["queued", "running", "completed"]
    assert len(newest.stages) == 6
    with dg.DagsterInstance.local_temp(str(settings.home_dir)) as instance:
        fill_dagster(instance, known)
        assert instance.get_dynamic_partitions("songs") == [one.song for one in known]
        (run,) = instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": run_key(newest)}))
        assert (run.run_id, run.status) == (newest.run_id, dg.DagsterRunStatus.SUCCESS)
        assert reconcile(ledger, instance, starting=True).describe() == ""
    ledger.close()
