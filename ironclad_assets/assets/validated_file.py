"""Room *validate*: the original is decoded to its end and found good, or refused with a published code."""

from pathlib import Path

import dagster as dg

from ironclad_assets.assets.declaration import StageResult, stage_asset
from ironclad_assets.assets.room import Made, Metadata, empty_folder, open_room
from ironclad_assets.contracts.v1.base import CheckOutcome
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.policy import Policy
from ironclad_assets.pipeline.validate import validate_file
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store

CODE_VERSION = "1"
LEAST_SHARE = 0.9
"""Decoded frames over those that the header promises; below it a file is cut off."""


@stage_asset(
    "validated_file",
    room="validate",
    code_version=CODE_VERSION,
    kinds={"python", "file"},
    checks={"decoded_as_promised": "As many samples were decoded as the file's header promises, all finite."},
)
def validated_file(
    context: dg.AssetExecutionContext,
    ledger: dg.ResourceParam[Ledger],
    store: dg.ResourceParam[Store],
    settings: dg.ResourceParam[Settings],
) -> StageResult:
    """The uploaded file, decoded to its end in a sandbox: type by content, limits, samples counted and finite."""
    policy = Policy.from_settings(settings)
    with open_room(context, ledger=ledger, store=store, code_version=CODE_VERSION) as room:

        def make(work: Path, key: str) -> Made[ValidatedFile]:
            empty_folder(work)
            validated = validate_file(room.song, store=store, policy=policy, watch=room.watch)
            return Made(validated, (_check_decoded(validated),))

        return room.perform(
            make,
            contract=ValidatedFile,
            inputs={"original": room.song.sha256},
            settings={"name": room.song.original_name, "policy": policy.as_json()},
            describe=describe,
        )


def describe(validated: ValidatedFile, folder: Path) -> Metadata:
    """Return what people look at: type, rate, channels, length."""
    return {
        "codec": dg.MetadataValue.text(validated.codec),
        "container": dg.MetadataValue.text(validated.container),
        "duration_s": dg.MetadataValue.float(validated.audio.duration_s),
        "sample_rate_hz": dg.MetadataValue.int(validated.audio.sample_rate_hz),
        "channels": dg.MetadataValue.int(validated.audio.channels),
        "frames": dg.MetadataValue.int(validated.audio.frames),
        "size_bytes": dg.MetadataValue.int(validated.size_bytes),
        "silent": dg.MetadataValue.bool(validated.silent),
        "sha256": dg.MetadataValue.text(validated.sha256),
        "warnings": dg.MetadataValue.json(list(validated.warnings)),
    }


def _check_decoded(validated: ValidatedFile) -> CheckOutcome:
    decoded, promised = validated.audio.frames, validated.header_frames
    share = decoded / promised if promised else 1.0
    return CheckOutcome(
        name="decoded_as_promised",
        passed=decoded > 0 and share >= LEAST_SHARE,
        detail=f"{decoded} frames decoded, {promised if promised is not None else 'no number'} promised",
        values={"decoded_frames": decoded, "decoded_share": round(share, 6)},
    )
