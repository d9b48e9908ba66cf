"""The jobs that look after the store, and when they run: `prune_store` every night, a part of `verify_store` weekly.

They are plain jobs without partitions: dispatch and the reconciler's requeueing know only runs of songs, and a run of
these that dies is reported failed and simply comes again with its schedule. What they do is in `upkeep/`; what only
Dagster can let go of, its own old runs, is in `runs_of_old`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from ironclad_assets.assets.lifeline import follow_supervisor
from ironclad_assets.errors import IroncladError
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.resources.outcome import dagster_failure, describe_failure
from ironclad_assets.sensors.runs_of_old import drop_old_runs
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.prune.guard import Clock, believe
from ironclad_assets.upkeep.prune.plan import DAY_S, Kind, Removal
from ironclad_assets.upkeep.prune.sweep import Sweep, Swept
from ironclad_assets.upkeep.verify.verification import Part, Verification, Verified

UPKEEP_TAG = "ironclad/upkeep"
"""Tag of runs that are about the store; at most one of them runs at a time (`dagster.yaml`)."""

PRUNE_PRIORITY = 50
"""Above that of any song: a long queue is what fills a disk."""

VERIFY_PRIORITY = -20
"""Below that of any song, and of any analysis."""

MOST_ROWS = 200
"""Lines of a plan or of findings that the UI shows."""


class PruneConfig(dg.Config):
    """What a sweep from the launchpad may do. Nothing is confirmed by a schedule."""

    dry_run: bool = False
    confirm: bool = False
    kinds: list[str] = Field(default_factory=lambda: [kind.value for kind in Kind])
    user: str = ""


class VerifyConfig(dg.Config):
    """Which part of the store is read: `number` of `parts`."""

    number: int = 1
    parts: int = 1


@dg.op(ins={"after": dg.In(dg.Nothing)})
def prune_files(
    context: dg.OpExecutionContext,
    config: PruneConfig,
    ledger: dg.ResourceParam[Ledger],
    store: dg.ResourceParam[Store],
    settings: dg.ResourceParam[Settings],
) -> None:
    """Let go of what is not needed any more, or show what would go.

    Fails where something was left for being more than its share of the store; the rest is gone all the same.
    """
    follow_supervisor()
    sweep = Sweep(
        store=store,
        ledger=ledger,
        settings=settings,
        actor=f"run:{context.run.run_id}",
        kinds=frozenset(Kind(kind) for kind in config.kinds),
        user_id=config.user or None,
        confirmed=config.confirm,
    )
    try:
        if config.dry_run:
            with sweep.plan() as (swept, removals):
                shown = [one for _, one in zip(range(MOST_ROWS), removals, strict=False)]
                context.add_output_metadata({**_swept_metadata(swept), "removals": _removal_table(shown)})
            return
        swept = sweep.run()
        removed = {Kind(kind).value: count for kind, count in swept.removed.items()}
        context.log.info(f"event=prune removed={removed}")
        ledger.usage.drop_old_shares()
    except IroncladError as error:
        raise dagster_failure(error) from error
    if swept.refusal is not None:
        metadata = {**describe_failure(swept.refusal), **_swept_metadata(swept)}
        raise dg.Failure(swept.refusal.describe(), metadata=metadata, allow_retries=False)
    context.add_output_metadata(_swept_metadata(swept))


@dg.op
def prune_runs(
    context: dg.OpExecutionContext,
    config: PruneConfig,
    ledger: dg.ResourceParam[Ledger],
    settings: dg.ResourceParam[Settings],
) -> None:
    """Let go of Dagster's own runs that ended long ago, by the clock that files are kept by.

    Where that is doubtful nothing goes; the step that takes files then says why and fails.
    """
    if settings.keep_runs_days is None or config.user or Kind.OLD.value not in config.kinds:
        return
    believed = believe(ledger, settings, clock=Clock())
    if believed.doubt and not config.confirm:
        context.log.warning(f"event=prune_runs left=all reason={believed.doubt!r}")
        return
    before = datetime.fromtimestamp(believed.now - settings.keep_runs_days * DAY_S, tz=UTC)
    dropped = drop_old_runs(context.instance, home=settings.dagster_home, before=before, pretend=config.dry_run)
    context.add_output_metadata({"runs": dg.MetadataValue.int(dropped)})


@dg.op
def verify_files(
    context: dg.OpExecutionContext,
    config: VerifyConfig,
    ledger: dg.ResourceParam[Ledger],
    store: dg.ResourceParam[Store],
    settings: dg.ResourceParam[Settings],
) -> None:
    """Read a part of the store again; fail where something is wrong, so that whoever watches runs hears of it."""
    follow_supervisor()
    part = Part(config.number, config.parts)
    try:
        verified = Verification(store=store, ledger=ledger, settings=settings, part=part).run()
    except IroncladError as error:
        raise dagster_failure(error) from error
    if verified.found:
        raise dg.Failure(
            f"{verified.found} findings; `pipelinectl verify` shows them all",
            metadata=_verified_metadata(verified),
            allow_retries=False,
        )
    context.add_output_metadata(_verified_metadata(verified))


@dg.job(tags={UPKEEP_TAG: "prune", "dagster/priority": str(PRUNE_PRIORITY)}, executor_def=dg.in_process_executor)
def prune_store() -> None:
    """Let go of files and runs that are not needed any more; with `dry_run` only shows what would go."""
    prune_files(after=prune_runs())


@dg.job(tags={UPKEEP_TAG: "verify", "dagster/priority": str(VERIFY_PRIORITY)}, executor_def=dg.in_process_executor)
def verify_store() -> None:
    """Read the store, or a part of it, and compare every byte with manifests, names and the ledger."""
    verify_files()


def build_upkeep_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Return the schedules that the settings ask for; they run as soon as the daemon does."""
    schedules = []
    if settings.prune_cron:
        schedules.append(
            dg.ScheduleDefinition(
                name="nightly_prune",
                job=prune_store,
                cron_schedule=settings.prune_cron,
                default_status=dg.DefaultScheduleStatus.RUNNING,
                description="Lets go of what is not needed any more.",
            )
        )
    if settings.verify_cron:

        @dg.schedule(
            name="weekly_verify",
            job=verify_store,
            cron_schedule=settings.verify_cron,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Reads a part of the store again, each time the next.",
        )
        def weekly_verify(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
            return _part_request(context.scheduled_execution_time, parts=settings.verify_parts)

        schedules.append(weekly_verify)
    return schedules


def _part_request(at: datetime, *, parts: int) -> dg.RunRequest:
    """Return the request for the part whose turn it is: weeks are counted since 1970, so none is left out."""
    week = int(at.astimezone(UTC).timestamp() // (7 * 86_400))
    config = {"number": week % parts + 1, "parts": parts}
    return dg.RunRequest(run_config={"ops": {"verify_files": {"config": config}}})


def _swept_metadata(swept: Swept) -> dict[str, dg.MetadataValue]:
    rows = [
        {
            "kind": kind.value,
            "planned_files": swept.planned[kind],
            "planned_bytes": swept.bytes_planned[kind],
            "removed_files": swept.removed[kind],
            "removed_bytes": swept.bytes_removed[kind],
        }
        for kind in Kind
    ]
    shown: dict[str, dg.MetadataValue] = {
        "kinds": _table(rows),
        "removed_bytes": dg.MetadataValue.int(swept.bytes_removed.total()),
        "store_bytes": dg.MetadataValue.int(swept.store_bytes),
    }
    if swept.skipped:
        shown["left"] = _table([{"reason": why, "things": count} for why, count in Counter(swept.skipped).items()])
    if swept.refusal is not None:
        shown["refusal"] = dg.MetadataValue.text(swept.refusal.describe())
    return shown


def _removal_table(removals: list[Removal]) -> dg.MetadataValue:
    return _table(
        [
            {"kind": one.kind.value, "how": one.how.value, "path": path, "bytes": one.size_bytes, "why": one.why}
            for one in removals
            for path in one.paths
        ]
    )


def _verified_metadata(verified: Verified) -> dict[str, dg.MetadataValue]:
    shown: dict[str, dg.MetadataValue] = {
        "songs": dg.MetadataValue.int(verified.songs),
        "busy": dg.MetadataValue.int(verified.busy),
        "findings": dg.MetadataValue.int(verified.found),
    }
    if verified.findings:
        some = verified.findings[:MOST_ROWS]
        shown["found"] = _table([{"code": one.code, "path": one.path, "detail": one.detail} for one in some])
    return shown


def _table(rows: Sequence[Mapping[str, str | int]]) -> dg.MetadataValue:
    if not rows:
        return dg.MetadataValue.text("none")
    columns = [dg.TableColumn(name, "int" if isinstance(value, int) else "string") for name, value in rows[0].items()]
    return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows], schema=dg.TableSchema(columns))
