"""Songs made from nothing, for demonstration and measurement: files whose true stems are known.

Tasks for the sandbox. The score and the sounds are in `synthesis_song` and `synthesis_instruments`, the cover
in `synthesis_cover`; here they become files. Nothing of this is part of a user's song's way.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from mutagen.flac import FLAC, Picture
from numpy.typing import NDArray

from ironclad_assets.audio.synthesis_cover import SIDE_PX, draw_cover
from ironclad_assets.audio.synthesis_instruments import SR
from ironclad_assets.audio.synthesis_song import BAR_S, Stereo, compose

Report = Callable[[float, str], None]
Pcm = NDArray[np.int16]

TAGS = {
    "title": "Lantern Weather",
    "artist": "The Paper Kilns",
    "album": "Clockwork Harbours",
    "albumartist": "The Paper Kilns",
    "tracknumber": "3",
    "tracktotal": "9",
    "date": "2026-05-01",
    "genre": "Synth-pop",
}
"""The song's tags, as Vorbis comments. Song, artist and album are inventions of this project."""

PEAK = 0.85
"""Peak of the mixture, which leaves 1.4 dB below full scale."""

_FULL_SCALE = 32_767
_SECTION_S = 12 * BAR_S


def synthesise_song(report: Report, *, folder: str, seconds: float) -> dict[str, Any]:
    """Write the song and its four stems as FLAC, 16 bit, 44.1 kHz, stereo; the song with tags and cover.

    As integers, drums + bass + other + vocals = song at every sample.

    Args:
        report: takes progress as a fraction and a message.
        folder: existing folder; gets the song, and the stems in a folder ``stems``.
        seconds: length, at least 3 s.

    Returns:
        ``song`` and ``stems`` (name to path), ``frames``, ``sample_rate_hz``, ``channels``, ``tags``.
    """
    stems = _to_pcm(compose(seconds, progress=lambda fraction, message: report(0.7 * fraction, message)))
    mixture: Pcm = np.stack(list(stems.values())).sum(axis=0, dtype=np.int32).astype(np.int16)
    base = Path(folder)
    (base / "stems").mkdir(exist_ok=True)
    stem_paths = {name: base / "stems" / f"{name}.flac" for name in stems}
    for name, path in stem_paths.items():
        report(0.7, f"writing {name}")
        _write_flac(path, stems[name])
    song_path = base / f"{TAGS['title']}.flac"
    report(0.9, "writing the song")
    _write_flac(song_path, mixture)
    _tag(song_path)
    report(1.0, "written")
    return {
        "song": str(song_path),
        "stems": {name: str(path) for name, path in stem_paths.items()},
        "frames": mixture.shape[1],
        "sample_rate_hz": SR,
        "channels": 2,
        "tags": TAGS,
    }


def synthesise_long(report: Report, *, path: str, seconds: float, seed: int = 0) -> dict[str, Any]:
    """Write a song of any length in constant memory: sections whose balance changes at random.

    Args:
        report: takes progress as a fraction and a message.
        path: file to write; its extension chooses the format (``.flac``, ``.wav``, ...), 16 bit.
        seconds: length.
        seed: of the balance; the same seed gives the same samples.

    Returns:
        ``path``, ``frames``, ``sample_rate_hz``, ``channels``.
    """
    section_frames = round(_SECTION_S * SR)
    section = [stem[:, :section_frames] for stem in compose(_SECTION_S + 0.5, progress=lambda *_: None).values()]
    balance = np.random.default_rng(seed)
    total = round(seconds * SR)
    with sf.SoundFile(path, "w", samplerate=SR, channels=2, subtype="PCM_16") as stream:
        for start in range(0, total, section_frames):
            report(start / total, f"{start / SR:.0f} of {seconds:.0f} s")
            gains = balance.uniform(0.3, 1.0, len(section))
            mixture = sum((gain * stem for gain, stem in zip(gains, section, strict=True)), np.zeros_like(section[0]))
            stream.write(_quantise(PEAK * mixture)[:, : total - start].T)
    return {"path": path, "frames": total, "sample_rate_hz": SR, "channels": 2}


def _to_pcm(stems: dict[str, Stereo]) -> dict[str, Pcm]:
    """Return the stems as 16 bit integers, scaled by one common gain so that their sum peaks at `PEAK`."""
    gain = PEAK / float(np.abs(sum(stems.values())).max())
    return {name: _quantise(gain * stem) for name, stem in stems.items()}


def _quantise(y: Stereo) -> Pcm:
    return np.rint(np.clip(y, -1.0, 1.0) * _FULL_SCALE).astype(np.int16)


def _write_flac(path: Path, pcm: Pcm) -> None:
    sf.write(path, pcm.T, SR, format="FLAC", subtype="PCM_16")


def _tag(path: Path) -> None:
    audio = FLAC(path)
    for name, value in TAGS.items():
        audio[name] = value
    cover = Picture()
    cover.type, cover.mime, cover.desc = 3, "image/jpeg", ""  # 3: front cover
    cover.width = cover.height = SIDE_PX
    cover.depth = 24
    cover.data = draw_cover()
    audio.add_picture(cover)
    audio.save()
