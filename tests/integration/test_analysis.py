"""The analysis beside the graph: after the song, never in its way, and never its failure."""

import json
import shutil

import dagster as dg
import pytest

from ironclad_assets.contracts.v1.job import STAGES, JobState
from ironclad_assets.contracts.v1.song_analysis import AnalysisDocument
from ironclad_assets.engine_host.locks import hold_lock
from ironclad_assets.errors import TransientFailure
from ironclad_assets.pipeline import analyse as room
from ironclad_assets.pipeline.analyse import read_analysis
from ironclad_assets.sensors.analysis import MOST_TRIES, AnalysisRequests, Cursor
from ironclad_assets.storage.artifacts import read_manifest
from tests import synth
from tests.analysing import share_compiled
from tests.integration.conftest import Installation


@pytest.fixture(autouse=True)
def compiled(installation: Installation) -> None:
    """Keep what librosa compiles, which takes most of a minute, from test to test and run to run."""
    share_compiled(installation.settings)


def analyse(installation: Installation, song: str, **tags: str) -> dg.ExecuteInProcessResult:
    """Run the analysis as the sensor requests it."""
    return installation.definitions.resolve_job_def("analyse_song").execute_in_process(
        partition_key=song, instance=installation.instance, raise_on_error=False, tags=tags
    )


def complete(installation: Installation, name: str = "song.flac", *, seconds: float = 6.0):
    """Take a song with chords and a beat to the library."""
    path = synth.write_flac(installation.folder / name, synth.music(seconds, seed=len(name)))
    job = installation.submit(path)
    assert installation.dispatch(job).success
    return installation.ledger.job(job.job_uuid)


def tick(installation: Installation, cursor: str | None = None):
    requests = AnalysisRequests(ledger=installation.ledger, store=installation.store, settings=installation.settings)
    with dg.build_sensor_context(instance=installation.instance, cursor=cursor) as context:
        return requests.tick(context)


def test_a_song_is_complete_before_it_is_analysed_and_the_ledger_hears_nothing_of_it(installation) -> None:
    job = complete(installation)
    assert job.state is JobState.COMPLETED
    assert not installation.store.stage("song_analysis", job.song).manifest.exists()
    library = {path: path.read_bytes() for path in installation.store.root.glob("output*/**/*.flac")}

    result = analyse(installation, job.song)

    assert result.success
    checks = result.get_asset_check_evaluations()
    assert {check.check_name for check in checks} == {
        "contract_valid", "numbers_are_finite", "beats_increase_inside_song", "envelopes_cover_song",
    }  # fmt: skip
    assert all(check.passed and check.partition == job.song for check in checks)
    after = installation.ledger.job(job.job_uuid)
    assert after == job
    assert [timing.stage for timing in after.stages] == list(STAGES)
    assert {path: path.read_bytes() for path in installation.store.root.glob("output*/**/*.flac")} == library
    folder = installation.store.stage("song_analysis", job.song)
    document = AnalysisDocument.model_validate_json(
        (folder.path / read_manifest(folder).folder / "analysis.json").read_bytes()
    )
    assert document.key.tonic == "A"
    assert [source.name for source in document.sources] == ["mixture", "vocals", "other"]
    found = read_analysis(installation.store, job.song)
    assert found is not None
    assert found.sources[0].loudness_lufs is not None


def test_equal_work_is_found_again(installation) -> None:
    job = complete(installation)
    metadata = []
    for _ in range(2):
        result = analyse(installation, job.song)
        assert result.success
        metadata.append(result.get_asset_materialization_events()[0].materialization.metadata)
    assert [one["reused"].value for one in metadata] == [False, True]


def test_the_stages_run_without_it_and_it_comes_last_when_everything_is_materialized(installation) -> None:
    assert not installation.definitions.resolve_job_def("process_song").graph.has_node_named("song_analysis")
    path = synth.write_flac(installation.folder / "all.flac", synth.music(2.0))
    job = installation.submit(path)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("songs", [job.song])
        graph = installation.definitions.resolve_implicit_global_asset_job_def()
        result = graph.execute_in_process(partition_key=job.song, instance=instance, raise_on_error=False)
    assert result.success
    order = [event.asset_key.path[-1] for event in result.get_asset_materialization_events()]
    assert order == [*STAGES, "song_analysis"]
    assert installation.ledger.job(job.job_uuid).state is JobState.COMPLETED


def test_a_failed_analysis_leaves_the_song_complete(installation) -> None:
    job = complete(installation)
    stems = installation.store.stage("stems", job.song)
    next(stems.path.glob("*/*.f32")).write_bytes(b"cut")
    result = analyse(installation, job.song)
    assert not result.success
    assert installation.ledger.job(job.job_uuid) == job
    assert installation.ledger.latest_job(job.song).job_uuid == job.job_uuid


def test_a_song_that_is_worked_on_again_is_not_analysed_meanwhile(installation) -> None:
    job = complete(installation)
    installation.ledger.retry(job.job_uuid, actor="test")
    result = analyse(installation, job.song)
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert failure.step_failure_data.user_failure_data.metadata["error_code"].value == "job_active"
    assert isinstance(tick(installation), dg.SkipReason)


@pytest.mark.long
def test_the_sensor_asks_for_one_song_after_the_other_and_forgets_none(installation) -> None:
    first, second = complete(installation, "one.flac"), complete(installation, "other.flac")
    asked = tick(installation)
    assert [request.partition_key for request in asked.run_requests] == [first.song]
    assert asked.run_requests[0].tags["dagster/priority"] == "-10"
    assert analyse(installation, first.song, **{"dagster/run_key": asked.run_requests[0].run_key}).success
    following = tick(installation, asked.cursor)
    assert [request.partition_key for request in following.run_requests] == [second.song]
    assert analyse(installation, second.song, **{"dagster/run_key": following.run_requests[0].run_key}).success
    last = tick(installation, following.cursor)
    assert not last.run_requests
    assert not tick(installation, last.cursor).run_requests
    assert not tick(installation).run_requests  # a lost cursor asks for nothing twice


def test_a_run_that_dies_is_asked_for_again_and_not_for_ever(installation) -> None:
    job = complete(installation)
    asked, keys = tick(installation), []
    while asked.run_requests:
        (request,) = asked.run_requests
        keys.append(request.run_key)
        run = installation.instance.create_run_for_job(
            installation.definitions.resolve_job_def("analyse_song"),
            tags={"dagster/run_key": request.run_key},
            status=dg.DagsterRunStatus.STARTED,
        )
        assert isinstance(tick(installation, asked.cursor), dg.SkipReason)
        installation.instance.report_run_failed(run, "the process of the run is gone")
        asked = tick(installation, asked.cursor)
    assert keys == [f"analysis:{job.job_uuid}:{number}" for number in range(1, MOST_TRIES + 1)]


def test_what_cannot_succeed_is_not_asked_for_again(installation) -> None:
    job = complete(installation)
    asked = tick(installation)
    next(installation.store.stage("stems", job.song).path.glob("*/*.f32")).write_bytes(b"cut")
    assert not analyse(installation, job.song, **{"dagster/run_key": asked.run_requests[0].run_key}).success
    assert not tick(installation, asked.cursor).run_requests


def test_songs_without_artifacts_or_without_partition_are_passed_over(installation) -> None:
    gone, deleted = (
        complete(installation, "gone.flac", seconds=2.0),
        complete(installation, "deleted.flac", seconds=2.0),
    )
    shutil.rmtree(installation.store.stage("stems", gone.song).path)
    installation.instance.delete_dynamic_partition("songs", deleted.song)
    result = tick(installation)
    assert not result.run_requests
    assert Cursor.model_validate_json(result.cursor).line > 0


@pytest.mark.parametrize("why", ["switched off", "librosa"])
def test_nothing_is_asked_for_where_it_is_switched_off_or_not_installed(installation, monkeypatch, why) -> None:
    complete(installation, seconds=2.0)
    if why == "librosa":
        monkeypatch.setattr(room, "_PACKAGE", "librosa-that-nobody-installed")
    else:
        installation.settings = installation.settings.model_copy(update={"analyse": False})
    skipped = tick(installation)
    assert isinstance(skipped, dg.SkipReason)
    assert why in skipped.skip_message


@pytest.mark.long
def test_the_document_is_the_same_for_the_same_song(installation) -> None:
    job = complete(installation)
    documents = []
    for _ in range(2):
        assert analyse(installation, job.song).success
        folder = installation.store.stage("song_analysis", job.song)
        path = folder.path / read_manifest(folder).folder / "analysis.json"
        documents.append(path.read_bytes())
        shutil.rmtree(folder.path)
    assert documents[0] == documents[1]
    assert job.job_uuid not in documents[0].decode()
    assert json.loads(documents[0])["contract_version"] == 1


@pytest.mark.long
def test_two_analyses_of_one_song_do_not_disturb_each_other(installation) -> None:
    job = complete(installation, seconds=2.0)
    lock = installation.store.stage("song_analysis", job.song).path / ".lock"
    with hold_lock(lock, busy=TransientFailure("held by nobody else")):
        result = analyse(installation, job.song)
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert failure.step_failure_data.user_failure_data.metadata["error_code"].value == "busy"
    assert analyse(installation, job.song).success
