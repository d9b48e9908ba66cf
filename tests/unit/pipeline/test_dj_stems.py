"""Which engines can make a file for DJ programs, what its streams are mixed of, and what the file is called."""

from typing import Any

import pytest

from ironclad_assets.audio.formats import dj_rate_for
from ironclad_assets.contracts.v1.engine import EngineManifest
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.recombined_track import Track
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.contracts.v1.staged_chunks import EngineChoice
from ironclad_assets.errors import Refusal
from ironclad_assets.intake.choice import choose, choose_output
from ironclad_assets.pipeline.naming import track_path
from ironclad_assets.pipeline.track_plan import MIXTURE, StreamPlan, TrackPlan, missing_for_dj_stems, plan_tracks
from ironclad_assets.pipeline.variants import describe_variant, name_track

FOUR = ("drums", "bass", "other", "vocals")


def manifest(*stems: str) -> EngineManifest:
    return EngineManifest.model_validate(
        {
            "name": "some", "version": "1", "kind": "separation", "protocol": 1, "description": "", "licence": "MIT",
            "entry": "m:C", "environment": "core", "default_model": "base",
            "models": [{"name": "base", "stems": stems, "sample_rate_hz": 44100, "channels": 2}],
        }
    )  # fmt: skip


def resolve(*stems: str, job: dict[str, Any], user: dict[str, Any] | None = None) -> JobOptions:
    return choose(
        JobOptions(**job),
        engines={"some": manifest(*stems)},
        user=JobOptions(**(user or {})),
        system=JobOptions(engine="some"),
    ).options


def plan(*stems: str) -> TrackPlan:
    return plan_tracks(stems, options=JobOptions(dj_stems=True, stems=()))[-1]


@pytest.mark.parametrize(
    ("stems", "vocals"),
    [
        (FOUR, ("vocals",)),
        ((*FOUR, "guitar", "piano"), ("vocals",)),
        (("vocals", "piano", "drums", "bass", "other"), ("vocals",)),
        (("drums", "bass", "vocals"), ("vocals",)),
        (("lead_vocals", "drums", "bass", "back_vocals"), ("lead_vocals", "back_vocals")),
    ],
)
def test_other_is_what_drums_bass_and_vocals_leave_of_the_song(stems: tuple[str, ...], vocals: tuple[str, ...]) -> None:
    """STEM-001"""
    made = plan(*stems)
    assert (made.kind, made.stems, made.path) == ("dj_stems", stems, "stems/dj_stems.stem.mp4")
    assert made.streams == (
        StreamPlan(add=(MIXTURE,)),
        StreamPlan(add=("drums",)),
        StreamPlan(add=("bass",)),
        StreamPlan(add=(MIXTURE,), subtract=("drums", "bass", *vocals)),
        StreamPlan(add=vocals),
    )


def test_it_comes_after_all_other_tracks_whatever_stems_are_delivered() -> None:
    plans = plan_tracks(FOUR, options=JobOptions(dj_stems=True, stems=("vocals",), residual=True))
    assert [one.kind for one in plans] == ["target", "stem", "stem", "dj_stems"]
    assert not any(one.streams for one in plans[:-1])


@pytest.mark.parametrize(
    ("stems", "missing"),
    [
        (("vocals", "accompaniment"), ("drums", "bass")),
        (("drums", "bass", "other"), ("vocals",)),
        (("vocals", "drums", "other"), ("bass",)),
        (FOUR, ()),
    ],
)
def test_an_engine_that_lacks_a_stem_is_refused_by_name(stems: tuple[str, ...], missing: tuple[str, ...]) -> None:
    assert missing_for_dj_stems(stems) == missing
    if not missing:
        assert resolve(*stems, job={"dj_stems": True}).dj_stems
        return
    said = f"some with base: the file for DJ programs needs {', '.join(missing)}; the engine makes {', '.join(stems)}"
    with pytest.raises(Refusal) as caught:
        resolve(*stems, job={"dj_stems": True, "targets": (stems[0],)})
    assert (caught.value.detail, caught.value.code.code) == (said, "unknown_target")


@pytest.mark.parametrize(
    ("stems", "job", "user", "wanted"),
    [
        (FOUR, {}, {}, False),
        (FOUR, {"dj_stems": True}, {}, True),
        (FOUR, {}, {"dj_stems": True}, True),
        (FOUR, {"dj_stems": False}, {"dj_stems": True}, False),
        (FOUR, {"dj_stems": True}, {"dj_stems": False}, True),
        (("vocals", "accompaniment"), {}, {"dj_stems": True}, False),
    ],
)
def test_the_job_decides_before_its_user(
    stems: tuple[str, ...], job: dict[str, Any], user: dict[str, Any], wanted: bool
) -> None:
    """SPLIT-005: a default that the engine cannot meet is passed over."""
    assert resolve(*stems, job=job, user=user).dj_stems is wanted
    made_by = EngineChoice(engine="some", version="1", model="base", stems=stems)
    assert choose_output(JobOptions(**job), made_by=made_by, user=JobOptions(**user)).dj_stems is wanted


def test_the_file_has_the_songs_title_on_the_album_of_stems() -> None:
    metadata = SongMetadata(title="Run", artist="Ann", album="Far", track_number=3)
    variant = describe_variant("dj_stems", kind="dj_stems", stems=FOUR)
    name = name_track(metadata, variant=variant, extension="stem.mp4")
    assert (name.title, name.album) == ("Run", "Far (Stems)")
    assert track_path(name) == "Ann/Far (Stems)/03 - Run.stem.mp4"
    assert track_path(name, copy=2) == "Ann/Far (Stems)/03 - Run (2).stem.mp4"
    assert variant.has_vocals


def test_a_long_title_keeps_the_extension_that_dj_programs_need() -> None:
    metadata = SongMetadata(title="é" * 300, artist="Ann", album="Far", track_number=3)
    variant = describe_variant("dj_stems", kind="dj_stems", stems=FOUR)
    path = track_path(name_track(metadata, variant=variant, extension="stem.mp4"))
    assert path.endswith("é.stem.mp4")
    assert len(path.rpartition("/")[2].encode()) <= 200


@pytest.mark.parametrize(
    ("sr", "want"),
    [(8_000, 48_000), (11_025, 44_100), (22_050, 44_100), (32_000, 48_000), (44_100, 44_100), (48_000, 48_000),
     (88_200, 44_100), (96_000, 48_000), (176_400, 44_100), (192_000, 48_000), (384_000, 48_000), (37_800, 48_000)],
)  # fmt: skip
def test_its_rate_is_one_of_the_two_that_all_read(sr: int, want: int) -> None:
    assert dj_rate_for(sr) == want


def test_results_of_earlier_versions_are_read() -> None:
    """Contracts only grow: a track from before has its format's extension."""
    track = Track.model_validate(
        {
            "name": "vocals", "kind": "stem", "stems": ["vocals"], "method": "sum", "format": "flac",
            "file": {"path": "stems/vocals.flac", "size_bytes": 1, "sha256": "0" * 64},
            "audio": {"sample_rate_hz": 44100, "channels": 2, "frames": 1},
            "levels": {"loudness_lufs": None, "true_peak_dbtp": None, "peak": 0, "rms": 0},
            "tags_embedded": True, "art_embedded": False,
        }
    )  # fmt: skip
    assert track.extension == "flac"
    assert "dj_stems" not in JobOptions().named()
