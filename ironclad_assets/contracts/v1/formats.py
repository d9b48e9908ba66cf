"""Formats of delivered files, by name. Nothing of pydantic is here: children that write them start without it."""

from enum import StrEnum


class OutputFormat(StrEnum):
    """Container and codec of a delivered file; the member is also its file extension."""

    FLAC = "flac"
    WAV = "wav"
    MP3 = "mp3"
    M4A = "m4a"
    """AAC in an MP4 container."""

    OPUS = "opus"


class SampleFormat(StrEnum):
    """How a lossless file stores a sample."""

    INT16 = "int16"
    INT24 = "int24"
    FLOAT32 = "float32"
    """WAV alone can hold it."""
