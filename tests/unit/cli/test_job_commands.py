"""submit, status, retry, cancel: what they do, print and return."""

import json
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from ironclad_assets.cli import follow as follow_module
from ironclad_assets.cli import show
from ironclad_assets.cli.analysis_show import analysis_text
from ironclad_assets.cli.exits import Exit
from ironclad_assets.cli.follow import follow_jobs
from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.contracts.v1.job import STAGES, JobError, JobState
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.song_analysis import Key, SongAnalysis, SourceLoudness, Tempo
from ironclad_assets.intake import upload
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import current_worker
from ironclad_assets.settings import Settings
from tests.unit.cli.conftest import Run, documents

ERROR = JobError(code="not_audio", detail="a \x1b[31mzip", remedy="upload audio", stage="validated_file")


def work_through(ledger: Ledger, job_uuid: str, *, error: JobError | None = None) -> None:
    """Do what a run does, slowly enough to be followed."""
    job = ledger.job(job_uuid)
    ledger.begin_run(job.song, run_id=f"run-{job_uuid}", worker=current_worker(), actor="run")
    for stage in STAGES:
        ledger.start_stage(job_uuid, stage)
        ledger.report_progress(job_uuid, stage=stage, fraction=0.5, message="half \x1b[2J way")
        time.sleep(0.03)
        if error is not None:
            ledger.fail(job_uuid, error, actor="run")
            return
        ledger.finish_stage(job_uuid, stage, seconds=0.03, reused=stage == "song_metadata")
    ledger.complete(job_uuid, actor="run")


def test_a_submitted_file_is_copied_and_queued_for_its_user(run: Run, ledger: Ledger, song: Path) -> None:
    result = run("submit", song, "--user", "ada", "--targets", "vocals, drums", "--format", "mp3")
    assert result.exit_code == 0, result.output
    (job,) = ledger.jobs()
    assert f"queued song.mp3 as job {job.job_uuid}, song {job.song}" in result.stdout
    assert (job.user_id, job.options.targets, job.options.format) == ("ada", ("vocals", "drums"), "mp3")
    assert ledger.history(job.job_uuid)[0].actor.startswith("cli:")
    assert ledger.song(job.song).door == "cli"
    assert song.exists()


def test_submit_prints_json_with_every_field_of_the_job(run: Run, ledger: Ledger, song: Path) -> None:
    result = run("submit", song, "--json")
    document = documents(result)
    assert document["errors"] == []
    assert document["jobs"][0]["job_uuid"] == ledger.jobs()[0].job_uuid
    assert document["jobs"][0]["duplicate"] is False


def test_the_same_file_again_names_the_song_that_is_there(run: Run, ledger: Ledger, song: Path) -> None:
    """DUP-001."""
    run("submit", song)
    result = run("submit", song)
    assert result.exit_code == Exit.REFUSED
    assert f"duplicate: song.mp3 is song {ledger.jobs()[0].song}" in result.stdout
    assert len(ledger.jobs()) == 1


def test_one_bad_file_does_not_stop_the_others(run: Run, ledger: Ledger, song: Path, tmp_path: Path) -> None:
    result = run("submit", tmp_path / "no\x1bthing.mp3", tmp_path, song)
    assert result.exit_code == Exit.REFUSED
    assert len(ledger.jobs()) == 1
    assert "there is no file" in result.stderr
    assert "is a folder" in result.stderr
    assert "\x1b" not in result.output


def test_a_missing_file_alone_is_not_found(run: Run, ledger: Ledger, tmp_path: Path) -> None:
    result = run("submit", tmp_path / "nothing.mp3", "--json")
    assert result.exit_code == Exit.NOT_FOUND
    assert documents(result)["errors"][0]["code"] == "unreadable"


def test_a_name_too_long_for_any_file_does_not_stop_the_others(
    run: Run, ledger: Ledger, song: Path, tmp_path: Path
) -> None:
    result = run("submit", tmp_path / ("x" * 300), song, "--json")
    assert result.exit_code == Exit.REFUSED
    document = documents(result)
    assert [job["job_uuid"] for job in document["jobs"]] == [ledger.jobs()[0].job_uuid]
    (error,) = document["errors"]
    assert error["code"] == "unreadable"
    assert error["detail"].endswith("File name too long")


@pytest.mark.parametrize("name", ["loop.mp3", "song.mp3/inside.mp3", "dangling.mp3"])
def test_a_path_that_leads_to_no_file_is_refused_in_one_line(
    run: Run, ledger: Ledger, song: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "loop.mp3").symlink_to(tmp_path / "loop.mp3")
    (tmp_path / "dangling.mp3").symlink_to(tmp_path / "nowhere.mp3")
    result = run("submit", tmp_path / name)
    assert result.exit_code == (Exit.REFUSED if name == "loop.mp3" else Exit.NOT_FOUND)
    assert result.stderr.startswith("unreadable: ")
    assert "see that it is there" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_link_is_followed_for_it_is_the_users_own_choice(
    run: Run, ledger: Ledger, song: Path, tmp_path: Path
) -> None:
    (tmp_path / "my link.mp3").symlink_to(song)
    assert run("submit", tmp_path / "my link.mp3").exit_code == 0
    assert ledger.jobs()[0].original_name == "my link.mp3"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--engine", "nine"), "unknown_engine"),
        (("--model", "large"), "unknown_model"),
        (("--targets", "guitar"), "unknown_target"),
        (("--targets", ""), "unknown_target"),
        (("--targets", " , "), "unknown_target"),
        (("--format", "aiff"), "unknown_format"),
        (("--format", ""), "unknown_format"),
        (("--engine", ""), "bad_option"),
        (("--user", ""), "bad_user"),
        (("--user", "Not A User"), "bad_user"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_in_one_line(
    run: Run, ledger: Ledger, song: Path, arguments: tuple[str, ...], code: str
) -> None:
    result = run("submit", song, *arguments)
    assert result.exit_code == Exit.REFUSED
    assert result.stderr.startswith(f"{code}: ")
    assert result.stderr.count("\n") == 1
    assert ledger.jobs() == []


def test_an_error_in_json_has_code_detail_and_remedy(run: Run, ledger: Ledger, song: Path) -> None:
    result = run("submit", song, "--engine", "nine", "--json")
    said = json.loads(result.stderr)
    assert set(said["error"]) == {"code", "detail", "remedy"}
    assert len(said["request_id"]) == 32


def test_everything_that_a_command_did_carries_its_one_request_id(run: Run, ledger: Ledger, song: Path) -> None:
    """UIB-003, promise 22: who asked can be followed through every line."""
    (song.parent / "second.mp3").write_bytes(b"another")
    run("submit", song, song.parent / "second.mp3")
    ids = {ledger.history(job.job_uuid)[0].request_id for job in ledger.jobs()}
    assert len(ids) == 1
    assert {job.request_id for job in ledger.jobs()} == ids != {None}
    newest = ledger.jobs()[0]
    ledger.begin_run(newest.song, run_id="r", worker=current_worker(), actor="run")
    ledger.note(newest.job_uuid, actor="run", detail="half the batch")
    assert {line.request_id for line in ledger.history(newest.job_uuid)} == ids, "a run's lines say who asked for it"
    run("cancel", newest.job_uuid)
    assert ledger.history(newest.job_uuid)[-1].request_id not in ids


def test_names_with_escapes_never_reach_the_terminal(run: Run, ledger: Ledger, tmp_path: Path) -> None:
    evil = tmp_path / "a\x1b[31m\nb.mp3"
    evil.write_bytes(b"x")
    shown = run("submit", evil).output
    job_uuid = ledger.jobs()[0].job_uuid
    work_through(ledger, job_uuid, error=ERROR)
    shown += run("status").output + run("status", job_uuid).output + run("status", job_uuid, "--follow").output
    assert "\x1b" not in shown
    assert "a[31m b.mp3" in shown
    assert "not_audio in validated_file: a [31mzip" in shown


def test_status_lists_the_latest_jobs(run: Run, ledger: Ledger, song: Path) -> None:
    run("submit", song)
    job = ledger.jobs()[0]
    result = run("status")
    assert job.job_uuid[:8] in result.stdout
    assert "queued" in result.stdout
    assert documents(run("status", "--json"))["jobs"][0]["job_uuid"] == job.job_uuid
    assert documents(run("status", "--json", "--state", "failed"))["jobs"] == []
    assert documents(run("status", "--json", "--user", "nobody"))["jobs"] == []


def test_a_list_cuts_long_names_and_nothing_else(run: Run, ledger: Ledger, tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"{index}{'long ' * 40}.mp3").write_bytes(bytes([index]))
    run("submit", *tmp_path.glob("*.mp3"))
    failed, running, _ = ledger.jobs()
    work_through(ledger, failed.job_uuid, error=ERROR)
    ledger.begin_run(running.song, run_id="r", worker=current_worker(), actor="run")
    ledger.request_cancel(running.job_uuid, actor="test")
    console = Console(width=80)
    with console.capture() as captured:
        show.print_jobs(console, ledger.jobs())
    drawn = captured.get()
    assert max(len(line) for line in drawn.splitlines()) <= 80
    for job in ledger.jobs():
        assert f"{job.job_uuid[:8]}  {show.state_text(job).plain} " in drawn
    for expected in ("local", "long", "…", "starting 0%", "not_audio: a"):
        assert expected in drawn


def test_status_of_a_job_tells_everything_about_it(run: Run, ledger: Ledger, song: Path) -> None:
    run("submit", song, "--engine", "spectral", "--model", "small")
    job = ledger.jobs()[0]
    work_through(ledger, job.job_uuid)
    for name in (job.job_uuid, job.job_uuid[:8], job.song):
        result = run("status", name)
        assert result.exit_code == 0
        for expected in (
            job.job_uuid,
            job.song,
            "instrumental as flac, spectral small",
            "completed",
            *STAGES,
            "reused",
        ):
            assert expected in result.stdout
    document = documents(run("status", job.song, "--json"))["job"]
    assert [line["to_state"] for line in document["history"]] == ["queued", "running", "completed"]


def test_status_tells_what_the_analysis_found(run: Run, ledger: Ledger, song: Path, monkeypatch) -> None:
    run("submit", song)
    job = ledger.jobs()[0]
    assert "music" not in run("status", job.song).stdout
    assert "analysis" not in documents(run("status", job.song, "--json"))
    found = SongAnalysis(
        duration_s=60.0,
        sources=(SourceLoudness(name="mixture", loudness_lufs=-14.21, true_peak_dbtp=-1.44),),
        tempo=Tempo(bpm=100.02, confidence=0.9),
        key=Key(tonic="A", mode="minor", camelot="8A", confidence=0.7, tuning_cents=0.1),
        beats_s=(0.6, 1.2),
        file=FileRecord(path="analysis.json", size_bytes=1, sha256="0" * 64),
    )
    monkeypatch.setattr("ironclad_assets.cli.one_job.read_analysis", lambda store, song: found)
    assert "100.0 BPM, A minor (8A), -14.2 LUFS, -1.4 dBTP" in run("status", job.song).stdout
    analysis = documents(run("status", job.song, "--json"))["analysis"]
    assert (analysis["tempo"]["bpm"], analysis["key"]["camelot"]) == (100.02, "8A")
    nothing = found.model_copy(
        update={
            "tempo": Tempo(),
            "key": Key(),
            "sources": (SourceLoudness(name="mixture", loudness_lufs=None, true_peak_dbtp=None),),
        }
    )
    assert analysis_text(nothing) == "no beat, no key, silent"


def test_status_of_a_failed_job_gives_reason_and_remedy(run: Run, ledger: Ledger, song: Path) -> None:
    """CAT-003."""
    run("submit", song)
    job = ledger.jobs()[0]
    work_through(ledger, job.job_uuid, error=ERROR)
    result = run("status", job.song)
    assert "not_audio in validated_file" in result.stdout
    assert "upload audio" in result.stdout
    assert "not finished" in result.stdout


def test_status_of_a_running_job_shows_stage_and_percent(run: Run, ledger: Ledger, song: Path) -> None:
    run("submit", song)
    job = ledger.jobs()[0]
    ledger.begin_run(job.song, run_id="r", worker=current_worker(), actor="run")
    assert "starting 0%" in run("status", job.song).stdout
    ledger.report_progress(job.job_uuid, stage="stems", fraction=0.5, message="")
    assert "stems 49%" in run("status", job.song).stdout
    ledger.request_cancel(job.job_uuid, actor="test")
    assert "running (canceling)" in run("status").stdout


@pytest.mark.parametrize("command", ["status", "retry", "cancel"])
def test_an_unknown_job_is_not_found(run: Run, installed: object, command: str) -> None:
    result = run(command, "nothing")
    assert result.exit_code == Exit.NOT_FOUND
    assert result.stderr.startswith("unknown_job: 'nothing'")


@pytest.mark.parametrize(("error", "code"), [(None, Exit.OK), (ERROR, Exit.JOB_FAILED)])
def test_following_ends_with_the_job_and_tells_how(
    run: Run, ledger: Ledger, song: Path, error: JobError | None, code: Exit
) -> None:
    run("submit", song)
    job = ledger.jobs()[0]
    worker = threading.Thread(target=work_through, args=(ledger, job.job_uuid), kwargs={"error": error})
    worker.start()
    result = run("status", job.job_uuid, "--follow", "--json")
    worker.join()
    lines = [json.loads(line)["job"] for line in result.stdout.splitlines()]
    assert result.exit_code == code
    assert lines[-1]["state"] == ("completed" if error is None else "failed")
    assert [line["fraction"] for line in lines] == sorted(line["fraction"] for line in lines)


def test_submit_can_follow_at_once(run: Run, ledger: Ledger, song: Path) -> None:
    def serve() -> None:
        while not (waiting := ledger.dispatchable(limit=1)):
            time.sleep(0.01)
        work_through(ledger, waiting[0].job_uuid)

    worker = threading.Thread(target=serve)
    worker.start()
    result = run("submit", song, "--follow")
    worker.join()
    assert result.exit_code == 0
    assert "song.mp3: completed" in result.stdout


def test_submit_that_follows_in_json_prints_a_document_a_line(
    run: Run, ledger: Ledger, song: Path, tmp_path: Path
) -> None:
    def serve() -> None:
        while not (waiting := ledger.dispatchable(limit=1)):
            time.sleep(0.01)
        work_through(ledger, waiting[0].job_uuid)

    worker = threading.Thread(target=serve)
    worker.start()
    result = run("submit", tmp_path / "nothing.mp3", song, "--follow", "--json")
    worker.join()
    first, second, *rest = [json.loads(line) for line in result.stdout.splitlines()]
    assert (first["error"]["file"], first["error"]["code"]) == ("nothing.mp3", "unreadable")
    assert (second["job"]["state"], second["job"]["duplicate"]) == ("queued", False)
    assert rest[-1]["job"]["state"] == "completed"
    assert result.exit_code == Exit.NOT_FOUND


def test_following_on_a_terminal_draws_a_bar_per_stage(ledger: Ledger, run: Run, song: Path) -> None:
    run("submit", song)
    job_uuid = ledger.jobs()[0].job_uuid
    worker = threading.Thread(target=work_through, args=(ledger, job_uuid), kwargs={"error": ERROR})
    worker.start()
    console = Console(force_terminal=True, width=120, record=True)
    with console.capture() as captured:
        assert follow_jobs(ledger, [job_uuid], as_json=False, console=console) is Exit.JOB_FAILED
    worker.join()
    drawn = captured.get()
    assert "\x1b[2J" not in drawn
    for expected in ("song.mp3", "not_audio", *STAGES):
        assert expected in drawn


def test_a_drawing_shows_done_reused_and_current_stages(ledger: Ledger, run: Run, song: Path) -> None:
    run("submit", song)
    job = ledger.jobs()[0]
    ledger.begin_run(job.song, run_id="r", worker=current_worker(), actor="run")
    ledger.start_stage(job.job_uuid, "validated_file")
    ledger.finish_stage(job.job_uuid, "validated_file", seconds=61.0, reused=False)
    ledger.start_stage(job.job_uuid, "song_metadata")
    ledger.finish_stage(job.job_uuid, "song_metadata", seconds=0.1, reused=True)
    ledger.start_stage(job.job_uuid, "stems")
    ledger.report_progress(job.job_uuid, stage="stems", fraction=0.5, message="window 3")
    console = Console(width=120)
    with console.capture() as captured:
        console.print(follow_module.draw_jobs([ledger.job(job.job_uuid)]))
    drawn = captured.get()
    for expected in ("1:01", "reused", "window 3", "left"):
        assert expected in drawn


def test_interrupting_a_follower_leaves_the_job_alone(
    run: Run, ledger: Ledger, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("submit", song)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(follow_module.time, "sleep", interrupt)
    result = run("status", "--follow")
    assert result.exit_code == Exit.INTERRUPTED
    assert ledger.jobs()[0].state is JobState.QUEUED


@pytest.mark.usefixtures("other_environment")
def test_a_retry_keeps_options_unless_told_otherwise(run: Run, ledger: Ledger, song: Path) -> None:
    """QUEUE-004."""
    run("submit", song, "--targets", "vocals", "--engine", "spectral", "--model", "small")
    first = ledger.jobs()[0]
    assert run("retry", first.song).exit_code == Exit.REFUSED
    run("cancel", first.song)
    second = documents(run("retry", first.song, "--format", "wav", "--json"))["job"]
    assert (second["attempt"], second["options"]["targets"], second["options"]["format"]) == (2, ["vocals"], "wav")
    assert second["options"]["model"] == "small"
    run("cancel", first.song)
    assert "attempt 3" in run("retry", first.song, "--engine", "other").stdout
    third = ledger.jobs()[0]
    assert (third.options.engine, third.options.model, third.options.targets) == ("other", None, ("vocals",))


@pytest.mark.usefixtures("other_environment")
def test_a_retry_keeps_parameters_of_the_same_engine_alone(run: Run, ledger: Ledger, song: Path) -> None:
    run("submit", song)
    job = ledger.jobs()[0]
    ledger.request_cancel(job.job_uuid, actor="test")
    options = JobOptions(engine="spectral", parameters={"sharpness": 2})
    job = ledger.retry(job.job_uuid, actor="test", options=options)
    ledger.request_cancel(job.job_uuid, actor="test")
    run("retry", job.song)
    assert ledger.jobs()[0].options == options
    run("cancel", job.song)
    run("retry", job.song, "--engine", "other")
    assert ledger.jobs()[0].options.parameters == {}


@pytest.mark.parametrize("option", ["--engine", "--model", "--targets", "--format"])
def test_a_retry_does_not_take_an_empty_option_for_the_old_one(
    run: Run, ledger: Ledger, song: Path, option: str
) -> None:
    run("submit", song)
    run("cancel", ledger.jobs()[0].song)
    assert run("retry", ledger.jobs()[0].song, option, "").exit_code == Exit.REFUSED
    assert len(ledger.jobs()) == 1


def test_a_retry_can_be_followed(run: Run, ledger: Ledger, song: Path) -> None:
    run("submit", song)
    run("cancel", ledger.jobs()[0].song)

    def serve() -> None:
        while not (waiting := ledger.dispatchable(limit=1)):
            time.sleep(0.01)
        work_through(ledger, waiting[0].job_uuid)

    worker = threading.Thread(target=serve)
    worker.start()
    result = run("retry", ledger.jobs()[0].song, "--follow", "--json")
    worker.join()
    assert result.exit_code == 0
    assert json.loads(result.stdout.splitlines()[-1])["job"]["state"] == "completed"


def test_a_waiting_job_is_canceled_at_once_and_only_once(run: Run, ledger: Ledger, song: Path) -> None:
    """JOB-002."""
    run("submit", song)
    job = ledger.jobs()[0]
    result = run("cancel", job.job_uuid[:8])
    assert (result.exit_code, result.stdout) == (0, f"job {job.job_uuid} is canceled\n")
    again = run("cancel", job.job_uuid)
    assert again.exit_code == Exit.REFUSED
    assert again.stderr.startswith("illegal_transition: ")


def test_canceling_a_running_job_waits_for_it_to_stop(run: Run, ledger: Ledger, song: Path) -> None:
    """JOB-002."""
    run("submit", song)
    job = ledger.jobs()[0]
    ledger.begin_run(job.song, run_id="r", worker=current_worker(), actor="run")
    result = run("cancel", job.song)
    assert result.exit_code == Exit.JOB_FAILED
    assert "has not stopped yet" in result.stdout
    ledger.canceled(job.job_uuid, actor="run")
    assert ledger.job(job.job_uuid).state is JobState.CANCELED


def test_cancel_prints_json(run: Run, ledger: Ledger, song: Path) -> None:
    run("submit", song)
    assert documents(run("cancel", ledger.jobs()[0].song, "--json"))["job"]["state"] == "canceled"


def test_without_a_ledger_every_command_says_what_to_do(run: Run, home: Path, song: Path) -> None:
    for arguments in (("submit", song), ("status",), ("retry", "x"), ("cancel", "x")):
        result = run(*arguments)
        assert result.exit_code == Exit.UNHEALTHY
        assert "pipelinectl up" in result.stderr
    assert not home.exists()


def test_storage_that_is_away_is_told_by_its_own_code(run: Run, ledger: Ledger, home: Path, song: Path) -> None:
    (home / "pipeline-data" / ".store-id").unlink()
    result = run("submit", song)
    assert result.exit_code == Exit.UNHEALTHY
    assert result.stderr.startswith("storage_away: ")
    assert ledger.jobs() == []


def test_an_unexpected_error_is_one_line(run: Run, ledger: Ledger, song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("what\nnow")

    monkeypatch.setattr(upload, "start_upload", fail)
    result = run("submit", song)
    assert result.exit_code == Exit.UNHEALTHY
    assert result.stderr.startswith("internal: ZeroDivisionError: what now;")
    assert result.stderr.count("\n") == 1


def test_wrong_usage_has_its_own_code(run: Run, installed: object) -> None:
    for arguments in (("submit",), ("status", "--nonsense"), ("nothing",), ("status", "--limit", "0")):
        assert run(*arguments).exit_code == Exit.USAGE


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, ""), (8.25, "8.2 s"), (59.96, "60.0 s"), (187, "3:07"), (3723, "1:02:03")]
)
def test_durations_read_as_people_say_them(seconds: float | None, shown: str) -> None:
    assert show.duration(seconds) == shown


@pytest.mark.parametrize("command", ["status", "queue"])
def test_a_user_who_cannot_be_one_is_named(run: Run, installed: Settings, command: str) -> None:
    done = run(command, "--user", "Not A User")
    assert (done.exit_code, done.stdout) == (Exit.REFUSED, "")
    assert done.stderr.startswith("bad_user: 'Not A User' is no user name; ")
