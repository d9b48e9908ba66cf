"""One pass over a song's mixture and stems for everything that is measured of them after the song is complete.

Reads blocks of all files side by side and hands them to the meters of envelope, loudness range, rhythm and key;
nothing is kept but what these keep. Loudness and true peak were measured when the stems were made.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ironclad_assets.audio.analysis_envelope import EnvelopeMeter, envelope_rate_hz
from ironclad_assets.audio.analysis_key import PitchMeter, find_key
from ironclad_assets.audio.analysis_rhythm import OnsetMeter, find_rhythm
from ironclad_assets.audio.levels import LoudnessRangeMeter
from ironclad_assets.audio.resample import Samples

DRUMS = "drums"
"""The stem without pitch: where there is one, the key is looked for in what is left of the mixture."""

Report = Callable[[float, str], None]
_BLOCK_FRAMES = 65_536
_SAMPLE_BYTES = 4
_REPORT_EVERY = 16
_LARGEST = 1e6
"""Beyond any sample of music: what is squared and summed stays finite."""

_LEVEL = 0.1
"""RMS that the mixture is brought to, so that how loud a song was made changes nothing that is found in it."""


def measure_sources(
    report: Report, *, mixture: dict[str, Any], stems: Sequence[dict[str, Any]]
) -> dict[str, Any]:  # JSON objects
    """Return what is found in the mixture and its stems.

    Args:
        report: told of progress.
        mixture: ``path``, ``sample_rate_hz``, ``channels``, ``frames`` and ``rms`` of raw float32.
        stems: ``name`` and ``path`` of each stem, same rate, channels and length.

    Returns:
        ``loudness_range_lu``; ``rhythm``: ``bpm``, ``confidence``, ``beats_s``; ``key``: ``tonic``, ``mode``,
        ``camelot``, ``confidence``, ``tuning_cents``; ``envelope_rate_hz``; ``envelopes``: ``peak`` and ``rms``
        of the mixture and of each stem, in the given order.
    """
    sr, channels, frames = int(mixture["sample_rate_hz"]), int(mixture["channels"]), int(mixture["frames"])
    rate_hz = envelope_rate_hz(frames / sr)
    drawn = [EnvelopeMeter(frames, sr=sr, rate_hz=rate_hz) for _ in range(1 + len(stems))]
    spread = LoudnessRangeMeter(sr, channels)
    gain = _LEVEL / float(mixture["rms"]) if mixture["rms"] else 0.0
    onsets, pitches = (kind(sr=sr, channels=channels, gain=gain) for kind in (OnsetMeter, PitchMeter))
    drums = next((index for index, stem in enumerate(stems, start=1) if stem["name"] == DRUMS), None)
    paths = [Path(mixture["path"]), *(Path(stem["path"]) for stem in stems)]
    done = 0
    for number, blocks in enumerate(_read_blocks(paths, channels=channels)):
        for meter, y in zip(drawn, blocks, strict=True):
            meter.add(y)
        whole = blocks[0]
        spread.add(whole)
        if gain:
            onsets.add(whole)
            pitches.add(whole if drums is None else whole - blocks[drums])
        done += whole.shape[1]
        if number % _REPORT_EVERY == 0:
            report(0.9 * done / max(frames, 1), "listening")
    report(0.9, "finding beats and key")
    envelopes = [dict(zip(("peak", "rms"), meter.result(), strict=True)) for meter in drawn]
    return {
        "loudness_range_lu": spread.result(),
        "rhythm": asdict(find_rhythm(onsets.result(), duration_s=frames / sr)),
        "key": asdict(find_key(pitches.result())),
        "envelope_rate_hz": rate_hz,
        "envelopes": envelopes,
    }


def _read_blocks(paths: Sequence[Path], *, channels: int) -> Iterator[list[Samples]]:
    """Yield a block of each file, shape (channels, frames), as long as the first file's; what is missing is silence.

    Samples that are no numbers count as silence.
    """
    with ExitStack() as stack:
        first, *others = [stack.enter_context(path.open("rb")) for path in paths]
        while (y := _read(first, frames=_BLOCK_FRAMES, channels=channels)).shape[1]:
            rest = (_read(stream, frames=y.shape[1], channels=channels) for stream in others)
            yield [y, *(np.pad(part, ((0, 0), (0, y.shape[1] - part.shape[1]))) for part in rest)]


def _read(stream: BinaryIO, *, frames: int, channels: int) -> Samples:
    data = stream.read(frames * channels * _SAMPLE_BYTES)
    whole = len(data) // (channels * _SAMPLE_BYTES) * channels
    y = np.frombuffer(data, dtype="<f4", count=whole).reshape(-1, channels).T
    finite = np.nan_to_num(y, nan=0.0, posinf=0.0, neginf=0.0)
    return np.ascontiguousarray(np.clip(finite, -_LARGEST, _LARGEST), dtype=np.float32)
