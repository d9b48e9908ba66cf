"""Room *validate*: decide whether an uploaded file becomes a song.

The decision is made from what a confined child decoded, never from names, headers or exit codes. What the
child looks at is in `audio.probe`; which limits apply to whom is here.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from ironclad_assets.contracts.v1.base import AudioFormat
from ironclad_assets.contracts.v1.job import SongIdentity
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.errors import ErrorCode, PermanentFailure, Refusal
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.task import ChildCrashError, run_task
from ironclad_assets.sandbox.watch import SilentWatch, Watch
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store

_INSPECT = "ironclad_assets.audio.probe:inspect_file"
_WALL_PER_CPU = 5.0
_WALL_SPARE_S = 60.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What files are accepted, and what looking at one may cost.

    Attributes:
        min_duration_s: shortest accepted song.
        max_duration_s: longest accepted song.
        max_bytes: largest accepted file.
        media_cpu_s: processor seconds of a media child, beyond 1 s per minute of audio.
        media_memory_bytes: its memory.
    """

    min_duration_s: float = 0.5
    max_duration_s: float = 4 * 3600.0
    max_bytes: int = 8 * 1024**3
    media_cpu_s: float = 20.0
    media_memory_bytes: int = 512 * 1024**2

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the policy that the installation's settings describe."""
        return cls(
            min_duration_s=settings.min_duration_s,
            max_duration_s=settings.max_duration_s,
            max_bytes=settings.max_upload_bytes,
            media_cpu_s=settings.media_cpu_s,
            media_memory_bytes=settings.media_memory_bytes,
        )

    def as_json(self) -> dict[str, Any]:  # JSON values
        """Return the part of the policy that decides about acceptance; the costs allowed do not change a result."""
        values = asdict(self)
        return {name: values[name] for name in ("min_duration_s", "max_duration_s", "max_bytes")}

    def media_limits(self, *, duration_s: float | None = None, file_bytes: int = 0) -> Limits:
        """Return the limits of a media child.

        Args:
            duration_s: length of the audio, where it is known. Otherwise the child starts with `media_cpu_s`
                and is given a second more for every minute that it has decoded.
            file_bytes: largest file it may write.
        """
        growth_s = 0.0 if duration_s is not None else self.max_duration_s / 60.0
        cpu_s = self.media_cpu_s + (duration_s or 0.0) / 60.0
        return Limits(
            cpu_s=cpu_s,
            cpu_growth_s=growth_s,
            memory_bytes=self.media_memory_bytes,
            wall_s=_WALL_SPARE_S + _WALL_PER_CPU * (cpu_s + growth_s),
            file_bytes=file_bytes,
        )


def validate_file(song: SongIdentity, *, store: Store, policy: Policy, watch: Watch | None = None) -> ValidatedFile:
    """Decode the song's original to its end and return what it holds.

    Args:
        song: whose original lies in the archive.
        store: the archive's.
        policy: what is accepted.
        watch: hears of progress and may cancel.

    Raises:
        Refusal: the file is not acceptable, with the published code.
        PermanentFailure: `LIMIT_CPU`, `LIMIT_MEMORY`, or the original is missing or has another size.
        JobCanceled: the watch asked for it.
    """
    original = store.path(song.archive_path)
    _check_original(original, song=song, policy=policy)
    try:
        found = run_task(
            _INSPECT,
            arguments={
                "path": str(original),
                "name": song.original_name,
                "min_duration_s": policy.min_duration_s,
                "max_duration_s": policy.max_duration_s,
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
        **{**found, "warnings": tuple(found["warnings"])},
    )


def crash_as_damage(crash: ChildCrashError) -> PermanentFailure:
    """Return the refusal of a file on which the decoder crashed; an exit without a signal is passed on as it is.

    A crash in native code while decoding is the file's doing, and would happen again.
    """
    if crash.status is not None and crash.status < 0:
        return Refusal(f"the decoder crashed on it ({crash.ended})", code=ErrorCode.DAMAGED)
    return PermanentFailure(crash.detail, code=ErrorCode.INTERNAL)


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
