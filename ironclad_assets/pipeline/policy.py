"""What reading untrusted audio may cost, what is accepted, and whose fault a crash is.

Shared by the rooms that decode: validate, stage, and whoever measures. The decisions themselves belong to
the rooms.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from ironclad_assets.contracts.v1.limits import EffectiveLimits
from ironclad_assets.errors import ErrorCode, PermanentFailure, Refusal
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.task import ChildCrashError
from ironclad_assets.settings import Settings

_WALL_PER_CPU = 5.0
_WALL_SPARE_S = 60.0
_LONGEST_S = 7 * 86_400.0
_LARGEST_BYTES = 2**40
"""What nobody may exceed, also where a user's limits say that there is none."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What files are accepted, and what looking at one may cost.

    Attributes:
        min_duration_s: shortest accepted song.
        max_duration_s: longest accepted song.
        max_bytes: largest accepted file.
        types: kinds that are accepted, as `audio.sniff` names containers; None for all that are supported.
        media_cpu_s: processor seconds of a media child, beyond 1 s per minute of audio.
        media_memory_bytes: its memory.
        media_open_files: files that it may have open at once.
        media_scratch_bytes: disk that it may fill with what it makes.
    """

    min_duration_s: float = 0.5
    max_duration_s: float = 4 * 3600.0
    max_bytes: int = 8 * 1024**3
    types: tuple[str, ...] | None = None
    media_cpu_s: float = 20.0
    media_memory_bytes: int = 512 * 1024**2
    media_open_files: int = 256
    media_scratch_bytes: int = 64 * 1024**3

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the policy that the installation's settings describe."""
        return cls(
            min_duration_s=settings.min_duration_s,
            max_duration_s=settings.max_duration_s,
            max_bytes=settings.max_upload_bytes,
            media_cpu_s=settings.media_cpu_s,
            media_memory_bytes=settings.media_memory_bytes,
            media_open_files=settings.media_open_files,
            media_scratch_bytes=settings.media_scratch_bytes,
        )

    @classmethod
    def for_user(cls, settings: Settings, *, limits: EffectiveLimits) -> Self:
        """Return the policy for uploads of a user whose limits are `limits`, some of which may be none."""
        return replace(
            cls.from_settings(settings),
            max_duration_s=_LONGEST_S if limits.max_duration_s is None else limits.max_duration_s,
            max_bytes=_LARGEST_BYTES if limits.max_upload_bytes is None else limits.max_upload_bytes,
            types=limits.types,
        )

    def as_json(self) -> dict[str, Any]:  # JSON values
        """Return the part of the policy that decides about acceptance; the costs allowed do not change a result."""
        values = asdict(self)
        deciding = {name: values[name] for name in ("min_duration_s", "max_duration_s", "max_bytes")}
        return deciding if self.types is None else {**deciding, "types": sorted(self.types)}

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
            scratch_bytes=self.media_scratch_bytes,
            open_files=self.media_open_files,
        )


def crash_as_damage(crash: ChildCrashError) -> PermanentFailure:
    """Return the refusal of a file on which the decoder crashed; an exit without a signal is passed on as it is.

    A crash in native code while decoding is the file's doing, and would happen again.
    """
    if crash.status is not None and crash.status < 0:
        return Refusal(f"the decoder crashed on it ({crash.ended})", code=ErrorCode.DAMAGED)
    return PermanentFailure(crash.detail, code=ErrorCode.INTERNAL)
