"""Room *validate*: decide whether an uploaded file becomes a song.

The decision is made from what a confined child decoded, never from names, headers or exit codes. What the
child looks at is in `audio.probe`; which limits apply is in `policy`.
"""

from collections.abc import Callable
from pathlib import Path

from ironclad_assets.contracts.v1.base import AudioFormat
from ironclad_assets.contracts.v1.job import SongIdentity
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.errors import ErrorCode, PermanentFailure, Refusal
from ironclad_assets.pipeline.policy import Policy, crash_as_damage
from ironclad_assets.sandbox.task import ChildCrashError, run_task
from ironclad_assets.sandbox.watch import SilentWatch, Watch
from ironclad_assets.storage.store import Store

_INSPECT = "ironclad_assets.audio.probe:inspect_file"


def validate_file(
    song: SongIdentity,
    *,
    store: Store,
    policy: Policy,
    watch: Watch | None = None,
    screen: Callable[[Path], bool] | None = None,
) -> ValidatedFile:
    """Decode the song's original to its end and return what it holds.

    Args:
        song: whose original lies in the archive.
        store: the archive's.
        policy: what is accepted.
        watch: hears of progress and may cancel.
        screen: looks at the original before anything decodes it; returns whether a scanner found it clean, and
            raises where it must not be decoded.

    Raises:
        Refusal: the file is not acceptable, with the published code.
        PermanentFailure: `LIMIT_CPU`, `LIMIT_MEMORY`, or the original is missing or has another size.
        JobCanceled: the watch asked for it.
    """
    original = store.original(song.archive_path)
    _check_original(original, song=song, policy=policy)
    scanned = screen is not None and screen(original)
    try:
        found = run_task(
            _INSPECT,
            arguments={
                "path": str(original),
                "name": song.original_name,
                "min_duration_s": policy.min_duration_s,
                "max_duration_s": policy.max_duration_s,
                "types": policy.types,
            },
            limits=policy.media_limits(),
            readable=[original],
            watch=watch or SilentWatch(),
        )
    except ChildCrashError as crash:
        raise crash_as_damage(crash) from crash
    audio = AudioFormat(**{name: found.pop(name) for name in ("sample_rate_hz", "channels", "frames")})
    return ValidatedFile(
        archive_path=song.archive_path,
        original_name=song.original_name,
        sha256=song.sha256,
        size_bytes=song.size_bytes,
        audio=audio,
        scanned=scanned,
        **{**found, "warnings": tuple(found["warnings"])},
    )


def _check_original(original: Path, *, song: SongIdentity, policy: Policy) -> None:
    """Check what needs no decoding."""
    try:
        size = original.stat().st_size
    except FileNotFoundError as error:
        raise PermanentFailure(f"{song.archive_path} is not in the store", code=ErrorCode.ARTIFACT_MISSING) from error
    if size != song.size_bytes:
        detail = f"{song.archive_path} has {size} bytes; {song.size_bytes} were uploaded"
        raise PermanentFailure(detail, code=ErrorCode.ARTIFACT_DAMAGED)
    if size == 0:
        raise Refusal("the file has 0 bytes", code=ErrorCode.EMPTY_FILE)
    if size > policy.max_bytes:
        raise Refusal(f"the file has {size} bytes; allowed are {policy.max_bytes}", code=ErrorCode.TOO_LARGE)
