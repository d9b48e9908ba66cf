"""Room *separate*: an engine turns the staged mixture into stems, and the stems are proven."""

import base64
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from ironclad_assets.assets.declaration import StageResult, stage_asset
from ironclad_assets.assets.gate import refuse_paused
from ironclad_assets.assets.quota import reserved
from ironclad_assets.assets.room import Made, Metadata, Room, open_room
from ironclad_assets.contracts.v1.engine import EngineResult
from ironclad_assets.contracts.v1.staged_chunks import StagedChunks
from ironclad_assets.contracts.v1.stems import Rung, Stems
from ironclad_assets.engine_host.registry import device_kind
from ironclad_assets.io_managers.contract_io_manager import Upstream
from ironclad_assets.ledger.pauses import PauseKind
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.policy import Policy
from ironclad_assets.pipeline.separate import Conditions, separate, stems_bytes
from ironclad_assets.resources.engines import Engines
from ironclad_assets.resources.pictures import inline_picture
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store

CODE_VERSION = "1"
WAVEFORM_FILE = "waveform.png"
SHORT_HASH = 12
"""Characters of a hash that people are shown."""


@stage_asset(
    "stems",
    room="separate",
    code_version=CODE_VERSION,
    kinds={"python", "numpy"},
    checks={
        "stems_are_finite": "No stem holds NaN or infinite samples.",
        "stems_are_as_long_as_the_mixture": "Each stem has as many frames as the mixture.",
        "stems_are_not_silent": "Where the mixture sounds, not every stem is silent.",
        "stems_differ": "No two sounding stems are the same.",
        "stems_sum_to_mixture": "The stems sum back to the mixture; the residual is recorded in dB.",
    },
    advisory=frozenset({"stems_sum_to_mixture"}),
    pool="separation",
)
def stems(
    context: dg.AssetExecutionContext,
    staged_chunks: Upstream,
    ledger: dg.ResourceParam[Ledger],
    store: dg.ResourceParam[Store],
    engines: dg.ResourceParam[Engines],
    settings: dg.ResourceParam[Settings],
) -> StageResult:
    """The separated sources, float32 at the engine's rate, made by the engine's own worker process."""
    with open_room(context, ledger=ledger, store=store, code_version=CODE_VERSION) as room:
        staged = staged_chunks.read(StagedChunks)
        options = room.job.resolved or room.job.options
        conditions = engines.conditions(staged.engine)

        run = engines.runner(
            staged.engine.engine,
            hand_off=store.hand_off(staged.engine.engine, room.job.song),
            log_path=store.path("logs") / "engines" / f"{room.job.job_uuid}.log",
            duration_s=staged.mixture.duration_s,
            watch=room.watch,
            allow_smaller_model=options.allow_smaller_model,
            tell=partial(_tell_rung, room=room),
            context=context,
        )

        def make(work: Path, key: str) -> Made[Stems]:
            refuse_paused(ledger, PauseKind.ENGINE, staged.engine.engine)
            with reserved(room, size_bytes=stems_bytes(staged)):
                separation = separate(
                    staged,
                    staged_folder=staged_chunks.folder,
                    run=run,
                    conditions=conditions,
                    work=work,
                    key=key,
                    job_uuid=room.job.job_uuid,
                    song=room.job.song,
                    limits=Policy.from_settings(settings).media_limits(
                        duration_s=staged.mixture.duration_s * (1 + len(staged.engine.stems))
                    ),
                    watch=room.watch,
                )
                (work / WAVEFORM_FILE).write_bytes(base64.b64decode(separation.waveform_png_base64))
            return Made(separation.stems, separation.checks, _measured(separation.result, staged=staged))

        return room.perform(
            make,
            contract=Stems,
            inputs={"staged_chunks": staged_chunks.key},
            settings=_settings_key(conditions),
            describe=describe,
            is_current=lambda stored: not _may_do_better(stored, memory_bytes=settings.engine_memory_bytes),
        )


def _tell_rung(rung: Rung, text: str, *, room: Room) -> None:
    """Say in log and history that the work goes on with less memory."""
    job = room.job
    room.context.log.warning(
        f"event=ladder song={job.song} job_uuid={job.job_uuid} action={rung.action} value={rung.value!r} "
        f"reason={rung.reason!r}"
    )
    room.ledger.note(job.job_uuid, actor=f"run:{room.context.run.run_id}", detail=text)


def _may_do_better(stems: Stems, *, memory_bytes: int) -> bool:
    """Return whether memory was too short for what was asked for, and there is more of it now."""
    return stems.memory_bytes is not None and memory_bytes > stems.memory_bytes


def _settings_key(conditions: Conditions) -> dict[str, Any]:  # any JSON value
    """Return what the stems depend on beside the staged song.

    Threads and kind of device decide in which order numbers are added, so they may change the last bits. The
    batch does not count: work goes on under another.
    """
    return {
        "device": device_kind(conditions.device),
        "threads": conditions.threads,
        "weights": {file.name: file.sha256 for file in conditions.model_files},
    }


def _measured(result: EngineResult, *, staged: StagedChunks) -> Metadata:
    """Return what the work cost this time."""
    return {
        "real_time_factor": dg.MetadataValue.float(round(result.compute_s / staged.mixture.duration_s, 4)),
        "computed_chunks": dg.MetadataValue.int(result.computed_chunks),
        "resumed_chunks": dg.MetadataValue.int(result.resumed_chunks),
        "load_s": dg.MetadataValue.float(round(result.load_s, 3)),
        "warm": dg.MetadataValue.bool(result.warm),
    }


def describe(stems: Stems, folder: Path) -> Metadata:
    """Return the waveform with the stems laid over it, levels, residual, and what made them."""
    shown: dict[str, dg.MetadataValue] = {
        "engine": dg.MetadataValue.text(f"{stems.engine.engine} {stems.engine.version}"),
        "model": dg.MetadataValue.text(stems.engine.model),
        "parameters": dg.MetadataValue.json(stems.engine.parameters),
        "device": dg.MetadataValue.text(f"{stems.device}, {stems.precision} precision, threads: {stems.threads}"),
        "levels": _levels_table(stems),
        "path": dg.MetadataValue.path(folder),
    }
    if stems.weights:
        shown["weights"] = _table([{"file": file.name, "sha256": file.sha256[:SHORT_HASH]} for file in stems.weights])
    if stems.rungs:
        shown["rungs"] = _table(
            [{"smaller": rung.action, "value": rung.value, "reason": rung.reason} for rung in stems.rungs]
        )
    if stems.residual_db is not None:
        shown["residual_db"] = dg.MetadataValue.float(round(stems.residual_db, 2))
    if stems.mixture_levels.loudness_lufs is not None:
        shown["mixture_lufs"] = dg.MetadataValue.float(round(stems.mixture_levels.loudness_lufs, 2))
    if (folder / WAVEFORM_FILE).exists():
        shown["waveform"] = inline_picture(folder / WAVEFORM_FILE, alt="mixture and stems over time")
    return shown


def _levels_table(stems: Stems) -> dg.TableMetadataValue:
    return _table(
        [
            {
                "stem": stem.name,
                "loudness_lufs": _shown(stem.levels.loudness_lufs),
                "true_peak_dbtp": _shown(stem.levels.true_peak_dbtp),
                "seconds": f"{stem.audio.duration_s:.2f}",
            }
            for stem in stems.stems
        ]
    )


def _table(rows: Sequence[Mapping[str, str]]) -> dg.TableMetadataValue:
    columns = [dg.TableColumn(name, "string") for name in rows[0]]
    records = [dg.TableRecord(dict(row)) for row in rows]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def _shown(value: float | None) -> str:
    return "silent" if value is None else f"{value:.1f}"
