"""The room `recombined_track`: from stems to the files a user asked for, at the source's rate and length.

Which tracks there are is planned in `pipeline/track_plan.py`, what they are called in `pipeline/variants.py`; a
sandboxed child (`audio/recombine.py`) renders them. Where they go in the library is the next room's.
"""

import math
import os
from pathlib import Path
from typing import Any, Literal

from ironclad_assets.audio.formats import (
    bit_rate_for,
    check_sample_format,
    dj_rate_for,
    format_name,
    is_lossless,
    rate_for,
)
from ironclad_assets.contracts.v1.base import AudioFormat, CheckOutcome, Levels, StagedAudio
from ironclad_assets.contracts.v1.formats import OutputFormat, SampleFormat
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.recombined_track import DJ_STEMS, RecombinedTrack, Track
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.contracts.v1.staged_chunks import StagedChunks
from ironclad_assets.contracts.v1.stems import Stems
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.pipeline.track_plan import MIXTURE, TrackPlan, plan_tracks
from ironclad_assets.pipeline.variants import Provenance, derived_tags, describe_variant
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.task import run_task
from ironclad_assets.sandbox.watch import SilentWatch, Watch
from ironclad_assets.storage.hashing import record_file

_RENDER = "ironclad_assets.audio.recombine:render_tracks"
_CD_BITS = 16
_MEMORY_BYTES = 512 * 1024**2
_MP4_PACKET_BYTES = 160
"""Memory that FFmpeg keeps for every packet of an MP4 until it is finished: measured 80, and 30 to read it back."""

_MP4_PACKET_FRAMES = 1024
_START_CPU_S = 30.0
_CPU_SHARE = 0.25
"""Processor seconds allowed per second of one track, five to ten times what rendering needs."""

_AAC_CPU_SHARE = 1.0
"""As much for AAC, whose encoder takes from 2 to 12 s for a minute, depending on the music and the bit rate."""


def recombine(
    stems: Stems,
    *,
    stems_folder: Path,
    staged: StagedChunks,
    staged_folder: Path,
    metadata: SongMetadata,
    metadata_folder: Path,
    validated: ValidatedFile,
    options: JobOptions,
    work: Path,
    id3_version: Literal["2.3", "2.4"] = "2.4",
    watch: Watch | None = None,
    limits: Limits | None = None,
) -> RecombinedTrack:
    """Render the chosen targets and every stem below `work`.

    Args:
        stems: the separated song, files below `stems_folder`.
        stems_folder: folder of the stems.
        staged: the mixture, files below `staged_folder`.
        staged_folder: folder of the mixture.
        metadata: tags to carry over; its art lies below `metadata_folder`.
        metadata_folder: folder of the art.
        validated: the original, for its bit depth and identity.
        options: targets and format asked for.
        work: folder of the artifact's files; gets ``targets/`` and ``stems/``.
        id3_version: of the tags in MP3 and WAV.
        watch: hears of progress and may cancel.
        limits: of the child; by default enough for the song's length.

    Raises:
        Refusal: `UNKNOWN_TARGET`, where the stems do not hold what a target needs; `UNKNOWN_FORMAT`, where the
            format cannot hold the samples asked for.
        StorageUnavailable: the disk is full, read-only or away.
    """
    audio, warnings = _output_format(staged, output=options.format)
    plans = plan_tracks(tuple(stem.name for stem in stems.stems), options=options)
    sample_format, bitrate_kbps, bit_rate_warnings = _encoding(validated, audio=audio, options=options)
    request = {
        "inputs": {
            MIXTURE: _input(staged.source_audio, folder=staged_folder),
            **{stem.name: _input(stem.audio, folder=stems_folder) for stem in stems.stems},
        },
        "audio": audio.model_dump(),
        "format": options.format.value,
        "sample_format": sample_format,
        "bitrate_kbps": bitrate_kbps,
        "threads": min(len(os.sched_getaffinity(0)), sum(len(plan.streams) or 1 for plan in plans)),
        "folder": str(work),
        "id3_version": id3_version,
        "cover": _cover(metadata, folder=metadata_folder),
        "tracks": [
            _render_request(plan, stems=stems, staged=staged, audio=audio, metadata=metadata, validated=validated)
            for plan in plans
        ],
    }
    answer = run_task(
        _RENDER,
        arguments={"request": request},
        limits=limits or _limits(audio, plans=plans, output=options.format),
        readable=[stems_folder, staged_folder, metadata_folder],
        writable=[work],
        watch=watch or SilentWatch(),
    )
    tracks = tuple(
        _track(plan, found, options=options, work=work) for plan, found in zip(plans, answer["tracks"], strict=True)
    )
    beyond = _beyond_full_scale(answer["peak"], sample_format=sample_format)
    return RecombinedTrack(
        tracks=tracks,
        gain_db=answer["gain_db"],
        sample_format=sample_format,
        bitrate_kbps=bitrate_kbps,
        warnings=(*warnings, *bit_rate_warnings, *beyond, *answer["warnings"]),
    )


def check_tracks(track: RecombinedTrack, *, staged: StagedChunks, metadata: SongMetadata) -> tuple[CheckOutcome, ...]:
    """Return whether all tracks have the source's rate and length, and their tags and art.

    Rate and length block what follows. Tags and art do not: a playable file is never withheld for them.
    """
    if not track.tracks:
        return (CheckOutcome(name="tracks_match_source", passed=False, detail="no track was rendered"),)
    wanted, _ = _output_format(staged, output=track.tracks[0].format)
    dj_wanted = _dj_format(staged)
    wrong = [
        f"{one.name}: {one.audio.frames} frames at {one.audio.sample_rate_hz} Hz, {one.audio.channels} channels"
        for one in track.tracks
        if one.audio != (dj_wanted if one.kind == DJ_STEMS else wanted)
    ]
    untagged = [one.name for one in track.tracks if not one.tags_embedded]
    bare = [one.name for one in track.tracks if not one.art_embedded] if metadata.artwork else []
    return (
        CheckOutcome(
            name="tracks_match_source",
            passed=not wrong,
            detail="; ".join(wrong),
            values={"sample_rate_hz": wanted.sample_rate_hz, "frames": wanted.frames, "channels": wanted.channels},
        ),
        CheckOutcome(name="tags_embedded", passed=not untagged, blocking=False, detail=", ".join(untagged)),
        CheckOutcome(
            name="art_embedded",
            passed=not bare,
            blocking=False,
            detail=", ".join(bare) if metadata.artwork else "the song has no cover",
            values={"has_cover": metadata.artwork is not None},
        ),
    )


def _output_format(staged: StagedChunks, *, output: OutputFormat) -> tuple[AudioFormat, tuple[str, ...]]:
    """Return rate, channels and length of the delivered tracks: the source's, unless the format has no such rate."""
    source = staged.source_format
    rate = rate_for(source.sample_rate_hz, output=output)
    if rate == source.sample_rate_hz:
        return source, ()
    changed = _at_rate(source, sample_rate_hz=rate)
    return changed, (f"{format_name(output)} cannot hold {source.sample_rate_hz} Hz; the tracks have {rate} Hz",)


def _dj_format(staged: StagedChunks) -> AudioFormat:
    """Return rate, channels and length of each stream of a file for DJ programs, which is always stereo."""
    source = staged.source_format
    at_rate = _at_rate(source, sample_rate_hz=dj_rate_for(source.sample_rate_hz))
    return at_rate.model_copy(update={"channels": 2})


def _at_rate(audio: AudioFormat, *, sample_rate_hz: int) -> AudioFormat:
    """Return the format at another rate, its length rounded half up."""
    frames = (2 * audio.frames * sample_rate_hz + audio.sample_rate_hz) // (2 * audio.sample_rate_hz)
    return audio.model_copy(update={"sample_rate_hz": sample_rate_hz, "frames": frames})


def _encoding(
    validated: ValidatedFile, *, audio: AudioFormat, options: JobOptions
) -> tuple[SampleFormat | None, int | None, tuple[str, ...]]:
    """Return sample format or bit rate of the files, and how they differ from what was asked for.

    Without a wish, FLAC is as deep as a lossless source of 16 bits, else 24 bits, and WAV has 24 bits.

    Raises:
        Refusal: `UNKNOWN_FORMAT`, where the format cannot hold such samples.
    """
    output = options.format
    if is_lossless(output):
        if options.sample_format is not None:
            check_sample_format(options.sample_format, output=output)
            return options.sample_format, None, ()
        shallow = validated.lossless and validated.bit_depth is not None and validated.bit_depth <= _CD_BITS
        chosen = SampleFormat.INT16 if output is OutputFormat.FLAC and shallow else SampleFormat.INT24
        return chosen, None, ()
    asked = options.bitrate_kbps
    kbps = bit_rate_for(asked, output=output, sample_rate_hz=audio.sample_rate_hz, channels=audio.channels)
    if asked in (None, kbps):
        return None, kbps, ()
    kind = f"{format_name(output)} of {audio.sample_rate_hz} Hz and {audio.channels} channels"
    return None, kbps, (f"{kind} has no {asked} kbit/s; the tracks have {kbps} kbit/s",)


def _beyond_full_scale(peak: float, *, sample_format: SampleFormat | None) -> tuple[str, ...]:
    """Return a warning where float samples are kept that a player would clip."""
    if peak <= 1.0 or sample_format is not SampleFormat.FLOAT32:
        return ()
    return (f"the highest sample is {20 * math.log10(peak):.1f} dB above full scale; float WAV keeps it as it is",)


def _input(audio: StagedAudio, *, folder: Path) -> dict[str, Any]:  # a JSON object
    return {
        "path": str(folder / audio.path),
        "sample_rate_hz": audio.sample_rate_hz,
        "channels": audio.channels,
    }


def _cover(metadata: SongMetadata, *, folder: Path) -> dict[str, Any] | None:  # a JSON object
    art = metadata.artwork
    if art is None:
        return None
    return {"path": str(folder / art.file.path), "width_px": art.width_px, "height_px": art.height_px}


def _render_request(
    plan: TrackPlan,
    *,
    stems: Stems,
    staged: StagedChunks,
    audio: AudioFormat,
    metadata: SongMetadata,
    validated: ValidatedFile,
) -> dict[str, Any]:  # a JSON object
    """Return one track of a rendering request; a track that is a stem as it is brings its measured levels."""
    variant = describe_variant(plan.name, kind=plan.kind, stems=plan.stems)
    engine = stems.engine
    provenance = Provenance(
        engine=engine.engine, engine_version=engine.version, model=engine.model, source_sha256=validated.sha256
    )
    levels = None
    if plan.method == "sum" and len(plan.stems) == 1:
        stem = stems.named(plan.stems[0])
        unchanged = (stem.audio.sample_rate_hz, stem.audio.channels) == (audio.sample_rate_hz, audio.channels)
        levels = stem.levels.model_dump() if unchanged else None
    return {
        "name": plan.name,
        "path": plan.path,
        "audio": (_dj_format(staged) if plan.streams else audio).model_dump(),
        "add": list(plan.add),
        "subtract": list(plan.subtract),
        "streams": [{"add": list(stream.add), "subtract": list(stream.subtract)} for stream in plan.streams],
        "levels": levels,
        "tags": derived_tags(metadata, variant=variant, name=plan.name, provenance=provenance),
    }


def _track(plan: TrackPlan, found: dict[str, Any], *, options: JobOptions, work: Path) -> Track:
    return Track(
        name=plan.name,
        kind=plan.kind,
        stems=plan.stems,
        method=plan.method,
        file=record_file(work / plan.path, base=work),
        format=OutputFormat.M4A if plan.streams else options.format,
        audio=AudioFormat(sample_rate_hz=found["sample_rate_hz"], channels=found["channels"], frames=found["frames"]),
        levels=Levels.model_validate(found["levels"]),
        tags_embedded=found["tags_embedded"],
        art_embedded=found["art_embedded"],
    )


def _limits(audio: AudioFormat, *, plans: tuple[TrackPlan, ...], output: OutputFormat) -> Limits:
    aac = sum(len(plan.streams) or (output is OutputFormat.M4A) for plan in plans)
    others = 0 if output is OutputFormat.M4A else sum(not plan.streams for plan in plans)
    memory = _MEMORY_BYTES + audio.frames // _MP4_PACKET_FRAMES * _MP4_PACKET_BYTES * aac
    cpu_s = _START_CPU_S + math.ceil(audio.duration_s * (aac * _AAC_CPU_SHARE + others * _CPU_SHARE))
    return Limits(cpu_s=cpu_s, memory_bytes=memory, wall_s=8 * cpu_s + 120)
