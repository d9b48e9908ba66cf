"""Every door that Dagster offers leads through the same graph with the song's own options."""

import hashlib

import dagster as dg
import pytest

from ironclad_assets.contracts.v1.job import STAGES, JobState
from ironclad_assets.storage.artifacts import read_manifest
from tests.integration.conftest import HALVES_MODULE, write_halves


def media_hashes(installation):
    return {
        str(path.relative_to(installation.store.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for root in ("output", "output-stems")
        for path in installation.store.library(root).rglob("*")
        if path.is_file()
    }


def materialized(result):
    return [event.asset_key.path[-1] for event in result.get_asset_materialization_events()]


def test_dispatched_song_passes_all_stages_and_lands_in_the_library(installation):
    """RECON-001, ORG-001, OUT-001: a song comes out tagged in the library, with its record."""
    job = installation.song()
    result = installation.dispatch(job)
    assert result.success
    assert materialized(result) == list(STAGES)
    done = installation.ledger.job(job.job_uuid)
    assert done.state is JobState.COMPLETED
    assert [timing.stage for timing in done.stages] == list(STAGES)
    names = sorted(path.rsplit("/", 1)[1] for path in media_hashes(installation))
    assert names == ["song (Instrumental).flac", "song (Other).flac", "song (Vocals).flac"]
    folder = installation.store.stage("library_entry", job.song)
    assert (folder.path / read_manifest(folder).folder / "metadata.json").is_file()


def test_every_manifest_and_materialization_names_job_user_and_trace(installation):
    """JOB-001, SPLIT-011: artifacts carry job, user, trace, engine and contract version."""
    job = installation.song(user_id="anna")
    result = installation.dispatch(job)
    for stage in STAGES:
        manifest = read_manifest(installation.store.stage(stage, job.song))
        assert (manifest.job_uuid, manifest.user_id, manifest.trace_id) == (job.job_uuid, "anna", job.trace_id)
        assert manifest.contract_version == 1
    for event in result.get_asset_materialization_events():
        assert event.materialization.metadata["job_uuid"].value == job.job_uuid


def test_all_checks_are_recorded_for_the_songs_partition(installation):
    job = installation.song()
    result = installation.dispatch(job)
    checks = result.get_asset_check_evaluations()
    assert all(check.passed for check in checks), [check.check_name for check in checks if not check.passed]
    assert {check.partition for check in checks} == {job.song}
    stages = [asset for asset in installation.definitions.assets if asset.key.path[-1] in STAGES]
    declared = {spec.name for asset in stages for spec in asset.check_specs}
    assert {check.check_name for check in checks} == declared


def test_job_options_reach_the_run_from_the_ledger(installation):
    job = installation.song(targets=("vocals", "instrumental"), format="wav")
    assert installation.dispatch(job).success
    assert {name.rsplit(".", 1)[1] for name in media_hashes(installation)} == {"wav"}


def test_materialize_in_the_ui_without_a_job_makes_one_with_the_songs_options(installation):
    job = installation.song(format="wav")
    installation.ledger.request_cancel(job.job_uuid, actor="test")
    result = installation.run(job.song)
    assert result.success
    made = installation.ledger.latest_job(job.song)
    assert made.job_uuid != job.job_uuid
    assert made.state is JobState.COMPLETED
    assert made.options == job.options
    assert {name.rsplit(".", 1)[1] for name in media_hashes(installation)} == {"wav"}


def test_materializing_one_stage_completes_its_job_and_reuses_equal_work(installation):
    job = installation.song()
    installation.dispatch(job)
    before = media_hashes(installation)
    result = installation.run(job.song, assets=["stems"])
    assert result.success
    assert materialized(result) == ["stems"]
    again = installation.ledger.latest_job(job.song)
    assert again.state is JobState.COMPLETED
    assert [timing.reused for timing in again.stages] == [True]
    assert media_hashes(installation) == before


def test_materializing_one_stage_of_a_waiting_song_is_refused_and_its_job_stays_queued(installation):
    job = installation.song()
    assert not installation.run(job.song, assets=["validated_file"]).success
    assert installation.ledger.job(job.job_uuid).state is JobState.QUEUED
    assert not installation.store.quarantine(job.song).exists()
    assert installation.dispatch(job).success


def test_late_run_of_a_finished_job_changes_nothing(installation):
    job = installation.song()
    assert installation.run(job.song).success, "started by hand, takes the waiting job"
    before = media_hashes(installation)
    assert not installation.dispatch(job).success
    assert installation.ledger.job(job.job_uuid).state is JobState.COMPLETED
    assert not installation.store.quarantine(job.song).exists()
    assert media_hashes(installation) == before


def test_rerun_makes_the_same_bytes_and_no_duplicates(installation):
    """SPLIT-006, RECON-002: a replay makes no duplicate and no partial work."""
    job = installation.song()
    installation.dispatch(job)
    before = media_hashes(installation)
    assert installation.run(job.song).success
    assert media_hashes(installation) == before


def test_backfill_over_many_songs_runs_each_with_its_own_job(installation):
    jobs = [installation.song(f"song-{number}.flac", seed=number) for number in range(3)]
    for job in jobs:
        assert installation.run(job.song, tags={"dagster/backfill": "abc"}).success
    assert [installation.ledger.job(job.job_uuid).state for job in jobs] == [JobState.COMPLETED] * 3


def test_new_engine_version_makes_new_stems_when_rematerialized(installation):
    job = installation.song()
    installation.dispatch(job)
    before = media_hashes(installation)
    changed = HALVES_MODULE.replace("0.25", "0.5").replace("0.75", "0.5 * 0.999")
    write_halves(installation.settings.engines_path, version="2.0.0", module=changed)
    assert installation.run(job.song).success
    after = media_hashes(installation)
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in after)


def test_re_execution_from_failure_goes_on_at_the_failed_stage(installation):
    good = HALVES_MODULE
    bad = HALVES_MODULE.replace("return np.stack", "raise RuntimeError('model broke')\n        return np.stack")
    write_halves(installation.settings.engines_path, module=bad)
    job = installation.song()
    with dg.DagsterInstance.local_temp() as instance:
        installation.instance = instance
        instance.add_dynamic_partitions("songs", [job.song])
        failed = installation.dispatch(job)
        assert not failed.success
        assert installation.ledger.job(job.job_uuid).error.code == "engine_failed"
        write_halves(installation.settings.engines_path, module=good)
        options = dg.ReexecutionOptions.from_failure(failed.run_id, instance)
        graph = dg.reconstructable(_process_song)
        _Current.settings = installation.settings
        tags = instance.get_run_by_id(failed.run_id).tags  # the Dagster UI copies them
        with dg.execute_job(graph, instance=instance, reexecution_options=options, tags=tags) as result:
            assert result.success
            assert [event.step_key for event in result.all_events if event.is_step_success] == [
                "stems",
                "recombined_track",
                "library_entry",
            ]
    latest = installation.ledger.latest_job(job.song)
    assert (latest.state, latest.attempt) == (JobState.COMPLETED, 2)


class _Current:
    settings = None


def _process_song():
    from ironclad_assets.definitions import build_definitions

    return build_definitions(_Current.settings).resolve_job_def("process_song")


@pytest.mark.parametrize("damage", ["truncate", "remove", "newer"])
def test_stage_refuses_a_damaged_artifact_and_says_why(installation, damage):
    """SPLIT-012: consumers validate before use."""
    job = installation.song()
    installation.dispatch(job)
    folder = installation.store.stage("staged_chunks", job.song)
    files = folder.path / read_manifest(folder).folder / "mixture.f32"
    if damage == "truncate":
        files.write_bytes(files.read_bytes()[:-4])
    elif damage == "remove":
        files.unlink()
    else:
        folder.manifest.write_text(
            folder.manifest.read_text().replace('"contract_version": 1', '"contract_version": 9')
        )
    result = installation.run(job.song, assets=["stems"])
    assert not result.success
    latest = installation.ledger.latest_job(job.song)
    assert latest.state is JobState.FAILED
    assert latest.error.code == ("artifact_newer" if damage == "newer" else "artifact_damaged")
    assert installation.run(job.song).success, "the whole graph mends it"
