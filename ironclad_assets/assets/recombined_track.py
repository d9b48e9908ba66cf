"""Room *recombine*: what the user asked for, mixed from the stems, encoded and tagged."""

from pathlib import Path
from typing import Any

import dagster as dg

from ironclad_assets.assets.declaration import StageResult, stage_asset
from ironclad_assets.assets.quota import reserved
from ironclad_assets.assets.room import Made, Metadata, empty_folder, open_room
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.contracts.v1.staged_chunks import StagedChunks
from ironclad_assets.contracts.v1.stems import Stems
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.io_managers.contract_io_manager import Upstream
from ironclad_assets.ledger.admission import LimitReached
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.recombine import check_tracks, recombine
from ironclad_assets.resources.choice import settle_output
from ironclad_assets.resources.engines import Engines
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store

CODE_VERSION = "3"


@stage_asset(
    "recombined_track",
    room="recombine",
    code_version=CODE_VERSION,
    kinds={"python", "file"},
    checks={
        "tracks_match_source": "Every track has the source's sample rate and length, to the sample.",
        "tags_embedded": "Every track carries its tags, read back from the file.",
        "art_embedded": "Every track carries the cover where the song has one.",
    },
    advisory=frozenset({"tags_embedded", "art_embedded"}),
)
def recombined_track(
    context: dg.AssetExecutionContext,
    stems: Upstream,
    staged_chunks: Upstream,
    song_metadata: Upstream,
    validated_file: Upstream,
    ledger: dg.ResourceParam[Ledger],
    store: dg.ResourceParam[Store],
    engines: dg.ResourceParam[Engines],
    settings: dg.ResourceParam[Settings],
) -> StageResult:
    """The targets and the stems as files at the source's rate and length, one common gain, tagged, with cover."""
    with open_room(context, ledger=ledger, store=store, code_version=CODE_VERSION) as room:
        separated = stems.read(Stems)
        options = settle_output(room.job, made_by=separated.engine, ledger=ledger, engines=engines)

        def make(work: Path, key: str) -> Made[RecombinedTrack]:
            empty_folder(work)
            staged = staged_chunks.read(StagedChunks)
            metadata = song_metadata.read(SongMetadata)
            track = recombine(
                separated,
                stems_folder=stems.folder,
                staged=staged,
                staged_folder=staged_chunks.folder,
                metadata=metadata,
                metadata_folder=song_metadata.folder,
                validated=validated_file.read(ValidatedFile),
                options=options,
                work=work,
                id3_version=settings.id3_version,
                watch=room.watch,
            )
            try:  # only now that they are encoded does anybody know their sizes
                with reserved(room, size_bytes=sum(one.file.size_bytes for one in track.tracks)):
                    return Made(track, check_tracks(track, staged=staged, metadata=metadata))
            except LimitReached:
                empty_folder(work)
                raise

        return room.perform(
            make,
            contract=RecombinedTrack,
            inputs={
                "stems": stems.key,
                "staged_chunks": staged_chunks.key,
                "song_metadata": song_metadata.key,
                "validated_file": validated_file.key,
            },
            settings={**_delivery(options), **_origin(separated), "id3_version": settings.id3_version},
            describe=describe,
        )


def _delivery(options: JobOptions) -> dict[str, Any]:  # a JSON object
    """Return what of the options shows in the files."""
    return {
        "targets": list(options.targets),
        "stems": None if options.stems is None else list(options.stems),
        "residual": options.residual,
        "dj_stems": options.dj_stems,
        "format": options.format.value,
        "sample_format": options.sample_format,
        "bitrate_kbps": options.bitrate_kbps,
    }


def _origin(separated: Stems) -> dict[str, Any]:  # a JSON object
    """Return what really made the stems: their key says what was asked for, and memory may have been short."""
    return {
        "engine": separated.engine.model_dump(mode="json"),
        "computed": [separated.device, separated.precision, separated.window_s],
    }


def describe(track: RecombinedTrack, folder: Path) -> Metadata:
    """Return the delivered files with their levels."""
    columns = ("track", "kind", "made_by", "loudness_lufs", "true_peak_dbtp", "file")
    records = [
        dg.TableRecord(
            {
                "track": one.name,
                "kind": one.kind,
                "made_by": one.method,
                "loudness_lufs": "silent" if one.levels.loudness_lufs is None else f"{one.levels.loudness_lufs:.1f}",
                "true_peak_dbtp": "silent" if one.levels.true_peak_dbtp is None else f"{one.levels.true_peak_dbtp:.1f}",
                "file": one.file.path,
            }
        )
        for one in track.tracks
    ]
    shown: dict[str, dg.MetadataValue] = {
        "tracks": dg.MetadataValue.table(
            records, schema=dg.TableSchema([dg.TableColumn(name, "string") for name in columns])
        ),
        "gain_db": dg.MetadataValue.float(round(track.gain_db, 3)),
        "path": dg.MetadataValue.path(folder),
        "warnings": dg.MetadataValue.json(list(track.warnings)),
    }
    first = track.tracks[0].levels
    if first.loudness_lufs is not None:
        shown["loudness_lufs"] = dg.MetadataValue.float(round(first.loudness_lufs, 2))
    if first.true_peak_dbtp is not None:
        shown["true_peak_dbtp"] = dg.MetadataValue.float(round(first.true_peak_dbtp, 2))
    return shown
