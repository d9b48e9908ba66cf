"""The doors that the Dagster UI opens, through the requests that it sends: launch, backfill, re-execute, terminate.

Whichever door a run comes through, the song's options apply and its job is true.
"""

import contextlib

import pytest

from ironclad_assets.contracts.v1.job import STAGES, Job, JobState
from ironclad_assets.errors import PermanentFailure
from tests.e2e.conftest import MakeSystem
from tests.e2e.running import RunningSystem, say

pytestmark = pytest.mark.slow

CANCELED_WITHIN_S = 10.0
SELECTOR = {"repositoryName": "__repository__", "repositoryLocationName": "ironclad"}
JOB_SELECTOR = {**SELECTOR, "pipelineName": "process_song"}

LAUNCH = """mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
REEXECUTE = """mutation($p: ReexecutionParams!) { launchPipelineReexecution(reexecutionParams: $p) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
BACKFILL = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename
    ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
TERMINATE = """mutation($r: String!, $p: TerminateRunPolicy) { terminateRun(runId: $r, terminatePolicy: $p) { __typename
    ... on TerminateRunFailure { message } ... on PythonError { message } } }"""
CHECKS = """query($k: [AssetKeyInput!]) { assetNodes(assetKeys: $k) {
    assetChecksOrError { ... on AssetChecks { checks { name } } } } }"""
STATUS = """query($r: ID!) { runOrError(runId: $r) { ... on Run { status tags { key value } } } }"""
BACKFILL_RUNS = """query($b: String!) { partitionBackfillOrError(backfillId: $b) {
    ... on PartitionBackfill { status runs(limit: 10) { runId status } } } }"""


@pytest.fixture(scope="module")
def system(make_system: MakeSystem) -> RunningSystem:
    system = make_system()
    system.start()
    return system


@pytest.fixture(scope="module")
def songs(system: RunningSystem) -> list[Job]:
    """Two songs that went through, as WAV: an option that a run must find in the ledger."""
    jobs = [system.submit(f"Door {number}", "--format", "wav") for number in range(2)]
    for job in jobs:
        system.await_job_completed(job, timeout_s=120.0)
    return jobs


def status(system: RunningSystem, run_id: str) -> str:
    return system.ask(STATUS, r=run_id)["runOrError"]["status"]


def await_success(system: RunningSystem, run_id: str) -> None:
    ended = {"SUCCESS", "FAILURE", "CANCELED"}
    system.await_true(lambda: status(system, run_id) in ended, timeout_s=120.0, what=f"run {run_id} ends")
    assert status(system, run_id) == "SUCCESS", system.story()


def launched(answer: dict[str, dict[str, object]]) -> str:
    (result,) = answer.values()
    assert result["__typename"] == "LaunchRunSuccess", result
    run = result["run"]
    assert isinstance(run, dict)
    return str(run["runId"])


def newest(system: RunningSystem, before: Job) -> Job:
    latest = system.ledger.latest_job(before.song)
    assert latest is not None
    return latest


def test_materialize_of_one_stage_makes_a_job_with_the_songs_options(system, songs):
    """The button "Materialize" on an asset: one stage, one partition."""
    asset = {"path": ["recombined_track"]}
    (node,) = system.ask(CHECKS, k=[asset])["assetNodes"]
    checks = [{"assetKey": asset, "name": check["name"]} for check in node["assetChecksOrError"]["checks"]]
    selected = {"assetSelection": [asset], "assetCheckSelection": checks}
    params = {
        "selector": {**SELECTOR, "pipelineName": "__ASSET_JOB", **selected},
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": songs[0].song}]},
        "mode": "default",
    }
    run_id = launched(system.ask(LAUNCH, p=params))
    await_success(system, run_id)
    made = newest(system, songs[0])
    assert (made.state, made.run_id, made.options) == (JobState.COMPLETED, run_id, songs[0].options)
    assert [timing.stage for timing in made.stages] == ["recombined_track"]


def test_launch_of_the_whole_job_reuses_equal_work_and_changes_no_file(system, songs):
    before = system.library()
    tags = [{"key": "dagster/partition", "value": songs[0].song}]
    run_id = launched(
        system.ask(LAUNCH, p={"selector": JOB_SELECTOR, "executionMetadata": {"tags": tags}, "mode": "default"})
    )
    await_success(system, run_id)
    made = newest(system, songs[0])
    assert (made.state, made.options.format) == (JobState.COMPLETED, "wav")
    assert [timing.stage for timing in made.stages] == list(STAGES)
    assert all(timing.reused for timing in made.stages)
    assert system.library() == before


@pytest.mark.long
def test_backfill_gives_every_song_a_job_of_its_own(system, songs):
    params = {
        "assetSelection": [{"path": [stage]} for stage in STAGES],
        "partitionNames": [job.song for job in songs],
        "fromFailure": False,
    }
    answer = system.ask(BACKFILL, p=params)["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    earlier = {job.song: newest(system, job).job_uuid for job in songs}

    def ended() -> bool:
        backfill = system.ask(BACKFILL_RUNS, b=answer["backfillId"])["partitionBackfillOrError"]
        return len(backfill["runs"]) == 2 and all(run["status"] == "SUCCESS" for run in backfill["runs"])

    system.await_true(ended, timeout_s=120.0, what="the backfill ends")
    for job in songs:
        made = newest(system, job)
        assert made.job_uuid != earlier[job.song]
        assert (made.state, made.options) == (JobState.COMPLETED, songs[0].options)


@pytest.mark.long
def test_re_execution_takes_the_songs_options_of_now(system, songs):
    """Options are read by song, so those of a later retry hold, not those of the run that is repeated."""
    first = system.ledger.job(songs[1].job_uuid)
    retried = system.run_command("retry", first.job_uuid, "--format", "mp3")
    assert retried.returncode == 0, retried.stdout + retried.stderr
    system.await_job_completed(newest(system, first), timeout_s=120.0)
    run_id = launched(system.ask(REEXECUTE, p={"parentRunId": first.run_id, "strategy": "ALL_STEPS"}))
    await_success(system, run_id)
    made = newest(system, first)
    assert (made.state, made.run_id, made.options.format) == (JobState.COMPLETED, run_id, "mp3")
    assert {path.rsplit(".", 1)[1] for path in system.library() if "Door 1" in path} == {"mp3"}


@pytest.mark.parametrize("policy", ["SAFE_TERMINATE", "MARK_AS_CANCELED_IMMEDIATELY"])
def test_terminated_run_cancels_its_job_and_ends_its_children(system, policy):
    job = system.submit(f"Terminated {policy}", seconds=30.0)
    system.await_true(lambda: system.pids("grandchild"), timeout_s=90.0, what="the engine works")
    run_id = system.ledger.job(job.job_uuid).run_id
    answer = system.ask(TERMINATE, r=run_id, p=policy)["terminateRun"]
    assert answer["__typename"] == "TerminateRunSuccess", answer
    took = system.await_true(
        lambda: system.ledger.job(job.job_uuid).state is JobState.CANCELED and not system.pids("grandchild"),
        timeout_s=30.0,
        what="the job is canceled and its engine gone",
    )
    say(f"{policy}: canceled after {took:.1f} s")
    assert took <= CANCELED_WITHIN_S
    assert system.pids("engine worker") == []
    system.await_true(lambda: status(system, run_id) == "CANCELED", timeout_s=30.0, what="Dagster says so too")
    assert not [path for path in system.library() if "Terminated" in path]


@pytest.mark.long
def test_run_terminated_while_it_waits_in_the_queue_cancels_its_job(system):
    jobs = [system.submit(f"Queue {number}", seconds=15.0) for number in range(3)]
    query = """{ runsOrError(filter: {statuses: [QUEUED]}) { ... on Runs { results { runId tags { key value } } } } }"""

    def waiting() -> list[dict[str, object]]:
        return [
            run
            for run in system.ask(query)["runsOrError"]["results"]
            if {"key": "ironclad/job_uuid", "value": jobs[2].job_uuid} in run["tags"]
        ]

    system.await_true(waiting, timeout_s=60.0, what="the third song's run waits")
    answer = system.ask(TERMINATE, r=waiting()[0]["runId"], p="SAFE_TERMINATE")["terminateRun"]
    assert answer["__typename"] == "TerminateRunSuccess", answer
    took = system.await_true(
        lambda: system.ledger.job(jobs[2].job_uuid).state is JobState.CANCELED, timeout_s=30.0, what="canceled"
    )
    say(f"canceled in the queue after {took:.1f} s")
    for job in jobs[:2]:
        with contextlib.suppress(PermanentFailure):  # it may have completed by now
            system.ledger.request_cancel(job.job_uuid, actor="test")
    system.await_true(
        lambda: not any(system.ledger.job(job.job_uuid).state.active for job in jobs), timeout_s=30.0, what="all ended"
    )
