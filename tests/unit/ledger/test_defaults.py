"""What users want by default, and what a job's run made of it."""

from sqlalchemy import text

from ironclad_assets.contracts.v1.formats import OutputFormat
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.ledger import schema
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import current_worker
from tests.unit.ledger.conftest import add_song, make_song


def test_defaults_are_kept_per_user_with_only_what_was_set(ledger: Ledger) -> None:
    """SPLIT-005."""
    wish = JobOptions(engine="demucs", stems=())
    ledger.set_user_defaults("ada", wish)
    ledger.set_user_defaults("bob", JobOptions(format="mp3"))
    assert ledger.user_defaults("ada").named() == {"engine": "demucs", "stems": []}
    assert ledger.user_defaults("eve").named() == {}
    assert ledger.user_defaults("bob").named() == {"format": "mp3"}


def test_setting_defaults_replaces_and_naming_nothing_removes(ledger: Ledger) -> None:
    ledger.set_user_defaults("ada", JobOptions(engine="demucs"))
    ledger.set_user_defaults("ada", JobOptions(format="wav"))
    assert ledger.user_defaults("ada").named() == {"format": "wav"}
    ledger.set_user_defaults("ada", JobOptions())
    assert ledger.user_defaults("ada").named() == {}


def test_a_job_keeps_which_options_were_named(ledger: Ledger) -> None:
    """Else every default of the contract would look like a wish and hide the user's."""
    job = ledger.register(make_song(), JobOptions(engine="demucs"), actor="test").job
    assert job.options.named() == {"engine": "demucs"}
    assert job.options.format is OutputFormat.FLAC


def test_what_a_run_chose_is_written_once_into_job_and_history(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    ledger.begin_run("s1", run_id="r", worker=current_worker(), actor="run:r")
    assert ledger.job(job_uuid).resolved is None
    chosen = JobOptions(engine="demucs", format="mp3")
    assert ledger.resolve_job(job_uuid, chosen, actor="run:r", detail="engine demucs").resolved == chosen
    again = ledger.resolve_job(job_uuid, JobOptions(engine="spectral"), actor="run:r", detail="engine spectral")
    assert again.resolved == chosen
    assert [line.detail for line in ledger.history(job_uuid)][-1] == "engine demucs"
    assert again.options.named() == {}


def test_a_new_attempt_of_a_crashed_job_keeps_what_was_chosen_and_a_retry_does_not(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    ledger.begin_run("s1", run_id="r", worker=current_worker(), actor="run:r")
    ledger.resolve_job(job_uuid, JobOptions(engine="demucs"), actor="run:r", detail="")
    assert ledger.requeue_crashed(job_uuid, actor="test").resolved is not None
    ledger.request_cancel(job_uuid, actor="test")
    assert ledger.retry(job_uuid, actor="test").resolved is None


def test_a_note_changes_nothing_but_the_history(ledger: Ledger) -> None:
    job_uuid = add_song(ledger)
    ledger.begin_run("s1", run_id="r", worker=current_worker(), actor="run:r")
    before = ledger.job(job_uuid)
    ledger.note(job_uuid, actor="run:r", detail="half precision from here")
    assert ledger.job(job_uuid) == before
    assert ledger.history(job_uuid)[-1].detail == "half precision from here"


def test_a_ledger_of_the_first_schema_keeps_its_jobs_up_and_down(url: str) -> None:
    """QUEUE-001: old rows name every option; they go on to mean what they said."""
    database = Database(url)
    schema.migrate(database, to="0001")
    with database.write() as connection:
        song = "'s1', 'ada', 'abc', 'a.mp3', 1, 'a', '2026', 'test'"
        connection.execute(text(f"INSERT INTO songs VALUES ({song})"))
        columns = "job_uuid, song, user_id, trace_id, attempt, state, options, created_at, updated_at"
        options = JobOptions(format="wav").model_dump_json()
        times = "'2026-01-01T00:00:00.000000+00:00', '2026-01-01T00:00:00.000000+00:00'"
        row = f"'j1', 's1', 'ada', 't', 1, 'completed', :options, {times}"
        insert = text(f"INSERT INTO jobs ({columns}) VALUES ({row})")
        connection.execute(insert, {"options": options})
    schema.migrate(database)
    ledger = Ledger(url)
    job = ledger.job("j1")
    assert (job.options.format, job.resolved) == (OutputFormat.WAV, None)
    ledger.set_user_defaults("ada", JobOptions(engine="demucs"))
    ledger.close()
    schema.migrate(database, to="0001")
    with database.read() as connection:
        assert connection.execute(text("SELECT job_uuid FROM jobs")).scalar() == "j1"
    schema.migrate(database)
    schema.check_schema(database)
    database.close()
