"""Output of the stage `validated_file`: a file that was decoded to its end and found good."""

from pydantic import Field

from ironclad_assets.contracts.v1.base import AudioFormat, Contract, RelativePath, Sha256


class ValidatedFile(Contract):
    """A song's original, as decoded, not as its header claims.

    `archive_path` is relative to the store's root. `audio` holds the decoded rate, channels and frames
    (encoder delay and padding already removed). `bit_depth` is None for lossy codecs. `scanned` says whether a
    virus scanner found it clean; which one, and when, is metadata of the materialization.
    """

    archive_path: RelativePath
    original_name: str
    sha256: Sha256
    size_bytes: int = Field(ge=1)
    media_type: str
    container: str
    codec: str
    bit_depth: int | None
    lossless: bool
    audio: AudioFormat
    header_frames: int | None = Field(default=None, ge=0)
    peak: float = Field(ge=0)
    silent: bool
    warnings: tuple[str, ...] = ()
    scanned: bool = False
