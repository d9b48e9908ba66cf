"""The scheduled backup: made, read, the oldest removed; off where the settings say so."""

from datetime import datetime

import dagster as dg
import pytest

from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.sensors.backup import back_up, build_backup_schedules, perform_backup
from ironclad_assets.settings import Settings
from ironclad_assets.upkeep.backup.create import backup_folder
from ironclad_assets.upkeep.backup.repository import Repository
from tests.unit.upkeep.installations import Installed, install


@pytest.fixture
def installed(settings):
    made = install(settings)
    made.add_song(1)
    yield made
    made.ledger.close()


def test_job_makes_and_verifies_a_backup_and_keeps_the_newest(installed: Installed):
    """SUPPORT-001."""
    repository = Repository(backup_folder(installed.settings))
    for number in range(2, 6):
        installed.add_song(number)
        result = back_up.execute_in_process(resources={"settings": installed.settings})
        assert result.success
    assert len(repository.ids()) == installed.settings.backup_keep == 3
    newest = repository.manifest(repository.find(None))
    assert newest.songs == 5
    assert [line.action for line in installed.ledger.audit.lines()].count("backup") == 4


def test_originals_in_the_stores_own_backups_take_no_space(installed: Installed):
    perform_backup(installed.settings)
    (original,) = installed.store.archive.glob("*/*")
    assert original.stat().st_nlink == 2


def test_damage_that_is_found_fails_the_job_and_is_mended_by_the_next(installed: Installed, monkeypatch):
    """Every night a seventh of what was there is read; here all of it."""
    monkeypatch.setattr("ironclad_assets.sensors.backup.PARTS", 1)
    monkeypatch.setattr("ironclad_assets.sensors.backup.datetime", FirstDay)
    first = perform_backup(installed.settings)
    repository = Repository(backup_folder(installed.settings))
    files = [repository.object_file(one.name) for one in repository.manifest(first["backup"]).objects]
    file = next(file for file in files if file.stat().st_nlink == 2)  # the original's, which the next backup has too
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.unlink()  # a hard link to the original is not to be touched
    file.write_bytes(content)
    with pytest.raises(IroncladError) as caught:
        perform_backup(installed.settings)
    assert caught.value.code is ErrorCode.BACKUP_DAMAGED
    perform_backup(installed.settings)


class FirstDay(datetime):
    def weekday(self):
        return 0


def test_failure_names_its_code(installed: Installed):
    installed.store.sentinel.unlink()
    result = back_up.execute_in_process(resources={"settings": installed.settings}, raise_on_error=False)
    (failed,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    said = failed.step_failure_data.user_failure_data
    assert "storage_away" in str(said.description)
    assert said.metadata["error_code"].value == "storage_away", "as every other job says it"


def test_schedule_is_on_by_default_and_off_by_setting(settings: Settings):
    (schedule,) = build_backup_schedules(settings)
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.cron_schedule == "30 3 * * *"
    assert build_backup_schedules(settings.model_copy(update={"backup_schedule": ""})) == []
