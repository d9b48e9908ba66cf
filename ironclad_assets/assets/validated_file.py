"""Room *validate*: the original is decoded to its end and found good, or refused with a published code."""

from pathlib import Path

import dagster as dg

from ironclad_assets.antivirus.clamd import Clamd
from ironclad_assets.antivirus.scan import Verdict, require_clean, scan_file
from ironclad_assets.assets.declaration import StageResult, stage_asset
from ironclad_assets.assets.room import Made, Metadata, Room, empty_folder, open_room
from ironclad_assets.contracts.v1.base import CheckOutcome
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.errors import ErrorCode, JobCanceled, Refusal
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.policy import Policy
from ironclad_assets.pipeline.validate import validate_file
from ironclad_assets.resources.quarantine import is_locked, unlock_original
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
    checks={
        "decoded_as_promised": "As many samples were decoded as the file's header promises, all finite.",
        "scanned_clean": "The virus scanner, where one is set, found nothing in the file.",
    },
)
def validated_file(
    context: dg.AssetExecutionContext,
    ledger: dg.ResourceParam[Ledger],
    store: dg.ResourceParam[Store],
    settings: dg.ResourceParam[Settings],
) -> StageResult:
    """The uploaded file, scanned for malware, then decoded to its end in a sandbox: type, limits, samples counted."""
    scanner = settings.clamd_address
    with open_room(context, ledger=ledger, store=store, code_version=CODE_VERSION) as room:
        policy = Policy.for_user(settings, limits=ledger.limits.effective(room.song.user_id))

        def make(work: Path, key: str) -> Made[ValidatedFile]:
            empty_folder(work)
            screen = _Screen(room, None if scanner is None else Clamd(scanner, settings.clamd_timeout_s))
            validated = validate_file(room.song, store=store, policy=policy, watch=room.watch, screen=screen)
            return Made(validated, (_check_decoded(validated), _check_scanned(validated)), screen.describe())

        return room.perform(
            make,
            contract=ValidatedFile,
            inputs={"original": room.song.sha256},
            settings={"name": room.song.original_name, "policy": policy.as_json()},
            describe=describe,
            # Scanning changes nothing that later stages read: their work on a song that is scanned later stays good.
            is_current=lambda validated: validated.scanned or scanner is None,
        )


class _Screen:
    """Has the original scanned where a scanner is set, and remembers what was said."""

    def __init__(self, room: Room, clamd: Clamd | None) -> None:
        self._room = room
        self._clamd = clamd
        self._verdict: Verdict | None = None

    def __call__(self, original: Path) -> bool:
        """Return whether the file was scanned and found clean; one that was malware before is then like any other.

        Raises:
            Refusal: `MALWARE`, also where it was found before and nobody can look again.
            ScannerAway: the scanner gave no answer.
            JobCanceled: the user asked for it.
        """
        song, store = self._room.song, self._room.store
        if self._clamd is None:
            if is_locked(store, song=song):
                raise Refusal("malware was found in it, and no scanner is set to look again", code=ErrorCode.MALWARE)
            return False
        self._verdict = scan_file(original, clamd=self._clamd, sha256=song.sha256, heed=self._heed)
        require_clean(self._verdict)
        unlock_original(store, song=song)
        return True

    def describe(self) -> Metadata:
        """Return who scanned and when, for this materialization alone: the same work gives the same payload."""
        if self._verdict is None:
            return {}
        return {
            "scanner": dg.MetadataValue.text(self._verdict.scanner),
            "scanned_at": dg.MetadataValue.text(self._verdict.at),
        }

    def _heed(self) -> None:
        if self._room.watch.canceled():
            raise JobCanceled("canceled while the file was scanned for malware")


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
        "scanned": dg.MetadataValue.bool(validated.scanned),
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


def _check_scanned(validated: ValidatedFile) -> CheckOutcome:
    """Return that nothing was found; a file in which something was, or that nobody scanned, never comes this far."""
    said = "found clean, as it is and behind one more byte" if validated.scanned else "no virus scanner is set"
    return CheckOutcome(name="scanned_clean", passed=True, detail=said, values={"scanned": validated.scanned})
