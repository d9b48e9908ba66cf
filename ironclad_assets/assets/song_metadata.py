"""Room *tag*: title, artist, album and cover, each with the source it came from."""

import base64
from pathlib import Path

import dagster as dg

from ironclad_assets.assets.declaration import StageResult, stage_asset
from ironclad_assets.assets.room import Made, Metadata, empty_folder, open_room
from ironclad_assets.contracts.v1.base import CheckOutcome
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.io_managers.contract_io_manager import Upstream
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.tag import read_metadata
from ironclad_assets.storage.store import Store

CODE_VERSION = "1"
INLINE_COVER_BYTES = 20_000
"""Larger covers are linked by path: an inline picture lives in Dagster's event row."""


@stage_asset(
    "song_metadata",
    room="tag",
    code_version=CODE_VERSION,
    kinds={"python", "json"},
    checks={"title_known": "The song has a title, from its tags or its file name."},
)
def song_metadata(
    context: dg.AssetExecutionContext,
    validated_file: Upstream,
    ledger: dg.ResourceParam[Ledger],
    store: dg.ResourceParam[Store],
) -> StageResult:
    """Tags and cover of the song, read from the file and, where those are missing, from its name."""
    with open_room(context, ledger=ledger, store=store, code_version=CODE_VERSION) as room:
        validated = validated_file.read(ValidatedFile)

        def make(work: Path, key: str) -> Made[SongMetadata]:
            empty_folder(work)
            metadata = read_metadata(validated, store=store, work=work, watch=room.watch)
            title = CheckOutcome(name="title_known", passed=bool(metadata.title), detail=metadata.title)
            return Made(metadata, (title,))

        return room.perform(
            make, contract=SongMetadata, inputs={"validated_file": validated_file.key}, settings={}, describe=describe
        )


def describe(metadata: SongMetadata, folder: Path) -> Metadata:
    """Return tags, their sources and the cover as people want to see them."""
    shown: dict[str, dg.MetadataValue] = {
        "title": dg.MetadataValue.text(metadata.title),
        "artist": dg.MetadataValue.text(metadata.artist or ""),
        "album": dg.MetadataValue.text(metadata.album or ""),
        "tags": dg.MetadataValue.json(metadata.model_dump(mode="json", exclude={"artwork", "lyrics", "warnings"})),
        "warnings": dg.MetadataValue.json(list(metadata.warnings)),
    }
    if metadata.artwork is not None:
        cover = folder / metadata.artwork.file.path
        shown["cover_path"] = dg.MetadataValue.path(cover)
        if metadata.artwork.file.size_bytes <= INLINE_COVER_BYTES:
            picture = base64.b64encode(cover.read_bytes()).decode()
            shown["cover"] = dg.MetadataValue.md(f"![cover](data:{metadata.artwork.media_type};base64,{picture})")
    return shown
