"""Room *stage*: the song decoded once, its chunk plan, and the engine that will separate it."""

from pathlib import Path

import dagster as dg

from ironclad_assets.assets.declaration import StageResult, stage_asset
from ironclad_assets.assets.quota import reserved
from ironclad_assets.assets.room import Made, Metadata, empty_folder, open_room
from ironclad_assets.contracts.v1.base import CheckOutcome
from ironclad_assets.contracts.v1.staged_chunks import StagedChunks
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.io_managers.contract_io_manager import Upstream
from ironclad_assets.ledger.reservations import Reservation
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.policy import Policy
from ironclad_assets.pipeline.stage import stage_song, staged_bytes
from ironclad_assets.resources.choice import settle_choice
from ironclad_assets.resources.engines import Engines
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store

CODE_VERSION = "1"


@stage_asset(
    "staged_chunks",
    room="stage",
    code_version=CODE_VERSION,
    kinds={"python", "numpy"},
    checks={
        "staged_whole": "As many frames were staged as were decoded when the file was validated.",
        "quota_kept": "What the user stores, the staged audio included, is within the quota.",
    },
    deps=["song_metadata"],
)
def staged_chunks(
    context: dg.AssetExecutionContext,
    validated_file: Upstream,
    ledger: dg.ResourceParam[Ledger],
    store: dg.ResourceParam[Store],
    engines: dg.ResourceParam[Engines],
    settings: dg.ResourceParam[Settings],
) -> StageResult:
    """The song as raw float32 at the engine's rate, with the plan of chunks and whole-song statistics."""
    with open_room(context, ledger=ledger, store=store, code_version=CODE_VERSION) as room:
        validated = validated_file.read(ValidatedFile)
        chosen = settle_choice(room.job, ledger=ledger, engines=engines)
        engines.require_ready(chosen.engine)
        size_bytes = sum(staged_bytes(validated.audio, model=chosen.model))
        duration_s = validated.audio.duration_s
        ledger.admission.measure(room.job.song, duration_s=duration_s, job_uuid=room.job.job_uuid)

        def make(work: Path, key: str) -> Made[StagedChunks]:
            empty_folder(work)
            with reserved(room, size_bytes=size_bytes) as reservation:
                staged = stage_song(
                    validated,
                    choice=chosen.engine,
                    model=chosen.model,
                    store=store,
                    work=work,
                    watch=room.watch,
                    policy=Policy.from_settings(settings),
                )
            return Made(staged, (_check_whole(staged, validated), _check_quota(reservation)))

        return room.perform(
            make,
            contract=StagedChunks,
            inputs={"validated_file": validated_file.key},
            settings={
                "engine": chosen.engine.model_dump(mode="json"),
                "model": {"sample_rate_hz": chosen.model.sample_rate_hz, "channels": chosen.model.channels},
            },
            describe=describe,
        )


def describe(staged: StagedChunks, folder: Path) -> Metadata:
    """Return engine, model, parameters, lengths and plan."""
    return {
        "engine": dg.MetadataValue.text(f"{staged.engine.engine} {staged.engine.version}"),
        "model": dg.MetadataValue.text(staged.engine.model),
        "parameters": dg.MetadataValue.json(staged.engine.parameters),
        "stems": dg.MetadataValue.json(list(staged.engine.stems)),
        "staged_rate_hz": dg.MetadataValue.int(staged.mixture.sample_rate_hz),
        "staged_frames": dg.MetadataValue.int(staged.mixture.frames),
        "chunks": dg.MetadataValue.int(len(staged.chunks)),
        "path": dg.MetadataValue.path(folder / staged.mixture.path),
        "warnings": dg.MetadataValue.json(list(staged.warnings)),
    }


def _check_quota(reservation: Reservation) -> CheckOutcome:
    """Return what the user stores, the staged audio included; beyond the quota nothing is staged."""
    used, quota = reservation.used_bytes, reservation.quota_bytes
    detail = f"{used / 1e9:.3f} GB used" if quota is None else f"{used / 1e9:.3f} GB of {quota / 1e9:.3f} GB used"
    values: dict[str, float | int | str | bool] = {"used_bytes": used}
    return CheckOutcome(
        name="quota_kept",
        passed=True,
        detail=detail,
        values=values if quota is None else {**values, "quota_bytes": quota},
    )


def _check_whole(staged: StagedChunks, validated: ValidatedFile) -> CheckOutcome:
    got, want = staged.source_format.frames, validated.audio.frames
    return CheckOutcome(
        name="staged_whole",
        passed=got == want,
        detail=f"{got} of {want} frames",
        values={"frames": got, "wanted": want},
    )
