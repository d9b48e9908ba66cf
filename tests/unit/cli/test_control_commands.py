"""pause, resume, pauses, queue, priority, replay, rollback, retry --all-failed, audit, history."""

import json

import pytest

from ironclad_assets.cli.exits import Exit
from ironclad_assets.contracts.v1.job import JobError, JobState
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.ledger.pauses import PauseKind
from ironclad_assets.ledger.retries import RetryPolicy
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import current_worker
from tests.unit.cli.conftest import Run, documents
from tests.unit.ledger.conftest import add_song

FAILED = JobError(code="engine_failed", detail="upside down", remedy="retry", stage="stems")


def complete(ledger: Ledger, job_uuid: str, *, engine: str = "spectral") -> None:
    """Run a job to its end with the options of `engine`."""
    job = ledger.job(job_uuid)
    ledger.begin_run(job.song, run_id=f"run-{job_uuid}", worker=current_worker(), actor="run", job_uuid=job_uuid)
    ledger.resolve_job(job_uuid, job.options.model_copy(update={"engine": engine}), actor="run", detail="")
    ledger.start_stage(job_uuid, "stems")
    ledger.finish_stage(job_uuid, "stems", seconds=1.0, reused=False)
    ledger.complete(job_uuid, actor="run")


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        ((), "everything"),
        (("--all",), "everything"),
        (("--stage", "stems"), "stage stems"),
        (("--engine", "other"), "engine other"),
        (("--user", "ada"), "user ada"),
    ],
)
def test_what_is_paused_is_shown_everywhere_until_it_is_resumed(
    run: Run, ledger: Ledger, arguments: tuple[str, ...], title: str
) -> None:
    """QUEUE-003, promise 22."""
    assert f"{title} is paused" in run("pause", *arguments, "--reason", "new \x1b[2Jdriver").stdout
    assert f"{title} was paused already" in run("pause", *arguments, "--reason", "new driver").stdout
    for command in ("pauses", "queue", "status", "health"):
        shown = " ".join(run(command).stdout.split())
        assert f"paused: {title} since" in shown, command
        assert "new driver" in shown, command
        assert "\x1b" not in shown, command
    assert documents(run("pauses", "--json"))["pauses"][0]["reason"] == "new driver"
    assert len(documents(run("queue", "--json"))["pauses"]) == len(documents(run("status", "--json"))["pauses"]) == 1
    assert f"{title} goes on" in run("resume", *arguments).stdout
    assert f"{title} was not paused" in run("resume", *arguments).stdout
    assert run("pauses").stdout == "nothing is paused\n"
    lines = ledger.audit.lines()
    assert [(line.action, line.object) for line in lines] == [("pause", title), ("pause", title), ("resume", title)]
    assert len({line.request_id for line in lines} - {None}) == 3


@pytest.mark.parametrize("command", ["pause", "resume"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--stage", "stem"), "staged_chunks, stems"),
        (("--engine", "nine"), "other, spectral"),
        (("--user", "Not A User"), "bad_user"),
        (("--user", ""), "bad_user"),
        (("--all", "--user", "ada"), "choose one"),
        (("--stage", "stems", "--engine", "other"), "choose one"),
    ],
)
def test_names_that_do_not_exist_are_refused_with_those_that_do(
    run: Run, ledger: Ledger, command: str, arguments: tuple[str, ...], said: str
) -> None:
    result = run(command, *arguments)
    assert result.exit_code == Exit.REFUSED
    assert said in result.stderr
    assert ledger.pauses.all() == []


def test_a_paused_engine_that_is_gone_can_be_resumed(run: Run, ledger: Ledger) -> None:
    ledger.pauses.set(PauseKind.ENGINE, "removed", actor="test")
    assert run("resume", "--engine", "removed").exit_code == 0
    assert ledger.pauses.all() == []


def test_queue_shows_places_priorities_lengths_and_why_a_job_waits(
    run: Run, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RetryPolicy, "draw_wait_s", lambda self, failures: 300.0)
    first, second, third = (add_song(ledger, number) for number in (1, 2, 3))
    other = add_song(ledger, 4, user_id="bob")
    assert run("priority", third, "7").exit_code == 0
    ledger.pauses.set(PauseKind.USER, "bob", actor="test")
    ledger.attempts.later(second, FAILED, actor="test")
    document = documents(run("queue", "--json"))
    assert [(one["position"], one["job"]["job_uuid"], one["wait"]) for one in document["queue"]] == [
        (1, third, "turn"),
        (2, first, "turn"),
        (3, second, "later"),
        (4, other, "paused"),
    ]
    assert document["waiting"] == 4
    assert document["queue"][2]["not_before"]
    assert document["queue"][0]["seconds_of_audio"] > 0
    mine = documents(run("queue", "--json", "--user", "bob"))["queue"]
    assert [(one["position"], one["wait"]) for one in mine] == [(4, "paused")]
    text = run("queue", "--limit", "3").stdout
    assert "waits until" in text
    assert "engine_failed: upside down" in " ".join(text.split())
    assert "4 jobs wait in all" in text


@pytest.mark.parametrize("number", ["101", "-101"])
def test_priorities_have_bounds(run: Run, ledger: Ledger, song, number: str) -> None:
    job_uuid = add_song(ledger)
    for command in (("priority", job_uuid, "--", number), ("submit", song, "--priority", number)):
        result = run(*command)
        assert (result.exit_code, "-100..100" in result.stderr) == (Exit.REFUSED, True)
    assert [job.priority for job in ledger.jobs()] == [0]


def test_a_priority_can_be_given_with_the_song_and_changed_only_while_it_waits(run: Run, ledger: Ledger, song) -> None:
    assert run("submit", song, "--priority", "-5").exit_code == 0
    (job,) = ledger.jobs()
    assert job.priority == -5
    ledger.hold(job.job_uuid, FAILED, actor="test")
    assert run("priority", job.job_uuid, "5").exit_code == 0
    assert "priority" in run("status", job.job_uuid).stdout
    run("cancel", job.job_uuid)
    assert "does not wait" in run("priority", job.job_uuid, "6").stderr
    assert [line.detail for line in ledger.history(job.job_uuid) if "priority" in line.detail] == [
        "priority -5 became 5"
    ]


def test_replay_makes_a_new_attempt_from_a_stage_on(run: Run, ledger: Ledger) -> None:
    """QUEUE-004."""
    first = add_song(ledger)
    complete(ledger, first)
    assert "is not one of validated_file" in run("replay", first, "--from", "stem").stderr
    assert run("replay", first, "--from", "stems").exit_code == 0
    again = ledger.latest_job("s1")
    assert again is not None
    assert (again.replay_from, again.attempt, again.options) == ("stems", 2, ledger.job(first).options)
    assert "made anew" in run("status", again.job_uuid).stdout
    assert run("replay", first, "--from", "stems").exit_code == Exit.REFUSED


def test_rollback_of_one_song_takes_the_options_of_the_completed_job_before(
    run: Run, ledger: Ledger, other_environment
) -> None:
    """QUEUE-003."""
    first = add_song(ledger)
    assert "no job of song s1 has completed" in run("rollback", first).stderr.replace("\n", " ")
    complete(ledger, first, engine="spectral")
    assert "no other job has completed" in run("rollback", "s1").stderr
    second = ledger.retry(first, actor="test", options=JobOptions(engine="other")).job_uuid
    complete(ledger, second, engine="other")
    assert "would go back to job " + first[:8] in run("rollback", "s1", "--dry-run").stdout
    assert run("rollback", "s1").exit_code == 0
    back = ledger.latest_job("s1")
    assert back is not None
    assert (back.attempt, back.options.engine) == (3, "spectral")
    assert ledger.history(back.job_uuid)[0].detail == f"rollback from job {second} to job {first}"


def test_rollback_of_many_goes_back_to_what_had_completed_before_and_lists_the_rest(
    run: Run, ledger: Ledger, other_environment
) -> None:
    """QUEUE-003: a release or an engine that spoilt songs is taken back."""
    olds = [add_song(ledger, number) for number in (1, 2, 3)]
    for job_uuid in olds:
        complete(ledger, job_uuid)
    since = ledger.job(olds[-1]).updated_at
    for job_uuid in olds[:2]:
        complete(
            ledger, ledger.retry(job_uuid, actor="test", options=JobOptions(engine="other")).job_uuid, engine="other"
        )
    new = add_song(ledger, 4)
    complete(ledger, new, engine="other")
    wish = ("rollback", "--engine", "other", "--since", since)
    dry = documents(run(*wish, "--dry-run", "--json"))["rollback"]
    assert {one["song"]: one["earlier_job"] for one in dry} == {"s1": olds[0], "s2": olds[1], "s4": None}
    assert ledger.count_by_state()[JobState.QUEUED] == 0
    done = documents(run(*wish, "--json"))
    assert [job["song"] for job in done["jobs"]] == ["s1", "s2"]
    assert {job["options"]["engine"] for job in done["jobs"]} == {"spectral"}
    assert [(one["song"], one["left_alone"]) for one in done["left_alone"]] == [("s4", "nothing had completed before")]
    again = documents(run(*wish, "--json"))
    assert (again["jobs"], {one["left_alone"] for one in again["left_alone"]}) == (
        [],
        {"has an active job", "nothing had completed before"},
    )
    assert ledger.audit.latest(limit=1)[0].action == "rollback"


@pytest.mark.parametrize(
    "arguments",
    [(), ("--all",), ("s1", "--all", "--since", "2h"), ("--all", "--since", "soon"), ("s1", "--since", "2h")],
)
def test_a_rollback_that_does_not_say_of_what_is_refused(run: Run, ledger: Ledger, arguments: tuple[str, ...]) -> None:
    result = run("rollback", *arguments)
    assert (result.exit_code, "bad_option" in result.stderr) == (Exit.REFUSED, True)


def test_all_that_failed_can_be_retried_at_once(run: Run, ledger: Ledger) -> None:
    """QUEUE-004."""
    ids = [add_song(ledger, number) for number in (1, 2, 3, 4)]
    ledger.fail(ids[0], FAILED, actor="run")
    ledger.fail(ids[1], FAILED.model_copy(update={"code": "damaged"}), actor="run")
    ledger.fail(ids[2], FAILED, actor="run")
    complete(ledger, ledger.retry(ids[2], actor="test").job_uuid)
    assert run("retry", "--all-failed", "--code", "nonsense").exit_code == Exit.REFUSED
    assert run("retry", ids[0], "--all-failed").exit_code == Exit.REFUSED
    assert run("retry").exit_code == Exit.REFUSED
    assert "queued 1 of 1" in run("retry", "--all-failed", "--code", "engine_failed").stdout
    assert [job["song"] for job in documents(run("retry", "--all-failed", "--json"))["jobs"]] == ["s2"]
    assert documents(run("retry", "--all-failed", "--json"))["jobs"] == []
    assert {job.song: job.state for job in ledger.jobs(limit=4)}["s1"] is JobState.QUEUED


def test_audit_and_history_tell_who_did_what(run: Run, ledger: Ledger) -> None:
    """Promise 22."""
    first = add_song(ledger)
    run("pause", "--user", "ada")
    run("cancel", first)
    second = ledger.retry(first, actor="test")
    (line,) = documents(run("audit", "--json"))["audit"]
    assert (line["action"], line["object"], line["actor"].startswith("cli:")) == ("pause", "user ada", True)
    assert "user ada" in run("audit").stdout
    lines = documents(run("history", "s1", "--json"))["history"]
    assert [one["job_uuid"] for one in lines] == [first, first, second.job_uuid]
    assert len(json.loads(run("history", first, "--json").stdout)["history"]) == 2
    assert "canceled" in run("history", first).stdout
    assert run("history", "nothing").exit_code == Exit.NOT_FOUND


def test_status_pages_back_through_the_jobs(run: Run, ledger: Ledger) -> None:
    ids = [add_song(ledger, number) for number in range(1, 6)]
    page = documents(run("status", "--limit", "2", "--json"))["jobs"]
    older = documents(run("status", "--limit", "2", "--before", page[-1]["job_uuid"], "--json"))["jobs"]
    assert [job["job_uuid"] for job in page + older] == ids[:0:-1]
