"""Room *organise*: the tracks take their place in the media library, the stems under a root of their own."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from ironclad_assets.assets.declaration import StageResult, stage_asset
from ironclad_assets.assets.quota import reserved
from ironclad_assets.assets.room import Made, Metadata, Room, empty_folder, open_room
from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.contracts.v1.job import STAGES
from ironclad_assets.contracts.v1.library_entry import LibraryEntry, SongRecord
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.errors import PermanentFailure
from ironclad_assets.io_managers.contract_io_manager import Upstream
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.organise import Original, check_entry, organise, original_extension
from ironclad_assets.pipeline.ownership import hold_entry
from ironclad_assets.pipeline.sidecars import find_lyrics, write_lyrics
from ironclad_assets.pipeline.templates import layout_of
from ironclad_assets.resources.choice import wants_original
from ironclad_assets.servers.notes import note_entry
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.store import Store

CODE_VERSION = "2"
RECORD_FILE = "metadata.json"


@stage_asset(
    "library_entry",
    room="organise",
    code_version=CODE_VERSION,
    kinds={"python", "file"},
    checks={
        "path_inside_library": "Every file lies below its library root.",
        "library_files_whole": "Every file in the library has the checksum of its track.",
    },
)
def library_entry(
    context: dg.AssetExecutionContext,
    recombined_track: Upstream,
    song_metadata: Upstream,
    validated_file: Upstream,
    ledger: dg.ResourceParam[Ledger],
    store: dg.ResourceParam[Store],
    settings: dg.ResourceParam[Settings],
) -> StageResult:
    """The song in `output/` as Artist/Album/Song, its stems in `output-stems/`, and its `metadata.json`."""
    with open_room(context, ledger=ledger, store=store, code_version=CODE_VERSION) as room:
        validated, metadata = validated_file.read(ValidatedFile), song_metadata.read(SongMetadata)
        layout = layout_of(settings)
        original = _original(validated, store=store) if wants_original(room.job, ledger=ledger) else None
        store.fetch_folder(f"sidecars/{room.job.song}")
        dropped = find_lyrics(store, song=room.job.song)

        def make(work: Path, key: str) -> Made[LibraryEntry]:
            track = recombined_track.read(RecombinedTrack)
            with reserved(room, size_bytes=_filed_bytes(track, original)), hold_entry(store, song=room.job.song):
                empty_folder(work)
                entry = organise(
                    track,
                    track_folder=recombined_track.folder,
                    metadata=metadata,
                    metadata_folder=song_metadata.folder,
                    previous=_previous_entry(room),
                    store=store,
                    song=room.job.song,
                    layout=layout,
                    original=original,
                    lyrics=dropped or write_lyrics(metadata.lyrics or "", folder=work),
                )
            note_entry(settings, song=room.job.song)
            record = _song_record(room, entry, validated)
            atomic.write_json(work / RECORD_FILE, record.model_dump(mode="json"))
            return Made(entry, check_entry(entry, store=store))

        return room.perform(
            make,
            contract=LibraryEntry,
            inputs={"recombined_track": recombined_track.key, "song_metadata": song_metadata.key},
            settings={
                "templates": [layout.output.text, layout.stems.text],
                "original": original and [original.record.sha256, original.extension],
                "lyrics": dropped and [dropped.record.sha256, dropped.extension],
            },
            describe=lambda entry, folder: describe(entry, folder, store=store),
            is_current=lambda entry: all(check.passed for check in check_entry(entry, store=store)),
        )


def describe(entry: LibraryEntry, folder: Path, *, store: Store) -> Metadata:
    """Return where everything stands now."""
    targets = [file for file in entry.files if file.role == "target"]
    lines = [f"- **{file.name}** `{file.root}/{file.file.path}`" for file in entry.files]
    return {
        "path": dg.MetadataValue.path(store.library(targets[0].root) / targets[0].file.path),
        "files": dg.MetadataValue.md("\n".join(lines)),
        "record": dg.MetadataValue.path(folder / RECORD_FILE),
        "bytes": dg.MetadataValue.int(sum(file.file.size_bytes for file in entry.files)),
        "warnings": dg.MetadataValue.json(list(entry.warnings)),
    }


def _filed_bytes(track: RecombinedTrack, original: Original | None) -> int:
    """Return the bytes of the tracks and the original; what lies beside them, covers and lyrics, is small."""
    return sum(one.file.size_bytes for one in track.tracks) + (0 if original is None else original.record.size_bytes)


def _previous_entry(room: Room) -> LibraryEntry | None:
    """Return what an earlier run of the same song filed, if its manifest still can be read."""
    with suppress(PermanentFailure):
        manifest = read_manifest(room.store.stage(room.stage, room.job.song))
        return LibraryEntry.model_validate(manifest.payload)
    return None


def _original(validated: ValidatedFile, *, store: Store) -> Original:
    """Return the archived file as it is to be filed: its bytes untouched, under a name made of its tags."""
    return Original(
        source=store.original(validated.archive_path),
        record=FileRecord(path=validated.archive_path, size_bytes=validated.size_bytes, sha256=validated.sha256),
        extension=original_extension(validated.original_name, container=validated.container),
    )


def _song_record(room: Room, entry: LibraryEntry, validated: ValidatedFile) -> SongRecord:
    return SongRecord(
        song=room.job.song,
        original_name=room.song.original_name,
        user_id=room.job.user_id,
        uploaded_at=room.song.uploaded_at,
        completed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        media_type=validated.media_type,
        duration_s=validated.audio.duration_s,
        sample_rate_hz=validated.audio.sample_rate_hz,
        channels=validated.audio.channels,
        job_uuid=room.job.job_uuid,
        trace_id=room.job.trace_id,
        attempt=room.job.attempt,
        steps_completed=STAGES,
        files=entry.files,
    )
