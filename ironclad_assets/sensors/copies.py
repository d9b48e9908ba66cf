"""The job that keeps local copies small where the store lasts in an object store, and its schedule.

Every hour copies go that exceed their limit; once a day also what killed publications left in the bucket. What may go
is decided in `upkeep/copies.py` and `storage/housekeeping.py`.
"""

import dagster as dg

from ironclad_assets.assets.lifeline import follow_supervisor
from ironclad_assets.errors import IroncladError
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.resources.outcome import dagster_failure
from ironclad_assets.sensors.upkeep import UPKEEP_TAG
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.copies import evict_copies, remove_old_leftovers

LEFTOVERS_AT_HOUR = 4


class CopiesConfig(dg.Config):
    """Whether what killed publications left in the bucket is looked for too."""

    leftovers: bool = False


@dg.op
def evict_local_copies(
    context: dg.OpExecutionContext,
    config: CopiesConfig,
    ledger: dg.ResourceParam[Ledger],
    store: dg.ResourceParam[Store],
    settings: dg.ResourceParam[Settings],
) -> None:
    """Let go of local copies beyond their limit."""
    follow_supervisor()
    try:
        shown: dict[str, dg.IntMetadataValue] = {}
        if settings.object_store_cache_bytes is not None:
            done = evict_copies(store, ledger=ledger, limit_bytes=settings.object_store_cache_bytes)
            shown |= {
                "copies": dg.MetadataValue.int(done.copies),
                "freed_bytes": dg.MetadataValue.int(done.freed_bytes),
                "kept_bytes": dg.MetadataValue.int(done.kept_bytes),
            }
        removed = remove_old_leftovers(store, ledger=ledger, settings=settings) if config.leftovers else 0
        shown["leftover_bytes"] = dg.MetadataValue.int(removed)
    except IroncladError as error:
        raise dagster_failure(error) from error
    context.add_output_metadata(shown)


@dg.job(tags={UPKEEP_TAG: "copies"}, executor_def=dg.in_process_executor)
def tidy_copies() -> None:
    """Let go of local copies that the bucket has, beyond their limit, and of what was left over in the bucket."""
    evict_local_copies()


def build_copy_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Return the schedule of `tidy_copies`; none where the store lasts in its root."""
    if settings.object_store_url is None:
        return []

    @dg.schedule(
        name="hourly_copies",
        job=tidy_copies,
        cron_schedule=f"10 {'*' if settings.object_store_cache_bytes else LEFTOVERS_AT_HOUR} * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Lets go of local copies beyond their limit; once a day also of leftovers in the bucket.",
    )
    def hourly_copies(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        at = context.scheduled_execution_time
        config = {"ops": {"evict_local_copies": {"config": {"leftovers": at.hour == LEFTOVERS_AT_HOUR}}}}
        return dg.RunRequest(run_key=f"copies:{at.isoformat()}", run_config=config)

    return [hourly_copies]
