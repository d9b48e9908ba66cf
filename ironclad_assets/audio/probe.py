"""Decode a file to its end and say what it is, or why it is refused.

The only judge of a file's content: type, rate, channels, length, finiteness, damage. Whose file it is and
what was promised to the user belong to `pipeline.validate`. Runs in a child process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ironclad_assets.audio import sniff
from ironclad_assets.audio.decode import Decoder, StreamFacts
from ironclad_assets.audio.resample import Samples
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.sandbox.confine import allow_cpu

Report = Callable[[float, str], None]

SILENCE_PEAK = 1e-4
"""Audio that never exceeds -80 dBFS is called silent."""

_LARGEST_PEAK = 1e6
_DC_OFFSET = 0.1
_WHOLE = 0.9
_TRUNCATED_S = 0.1
_TRUSTED_LENGTHS = (sniff.FLAC, sniff.WAV)


@dataclass(slots=True)
class _Findings:
    """What the samples say so far."""

    frames: int = 0
    peak: float = 0.0
    sums: Any = 0.0  # array of shape (channels,), or 0.0 before the first block
    warnings: list[str] = field(default_factory=list)

    def add(self, y: Samples, *, rate: int) -> None:
        peak = float(max(y.max(), -y.min()))  # NaN and infinity come through
        if not np.isfinite(peak):
            bad = self.frames + int(np.flatnonzero(~np.isfinite(y).all(axis=1))[0])
            raise Refusal(f"the sample at {bad / rate:.3f} s is not a finite number", code=ErrorCode.NON_FINITE)
        self.peak = max(self.peak, peak)
        self.sums = self.sums + y.sum(axis=0, dtype=np.float64)
        self.frames += len(y)


def inspect_file(
    report: Report,
    *,
    path: str,
    name: str,
    min_duration_s: float,
    max_duration_s: float,
    types: Sequence[str] | None = None,
) -> dict[str, Any]:  # the fields of ValidatedFile that come from the content
    """Return what the file at `path` holds, after decoding all of it once.

    Args:
        report: told of progress.
        path: the file.
        name: what the uploader called it; only its extension is looked at, for a warning.
        min_duration_s: shorter audio is refused.
        max_duration_s: longer audio is refused as soon as that many samples were decoded.
        types: containers that are taken; None for all that are supported.

    Raises:
        Refusal: `EMPTY_FILE`, `NOT_AUDIO`, `NO_AUDIO`, `DAMAGED`, `TOO_SHORT`, `TOO_LONG`, `BAD_RATE`,
            `BAD_CHANNELS`, `NON_FINITE`, `PROTECTED`, `TYPE_REFUSED`.
    """
    _check_type(Path(path), types=types)
    with Decoder(Path(path)) as decoder:
        facts = decoder.facts
        _check_claimed_length(facts, max_duration_s=max_duration_s)
        findings = _decode_all(decoder, report=report, max_duration_s=max_duration_s)
        if decoder.skipped_packets:
            findings.warnings.append(f"{decoder.skipped_packets} packets could not be decoded and were left out")
        if decoder.broke_off:
            findings.warnings.append(f"reading broke off after {findings.frames / facts.sample_rate_hz:.2f} s")
    _check_length(findings, facts=facts, min_duration_s=min_duration_s)
    findings.warnings.extend(_remarks(findings, facts=facts, name=name))
    return {
        "media_type": facts.kind.media_type,
        "container": facts.kind.container,
        "codec": facts.codec,
        "bit_depth": facts.bit_depth,
        "lossless": facts.lossless,
        "sample_rate_hz": facts.sample_rate_hz,
        "channels": facts.channels,
        "frames": findings.frames,
        "header_frames": facts.header_frames,
        "peak": findings.peak,
        "silent": findings.peak < SILENCE_PEAK,
        "warnings": findings.warnings,
    }


def _check_type(path: Path, *, types: Sequence[str] | None) -> None:
    if types is None:
        return
    kind = sniff.sniff_file(path)
    if kind.container not in types:
        taken = f"taken from this user are {', '.join(sorted(types))}" if types else "this user may upload nothing"
        raise Refusal(f"the file is {kind.container}; {taken}", code=ErrorCode.TYPE_REFUSED)


def _check_claimed_length(facts: StreamFacts, *, max_duration_s: float) -> None:
    """Refuse ten hours of silence before decoding four of them, where the header can be believed that far."""
    claimed_s = (facts.header_frames or 0) / facts.sample_rate_hz
    if facts.kind in _TRUSTED_LENGTHS and facts.header_possible and claimed_s > max_duration_s:
        raise _too_long(f"{claimed_s:.0f} s", max_duration_s)


def _too_long(length: str, max_duration_s: float) -> Refusal:
    return Refusal(f"the audio is {length} long; allowed are {max_duration_s:.0f} s", code=ErrorCode.TOO_LONG)


def _decode_all(decoder: Decoder, *, report: Report, max_duration_s: float) -> _Findings:
    findings, rate = _Findings(), decoder.facts.sample_rate_hz
    expected = decoder.facts.header_frames or max_duration_s * rate
    reported = 0.0
    for y in decoder.blocks():
        findings.add(y, rate=rate)
        seconds = findings.frames / rate
        if seconds > max_duration_s:
            raise _too_long(f"more than {max_duration_s:.0f} s", max_duration_s)
        if seconds - reported >= 60.0:
            reported = seconds
            allow_cpu(seconds / 60.0)
            report(min(1.0, findings.frames / expected), f"decoded {seconds / 60:.0f} min")
    return findings


def _check_length(findings: _Findings, *, facts: StreamFacts, min_duration_s: float) -> None:
    header, rate = facts.header_frames, facts.sample_rate_hz
    if header and findings.frames < _WHOLE * header:
        share = 100.0 * findings.frames / header
        raise Refusal(
            f"{findings.frames} of the {header} samples its header promises could be decoded ({share:.2g} %)",
            code=ErrorCode.DAMAGED,
        )
    if findings.frames == 0:
        raise Refusal("the audio stream holds no samples", code=ErrorCode.NO_AUDIO)
    if findings.frames < min_duration_s * rate:
        raise Refusal(
            f"the audio is {findings.frames / rate:.3f} s long; at least {min_duration_s} s are needed",
            code=ErrorCode.TOO_SHORT,
        )
    if findings.peak > _LARGEST_PEAK:
        raise Refusal(f"the peak is {findings.peak:.3g} times full scale", code=ErrorCode.DAMAGED)
    if header and header - findings.frames > _TRUNCATED_S * rate:
        findings.warnings.append(f"truncated: {(header - findings.frames) / rate:.2f} s are missing at the end")


def _remarks(findings: _Findings, *, facts: StreamFacts, name: str) -> list[str]:
    """Return what the uploader should know about an accepted file."""
    remarks = []
    extension = Path(name).suffix.lower().lstrip(".")
    if extension not in facts.kind.extensions:
        remarks.append(f"named {extension or 'without extension'}, but the content is {facts.kind.container}")
    if facts.channels > 2:
        remarks.append(f"{facts.channels} channels are mixed down to stereo")
    if facts.audio_streams > 1:
        remarks.append(f"the first of {facts.audio_streams} audio streams is used")
    if facts.other_streams and facts.kind in (sniff.MP4, sniff.MATROSKA):
        remarks.append("only the audio of this video is used")
    offset = float(np.abs(findings.sums).max()) / findings.frames
    if offset > _DC_OFFSET:
        remarks.append(f"the audio has a DC offset of {offset:.2f} of full scale")
    return remarks
