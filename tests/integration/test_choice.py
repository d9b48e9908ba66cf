"""Who decides what a song gets: job, user, system, through the graph and from every door."""

import shutil

import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.staged_chunks import StagedChunks
from ironclad_assets.intake.inbox import Inbox
from ironclad_assets.partitions import songs
from ironclad_assets.storage.artifacts import load_artifact
from tests import synth
from tests.integration.conftest import Installation
from tests.integration.hungry import write_hungry


@pytest.fixture
def two(installation: Installation) -> Installation:
    """An installation with the engines `halves` (the default) and `hungry`."""
    write_hungry(installation.folder / "engines")
    return installation


def delivered(installation: Installation) -> list[str]:
    return sorted(
        path.name
        for root in ("output", "output-stems")
        for path in installation.store.library(root).rglob("*")
        if path.is_file()
    )


def staged(installation: Installation, song: str) -> StagedChunks:
    return load_artifact(installation.store.stage("staged_chunks", song), StagedChunks).payload


def test_a_dropped_file_gets_what_its_user_wants_by_default(two: Installation) -> None:
    """SPLIT-005: the user's choice over the system's, when the run begins."""
    folder = two.store.input / "ada"
    folder.mkdir(parents=True)
    synth.write_flac(folder / "drop.flac", synth.noise(2.0, seed=3))
    inbox = Inbox(ledger=two.ledger, store=two.store, settings=two.settings)
    taken = []
    while not taken:
        taken = inbox.collect(budget_s=1.0).taken
    inbox.close()
    job = taken[0].job
    two.ledger.set_user_defaults(
        "ada", JobOptions(engine="hungry", parameters={"quality": 5}, stems=("vocals",), format="wav")
    )
    two.instance.add_dynamic_partitions(songs.name, [job.song])
    assert two.dispatch(job).success
    done = two.ledger.job(job.job_uuid)
    assert done.options.named() == {}
    assert done.resolved is not None
    assert (done.resolved.engine, done.resolved.format, done.resolved.stems) == ("hungry", "wav", ("vocals",))
    assert staged(two, job.song).engine.parameters["quality"] == 5
    assert delivered(two) == ["drop (Instrumental).wav", "drop (Vocals).wav"]
    lines = [line.detail for line in two.ledger.history(job.job_uuid)]
    assert "engine hungry 1.0.0 (user), model large (engine)" in lines


def test_the_jobs_own_wish_wins_and_no_stems_means_none(two: Installation) -> None:
    two.ledger.set_user_defaults("local", JobOptions(engine="hungry", format="wav"))
    job = two.song(engine="halves", stems=())
    assert two.dispatch(job).success
    assert staged(two, job.song).engine.engine == "halves"
    assert delivered(two) == ["song (Instrumental).wav"]


def test_the_residual_is_delivered_beside_the_stems(two: Installation) -> None:
    job = two.song(residual=True)
    assert two.dispatch(job).success
    names = ["song (Instrumental).flac", "song (Other).flac", "song (Residual).flac", "song (Vocals).flac"]
    assert delivered(two) == names


def test_what_a_run_chose_stays_for_the_job_and_a_retry_chooses_anew(two: Installation) -> None:
    job = two.song()
    assert two.dispatch(job).success
    two.ledger.set_user_defaults("local", JobOptions(engine="hungry"))
    assert two.ledger.job(job.job_uuid).resolved is not None
    retried = two.ledger.retry(job.job_uuid, actor="test")
    assert two.dispatch(retried).success
    assert staged(two, job.song).engine.engine == "hungry"


def test_another_parameter_is_another_key(two: Installation) -> None:
    job = two.song(engine="hungry")
    assert two.dispatch(job).success
    before = two.store.stage("stems", job.song).manifest.read_text(encoding="utf-8")
    changed = two.ledger.retry(
        job.job_uuid, actor="test", options=JobOptions(engine="hungry", parameters={"quality": 1})
    )
    assert two.dispatch(changed).success
    assert two.store.stage("stems", job.song).manifest.read_text(encoding="utf-8") != before


def test_stems_can_be_delivered_again_when_their_engine_is_gone(two: Installation) -> None:
    job = two.song(engine="hungry")
    assert two.dispatch(job).success
    shutil.rmtree(two.folder / "engines" / "hungry")
    assert two.run(job.song, assets=["recombined_track", "library_entry"]).success
    assert two.ledger.latest_job(job.song).resolved.engine == "hungry"


def test_an_engine_that_cannot_run_here_is_refused_before_anything_is_staged(two: Installation) -> None:
    manifest = two.folder / "engines" / "hungry" / "engine.toml"
    text = manifest.read_text(encoding="utf-8").replace('"core"', '"own"')
    manifest.write_text(text, encoding="utf-8")
    job = two.song(engine="hungry")
    assert not two.dispatch(job).success
    failed = two.ledger.job(job.job_uuid)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert (failed.error.code, failed.error.stage) == ("engine_unavailable", "staged_chunks")
    assert "pipelinectl engines install hungry" in failed.error.detail
    assert not two.store.stage("staged_chunks", job.song).manifest.exists()
