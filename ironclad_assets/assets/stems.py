"""Room *separate*: an engine turns the staged mixture into stems, and the stems are proven."""

import base64
from pathlib import Path

import dagster as dg

from ironclad_assets.assets.declaration import StageResult, stage_asset
from ironclad_assets.assets.room import Made, Metadata, open_room
from ironclad_assets.contracts.v1.staged_chunks import StagedChunks
from ironclad_assets.contracts.v1.stems import Stems
from ironclad_assets.io_managers.contract_io_manager import Upstream
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.policy import Policy
from ironclad_assets.pipeline.separate import separate
from ironclad_assets.resources.engines import Engines
from ironclad_assets.resources.pictures import inline_picture
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store

CODE_VERSION = "1"
WAVEFORM_FILE = "waveform.png"


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
        run = engines.runner(
            staged.engine.engine,
            hand_off=store.hand_off(staged.engine.engine, room.job.song),
            log_path=store.path("logs") / "engines" / f"{room.job.job_uuid}.log",
            duration_s=staged.mixture.duration_s,
            watch=room.watch,
        )

        def make(work: Path, key: str) -> Made[Stems]:
            separation = separate(
                staged,
                staged_folder=staged_chunks.folder,
                run=run,
                entry=engines.find(staged.engine.engine).manifest.entry,
                work=work,
                key=key,
                job_uuid=room.job.job_uuid,
                song=room.job.song,
                threads=settings.engine_threads,
                limits=Policy.from_settings(settings).media_limits(
                    duration_s=staged.mixture.duration_s * (1 + len(staged.engine.stems))
                ),
                watch=room.watch,
            )
            (work / WAVEFORM_FILE).write_bytes(base64.b64decode(separation.waveform_png_base64))
            speed = separation.compute_s / staged.mixture.duration_s
            measured = {
                "real_time_factor": dg.MetadataValue.float(round(speed, 4)),
                "computed_chunks": dg.MetadataValue.int(separation.computed_chunks),
                "resumed_chunks": dg.MetadataValue.int(separation.resumed_chunks),
            }
            return Made(separation.stems, separation.checks, measured)

        return room.perform(
            make, contract=Stems, inputs={"staged_chunks": staged_chunks.key}, settings={}, describe=describe
        )


def describe(stems: Stems, folder: Path) -> Metadata:
    """Return the waveform with the stems laid over it, levels, residual and engine."""
    shown: dict[str, dg.MetadataValue] = {
        "engine": dg.MetadataValue.text(f"{stems.engine.engine} {stems.engine.version}"),
        "model": dg.MetadataValue.text(stems.engine.model),
        "device": dg.MetadataValue.text(stems.device),
        "levels": _levels_table(stems),
        "path": dg.MetadataValue.path(folder),
    }
    if stems.residual_db is not None:
        shown["residual_db"] = dg.MetadataValue.float(round(stems.residual_db, 2))
    if stems.mixture_levels.loudness_lufs is not None:
        shown["mixture_lufs"] = dg.MetadataValue.float(round(stems.mixture_levels.loudness_lufs, 2))
    if (folder / WAVEFORM_FILE).exists():
        shown["waveform"] = inline_picture(folder / WAVEFORM_FILE, alt="mixture and stems over time")
    return shown


def _levels_table(stems: Stems) -> dg.TableMetadataValue:
    records = [
        dg.TableRecord(
            {
                "stem": stem.name,
                "loudness_lufs": _shown(stem.levels.loudness_lufs),
                "true_peak_dbtp": _shown(stem.levels.true_peak_dbtp),
                "seconds": f"{stem.audio.duration_s:.2f}",
            }
        )
        for stem in stems.stems
    ]
    columns = [dg.TableColumn(name, "string") for name in ("stem", "loudness_lufs", "true_peak_dbtp", "seconds")]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def _shown(value: float | None) -> str:
    return "silent" if value is None else f"{value:.1f}"
