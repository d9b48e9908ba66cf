"""How the analysis of a song looks on a terminal, and in JSON. What was not found out is left away."""

from typing import Any

from ironclad_assets.contracts.v1.song_analysis import SongAnalysis


def analysis_text(analysis: SongAnalysis) -> str:
    """Return one line: ``100.0 BPM, A minor (8A), -14.2 LUFS, -1.4 dBTP``."""
    mixture, key = analysis.sources[0], analysis.key
    parts = [
        "no beat" if analysis.tempo.bpm is None else f"{analysis.tempo.bpm:.1f} BPM",
        "no key" if key.tonic is None else f"{key.tonic} {key.mode} ({key.camelot})",
        "silent" if mixture.loudness_lufs is None else f"{mixture.loudness_lufs:.1f} LUFS",
    ]
    if mixture.true_peak_dbtp is not None:
        parts.append(f"{mixture.true_peak_dbtp:.1f} dBTP")
    return ", ".join(parts)


def analysis_document(analysis: SongAnalysis) -> dict[str, Any]:  # a JSON object
    """Return the analysis as JSON shows it; the beats and the envelopes are in the artifact's own file."""
    return analysis.model_dump(mode="json", exclude={"beats_s", "file"})
