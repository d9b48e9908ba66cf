"""Limits, terms and the account of what is stored, through the whole graph."""

import pytest

from ironclad_assets.contracts.v1.job import STAGES, JobState
from ironclad_assets.contracts.v1.limits import LimitScope
from ironclad_assets.contracts.v1.options import JobOptions


def test_staged_audio_beyond_the_quota_fails_its_song_before_it_is_written(installation):
    """SPLIT-021: quotas are enforced at staging too; a breach is refused with a clear error, and nothing is lost."""
    job = installation.song()
    used = installation.ledger.usage.of(job.user_id).stored_bytes
    installation.ledger.limits.set(LimitScope.USER, job.user_id, "stored_bytes", used + 100_000, actor="test")
    assert not installation.dispatch(job).success
    failed = installation.ledger.job(job.job_uuid)
    assert (failed.state, failed.error.code, failed.error.stage) == (JobState.FAILED, "quota_exceeded", "staged_chunks")
    assert f"of {used + 100_000}; " in failed.error.detail
    assert not list(installation.store.root.glob("stages/staged_chunks/**/mixture.f32"))
    assert "staged_chunks" not in installation.ledger.usage.stored(job.song)
    installation.ledger.limits.clear(LimitScope.USER, job.user_id, actor="test")
    assert installation.dispatch(installation.ledger.retry(job.job_uuid, actor="test")).success


MORE = JobOptions(targets=("instrumental", "vocals", "other"), format="wav", original=True)


def set_quota(installation, job, size_bytes):
    installation.ledger.limits.set(LimitScope.USER, job.user_id, "stored_bytes", size_bytes, actor="test")


def library_files(installation):
    folders = (installation.store.library(root) for root in ("output", "output-stems"))
    return {path: path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()}


def assert_refused(installation, job, *, stage):
    """The job failed for the quota at `stage`, and neither what the stage has nor the library changed."""
    stored, filed = installation.ledger.usage.stored(job.song).get(stage), library_files(installation)
    assert not installation.dispatch(job).success
    failed = installation.ledger.job(job.job_uuid)
    assert (failed.state, failed.error.code, failed.error.stage) == (JobState.FAILED, "quota_exceeded", stage)
    assert f"more for {stage} do not fit" in failed.error.detail
    assert installation.ledger.usage.stored(job.song).get(stage) == stored
    assert library_files(installation) == filed
    assert not [path for path in installation.store.root.glob("stages/*/*/.*/**/*") if path.is_file()]


def test_who_is_over_the_quota_gets_nothing_more_by_retrying_what_is_staged_already(installation):
    """ORG-003: staging is reused for a day; that is no way around the quota."""
    job = installation.song(format="opus")
    assert installation.dispatch(job).success
    set_quota(installation, job, installation.ledger.usage.of(job.user_id).stored_bytes // 2)
    assert_refused(installation, installation.ledger.retry(job.job_uuid, actor="test", options=MORE), stage=STAGES[4])


def test_who_is_over_the_quota_may_make_a_song_smaller(installation):
    """ORG-003: a retry that stores less than there is now is how a user gets below the quota again."""
    job = installation.song(format="wav")
    assert installation.dispatch(job).success
    used = installation.ledger.usage.of(job.user_id).stored_bytes
    set_quota(installation, job, used // 2)
    again = installation.ledger.retry(job.job_uuid, actor="test", options=JobOptions(format="opus"))
    assert installation.dispatch(again).success
    assert installation.ledger.usage.of(job.user_id).stored_bytes < used


@pytest.mark.parametrize("stage", ["stems", "recombined_track", "library_entry"])
def test_no_stage_writes_beyond_the_quota(installation, stage):
    """ORG-003: what fits when it is staged, and no longer later, is refused before it is kept."""
    first = installation.song(format="opus")
    assert installation.dispatch(first).success
    used = installation.ledger.usage.of(first.user_id).stored_bytes
    stored = installation.ledger.usage.stored(first.song)
    if stage == "stems":
        job = installation.song("second.flac", seed=1, format="opus")
        set_quota(installation, job, used + stored["original"] + stored["staged_chunks"] + stored["stems"] // 2)
        assert not installation.dispatch(job).success
        job = installation.ledger.retry(job.job_uuid, actor="test")
    else:
        job = installation.ledger.retry(first.job_uuid, actor="test", options=MORE)
        wav = 5 * stored["staged_chunks"]
        set_quota(installation, job, used + (1000 if stage == "recombined_track" else wav))
    assert_refused(installation, job, stage=stage)
    installation.ledger.limits.clear(LimitScope.USER, job.user_id, actor="test")
    assert installation.dispatch(installation.ledger.retry(job.job_uuid, actor="test")).success


def test_a_result_that_replaces_its_equal_is_not_counted_as_if_both_were_kept(installation):
    job = installation.song()
    assert installation.dispatch(job).success
    used = installation.ledger.usage.of(job.user_id).stored_bytes
    set_quota(installation, job, used)
    again = installation.ledger.retry(job.job_uuid, actor="test", replay_from="staged_chunks")
    assert installation.dispatch(again).success
    assert not any(timing.reused for timing in installation.ledger.job(again.job_uuid).stages[2:])
    set_quota(installation, job, used // 2)
    for path in library_files(installation):
        path.unlink()
    assert installation.run(job.song, assets=["library_entry"]).success, "it adds nothing"
    assert installation.ledger.usage.of(job.user_id).stored_bytes == used


def test_what_a_song_stores_is_what_lies_on_disk(installation):
    """ORG-003: bytes stored are those of the original and of the files of every stage, the library included."""
    job = installation.song()
    assert installation.dispatch(job).success
    store = installation.store
    on_disk = {}
    for stage in STAGES:
        files = [path for path in store.stage(stage, job.song).path.glob("*/**/*") if path.is_file()]
        on_disk[stage] = sum(path.stat().st_size for path in files)
    for root in ("output", "output-stems"):
        songs = [path for path in store.library(root).rglob("*.*") if path.is_file()]
        on_disk["library_entry"] += sum(path.stat().st_size for path in songs)
    on_disk["original"] = sum(path.stat().st_size for path in store.archive.rglob("*") if path.is_file())
    assert installation.ledger.usage.stored(job.song) == on_disk
    assert installation.ledger.usage.of(job.user_id).stored_bytes == sum(on_disk.values())
    assert installation.ledger.song(job.song).duration_s == pytest.approx(1.5)


def test_song_beyond_the_minutes_of_a_day_fails_with_the_time_to_try_again(installation):
    """GLOBAL-001: minutes of audio are counted as decoded, whatever the size of the file suggested."""
    first, second = installation.song("first.flac"), installation.song("second.flac", seed=1)
    assert installation.dispatch(first).success
    minutes = installation.ledger.song(first.song).duration_s / 60
    name = "audio_minutes_per_day"
    installation.ledger.limits.set(LimitScope.USER, first.user_id, name, 1.5 * minutes, actor="test")
    assert not installation.dispatch(second).success
    failed = installation.ledger.job(second.job_uuid)
    assert (failed.state, failed.error.code) == (JobState.FAILED, "daily_limit")
    assert "try again in" in failed.error.detail
    assert installation.ledger.usage.of(first.user_id).audio_minutes_per_day == pytest.approx(minutes)


def test_song_waits_for_terms_that_are_newer_than_its_job(installation):
    """EULA-001: nothing is worked on before its uploader accepted the current terms; then it goes on by itself."""
    job = installation.song()
    installation.settings = installation.settings.model_copy(update={"terms_version": "2026-11"})
    assert not installation.dispatch(job).success
    held = installation.ledger.job(job.job_uuid)
    assert (held.state, held.error.code) == (JobState.HELD, "terms_required")
    assert not list(installation.store.root.glob("stages/*/*/manifest.json"))
    installation.ledger.terms.accept(job.user_id, "2026-11", actor="test")
    assert installation.dispatch(installation.ledger.release(job.job_uuid, actor="test")).success
