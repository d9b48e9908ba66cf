"""The scheduled backup: a Dagster job that makes one, reads it, and removes the oldest, and when that is done.

What a backup is and how it is made is `upkeep/`'s. A backup that is being made by hand at the same time is not
disturbed; this one then fails and the next night's is made.
"""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from ironclad_assets.errors import ErrorCode, IroncladError, failure
from ironclad_assets.resources.outcome import dagster_failure
from ironclad_assets.settings import Settings
from ironclad_assets.upkeep.backup.create import (
    BackupWish,
    choose_expired,
    create_backup,
    on_the_same_disk,
    own_backups,
    split_recipients,
)
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.backup.verify import Subset, verify_backup

ACTOR = "schedule"
PARTS = 7
"""Of what lay in the backups already, this part is read every night: all of it in a week."""

PRIORITY = 50
"""Above that of any song, or a long queue would keep the backup waiting for days."""


@dg.op(description="Copy what cannot be made again, read the copy, keep the newest.")
def make_backup(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    """Make, read and prune; every figure is in the run's metadata."""
    try:
        context.add_output_metadata(perform_backup(settings))
    except IroncladError as error:
        raise dagster_failure(error) from error


@dg.job(description="Make a backup, read it, and remove those that are too many.", executor_def=dg.in_process_executor)
def back_up() -> None:
    """Make a backup."""
    make_backup()


def perform_backup(settings: Settings) -> dict[str, Any]:  # any JSON value
    """Make a backup as the settings say, verify it, remove the expired; return figures about it.

    Raises:
        PermanentFailure: `BACKUP_DAMAGED`, where it is not what was written; `BACKUP_INCOMPLETE`, where it is there and
            lacks what could not be read. Older ones are kept then.
        TransientFailure: with `BUSY`.
        StorageUnavailable: the store or the backups' disk is away or full.
    """
    made = create_backup(settings, wish=BackupWish(recipients=split_recipients(settings)), actor=ACTOR)
    repository = Repository(made.folder)
    subset = Subset(datetime.now(UTC).weekday() + 1, PARTS, always=made.added)
    with repository.writing():
        verified = verify_backup(repository, made.manifest.id, subset=subset, mend=True)
    if not verified.whole:
        raise failure(ErrorCode.BACKUP_DAMAGED, f"{made.manifest.id}: {'; '.join(verified.damage[:5])}")
    if made.lacking:
        raise failure(
            ErrorCode.BACKUP_INCOMPLETE,
            f"{made.manifest.id} lacks {len(made.lacking)}: {', '.join(made.lacking[:5])}; {made.warnings[0]}",
        )
    with repository.removing():
        own = own_backups(settings)
        expired = choose_expired(repository, keep=settings.backup_keep, keep_days=None, scheduled=own)
        freed = repository.remove(expired)
    return {
        "backup": made.manifest.id,
        "folder": str(made.folder),
        "songs": made.manifest.songs,
        "size_bytes": made.manifest.size_bytes,
        "copied_bytes": made.copied_bytes,
        "verified_bytes": verified.read_bytes,
        "removed": len(expired),
        "freed_bytes": freed,
        "same_disk": on_the_same_disk(settings, folder=made.folder),
        "warnings": [*made.warnings, *_unreadable(repository)],
    }


def _unreadable(repository: Repository) -> list[str]:
    """Return a line about every backup whose manifest is damaged: it may need any object, so that all of them stay."""
    lines = []
    for backup in repository.ids():
        try:
            repository.manifest(backup)
        except IroncladError as error:
            remedy = f"no space is freed before it is gone: pipelinectl backup remove {backup}"
            lines.append(f"backup {backup}: {error.detail}; {remedy}")
    return lines


def build_backup_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Return the schedule of backups; none where the settings say never."""
    if not settings.backup_schedule:
        return []
    return [
        dg.ScheduleDefinition(
            name="scheduled_backup",
            job=back_up,
            cron_schedule=settings.backup_schedule,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            tags={"dagster/priority": str(PRIORITY)},
            description="Makes a backup; see docs/operations.md.",
        )
    ]
