"""How loud a delivered track is, in the fields that players read: from its own levels, never the original's."""

from typing import Any

import pytest

from ironclad_assets.audio.embed import read_back
from ironclad_assets.audio.tag_formats.replaygain import replaygain_fields
from tests import synth
from tests.unit.audio.test_recombine import Rendering


def levels(loudness_lufs: float | None = -14.6, *, true_peak_dbtp: float | None = -0.5) -> dict[str, Any]:
    return {"loudness_lufs": loudness_lufs, "true_peak_dbtp": true_peak_dbtp, "peak": 0.9, "rms": 0.1}


def test_replaygain_aims_at_18_lufs_below_full_scale() -> None:
    assert replaygain_fields(levels(), opus=False) == {
        "REPLAYGAIN_TRACK_GAIN": ("-3.40 dB",), "REPLAYGAIN_TRACK_PEAK": ("0.944061",),
    }  # fmt: skip


def test_opus_has_its_own_field_in_steps_of_a_256th_of_a_db() -> None:
    assert replaygain_fields(levels(-19.8), opus=True) == {"R128_TRACK_GAIN": ("-819",)}
    assert replaygain_fields(levels(-69.9), opus=True) == {"R128_TRACK_GAIN": (str(round(46.9 * 256)),)}


@pytest.mark.parametrize("opus", [True, False])
def test_silence_has_no_gain(opus: bool) -> None:
    assert replaygain_fields(levels(None, true_peak_dbtp=None), opus=opus) == {}


@pytest.mark.parametrize("kind", ["flac", "wav", "mp3", "m4a", "opus"])
def test_a_tracks_gain_is_that_of_its_measured_levels(kind: str, tmp_path: Any) -> None:
    """RECON-001"""
    rendering = Rendering(tmp_path)
    rendering.add_input("a", synth.tone(1.0, sr=48_000, level=1.6), sr=48_000)
    tags = {"REPLAYGAIN_TRACK_GAIN": ["+99.00 dB"]} if kind != "opus" else {}
    rendering.add_track("a", add=("a",), end=kind, tags=tags)
    found = rendering.render(frames=48_000, sr=48_000, kind=kind)
    loudness = found["tracks"][0]["levels"]["loudness_lufs"]
    fields = read_back(tmp_path / "targets" / f"a.{kind}").fields
    if kind == "opus":
        assert fields == {"R128_TRACK_GAIN": [str(round(256 * (-23.0 - loudness)))]}
    else:
        assert fields["REPLAYGAIN_TRACK_GAIN"] == [f"{-18.0 - loudness:.2f} dB"]
        assert float(fields["REPLAYGAIN_TRACK_PEAK"][0]) == pytest.approx(1.0, abs=0.01)
    assert found["tracks"][0]["tags_embedded"]


def test_two_stems_have_gains_of_their_own(tmp_path: Any) -> None:
    rendering = Rendering(tmp_path)
    for name, level in (("loud", 0.8), ("soft", 0.08)):
        rendering.add_input(name, synth.tone(1.0, level=level))
        rendering.add_track(name, add=(name,), tags={})
    rendering.render(frames=44_100)
    gains = [
        float(read_back(tmp_path / "targets" / f"{name}.flac").fields["REPLAYGAIN_TRACK_GAIN"][0].split()[0])
        for name in ("loud", "soft")
    ]
    assert gains[1] - gains[0] == pytest.approx(20.0, abs=0.02)
