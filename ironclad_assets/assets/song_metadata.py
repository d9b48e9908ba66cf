"""Room *tag*: title, artist, album and cover, each with the source it came from.

What the sources of metadata answer is an input of this stage like any other, so it is asked for first and its hash is
part of the key: equal answers give an equal artifact, other answers another one that all later stages see.
"""

import base64
import shutil
import tempfile
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from ironclad_assets.assets.declaration import StageResult, stage_asset
from ironclad_assets.assets.room import Made, Metadata, Room, empty_folder, open_room
from ironclad_assets.contracts.v1.base import CheckOutcome
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.errors import JobCanceled
from ironclad_assets.io_managers.contract_io_manager import Upstream
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.lookup.policy import LookupPolicy
from ironclad_assets.lookup.session import LookupSession
from ironclad_assets.pipeline.filling import Findings, look_up
from ironclad_assets.pipeline.tag import Found, complete_metadata, describe_song, read_file, read_metadata
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store

CODE_VERSION = "2"
INLINE_COVER_BYTES = 20_000
"""Larger covers are linked by path: an inline picture lives in Dagster's event row."""


@stage_asset(
    "song_metadata",
    room="tag",
    code_version=CODE_VERSION,
    kinds={"python", "json"},
    checks={"title_known": "The song has a title, from its tags, a source of metadata or its file name."},
)
def song_metadata(
    context: dg.AssetExecutionContext,
    validated_file: Upstream,
    ledger: dg.ResourceParam[Ledger],
    store: dg.ResourceParam[Store],
    settings: dg.ResourceParam[Settings],
) -> StageResult:
    """Tags and cover of the song, read from the file, looked up where that is set up, and taken from its name."""
    policy = LookupPolicy.from_settings(settings)
    with open_room(context, ledger=ledger, store=store, code_version=CODE_VERSION) as room, ExitStack() as stack:
        validated = validated_file.read(ValidatedFile)
        asked = None
        if policy is not None:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="ironclad-"))
            asked = _ask(room, validated, policy=policy, scratch=Path(scratch))

        def make(work: Path, key: str) -> Made[SongMetadata]:
            empty_folder(work)
            if asked is None:
                metadata = read_metadata(validated, store=store, work=work, watch=room.watch)
            else:
                metadata = asked.complete(validated, work=work)
            title = CheckOutcome(name="title_known", passed=bool(metadata.title), detail=metadata.title)
            return Made(metadata, (title,))

        return room.perform(
            make,
            contract=SongMetadata,
            inputs={"validated_file": validated_file.key},
            settings={} if asked is None else asked.settings,
            describe=describe,
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the file says and what the sources add, before anything is made of it."""

    found: Found
    findings: Findings
    folder: Path

    @property
    def settings(self) -> dict[str, str]:
        """What the payload depends on besides the file: nothing where the sources added nothing."""
        return {} if self.findings == Findings() else {"lookup": self.findings.digest}

    def complete(self, validated: ValidatedFile, *, work: Path) -> SongMetadata:
        """Return the metadata; the file's cover is brought into `work`."""
        if self.found["artwork"] is not None:
            shutil.copyfile(self.folder / self.found["artwork"]["path"], work / self.found["artwork"]["path"])
        return complete_metadata(self.found, original_name=validated.original_name, work=work, findings=self.findings)


def _ask(room: Room, validated: ValidatedFile, *, policy: LookupPolicy, scratch: Path) -> _Asked:
    """Read the file and ask the sources about what it leaves open."""
    room.ledger.start_stage(room.job.job_uuid, room.stage, run_id=room.context.run.run_id)
    found = read_file(validated, store=room.store, work=scratch, watch=room.watch)
    song = describe_song(found, validated=validated, store=room.store)
    covers = room.store.path("cover-art-cache")
    try:
        with LookupSession(policy, covers=covers, scratch=scratch, watch=room.watch) as sources:
            return _Asked(found, look_up(song, sources=sources), scratch)
    except JobCanceled:
        raise
    except Exception as error:  # noqa: BLE001 - no song fails by what is only asked for its sake
        room.context.log.warning(f"the lookup failed: {traceback.format_exc()}")
        return _Asked(found, Findings(warnings=(f"the lookup failed ({type(error).__name__})",)), scratch)


def describe(metadata: SongMetadata, folder: Path) -> Metadata:
    """Return tags, their sources and the cover as people want to see them."""
    shown: dict[str, dg.MetadataValue] = {
        "title": dg.MetadataValue.text(metadata.title),
        "artist": dg.MetadataValue.text(metadata.artist or ""),
        "album": dg.MetadataValue.text(metadata.album or ""),
        "tags": dg.MetadataValue.json(
            metadata.model_dump(mode="json", exclude={"artwork", "lyrics", "warnings", "candidates"})
        ),
        "candidates": dg.MetadataValue.json([one.model_dump(mode="json") for one in metadata.candidates]),
        "warnings": dg.MetadataValue.json(list(metadata.warnings)),
    }
    if metadata.artwork is not None:
        cover = folder / metadata.artwork.file.path
        shown["cover_path"] = dg.MetadataValue.path(cover)
        if metadata.artwork.file.size_bytes <= INLINE_COVER_BYTES:
            picture = base64.b64encode(cover.read_bytes()).decode()
            shown["cover"] = dg.MetadataValue.md(f"![cover](data:{metadata.artwork.media_type};base64,{picture})")
    return shown
