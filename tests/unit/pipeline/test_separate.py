"""The room `stems`: engines that cheat are found out, whatever they claim."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ironclad_assets.contracts.v1.base import AudioFormat, StagedAudio
from ironclad_assets.contracts.v1.engine import EngineRequest, EngineResult, StemFile
from ironclad_assets.contracts.v1.staged_chunks import Chunk, EngineChoice, MixtureStatistics, StagedChunks
from ironclad_assets.errors import JobCanceled
from ironclad_assets.pipeline.separate import Conditions, EngineWork, Separation, make_request, separate
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.watch import SilentWatch

RATE = 44_100
FRAMES = 2 * RATE
LIMITS = Limits(cpu_s=30, memory_bytes=512 * 1024**2, wall_s=60)

Cheat = Callable[[np.ndarray], list[np.ndarray]]


@pytest.fixture
def staged(tmp_path: Path) -> StagedChunks:
    """A staged song of two seconds below `tmp_path`/staged, for an engine of two stems."""
    folder = tmp_path / "staged"
    folder.mkdir()
    (tmp_path / "work").mkdir()
    np.random.default_rng(0).normal(0, 0.1, (FRAMES, 2)).astype("<f4").tofile(folder / "mixture.f32")
    return StagedChunks(
        original_sha256="a" * 64,
        engine=EngineChoice(engine="fake", version="1", model="m", stems=("one", "two")),
        mixture=StagedAudio(path="mixture.f32", sample_rate_hz=RATE, channels=2, frames=FRAMES),
        source=None,
        source_format=AudioFormat(sample_rate_hz=RATE, channels=2, frames=FRAMES),
        statistics=MixtureStatistics(mean=0.0, std=0.1, peak=0.5, rms=0.1),
        chunks=(Chunk(start=0, frames=FRAMES),),
        silent=False,
    )


class FakeEngine:
    """Writes what `make` makes of the mixture as stems, and says it went well."""

    def __init__(self, make: Cheat) -> None:
        self.make = make
        self.requests: list[EngineRequest] = []

    def __call__(self, request: EngineRequest) -> EngineWork:
        self.requests.append(request)
        mixture = np.fromfile(request.mixture.path, "<f4").reshape(-1, 2)
        output = Path(request.output_dir)
        for name, y in zip(request.stems, self.make(mixture), strict=True):
            y.astype("<f4").tofile(output / f"{name}.f32")
        (output / "result.json").write_text("{}", encoding="utf-8")
        stems = tuple(StemFile(name=name, path=f"{name}.f32", frames=FRAMES) for name in request.stems)
        result = EngineResult(
            key=request.key, status="completed", stems=stems, device="cpu", computed_chunks=1, compute_s=1.5
        )
        return EngineWork(request=request, result=result)


def run(staged: StagedChunks, tmp_path: Path, *, make: Cheat) -> Separation:
    return separate(
        staged,
        staged_folder=tmp_path / "staged",
        work=tmp_path / "work",
        key="k",
        job_uuid="job",
        song="song",
        conditions=Conditions(entry="fake:Engine"),
        run=FakeEngine(make),
        limits=LIMITS,
        watch=SilentWatch(),
    )


def failed(separation: Separation) -> list[str]:
    return [check.name for check in separation.checks if not check.passed]


def test_good_stems_pass_every_check_and_only_they_stay(staged: StagedChunks, tmp_path: Path) -> None:
    separation = run(staged, tmp_path, make=lambda y: [y * 0.25, y * 0.75])
    assert failed(separation) == []
    assert [check.name for check in separation.checks] == [
        "stems_are_finite",
        "stems_are_as_long_as_the_mixture",
        "stems_are_not_silent",
        "stems_differ",
        "stems_sum_to_mixture",
    ]
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["one.f32", "two.f32"]
    assert separation.stems.residual_db is not None
    assert separation.stems.residual_db < -90
    assert separation.stems.named("one").levels.rms == pytest.approx(0.025, rel=0.05)
    assert separation.result.compute_s == 1.5
    assert separation.waveform_png_base64


def test_what_a_killed_worker_left_does_not_stay(staged: StagedChunks, tmp_path: Path) -> None:
    work = tmp_path / "work"
    for name in ("checkpoint", ".checkpoint.part", "one.f32.part"):
        (work / name).write_bytes(b"left")
    (work / "scratch").mkdir()
    (work / "scratch" / "file").touch()
    run(staged, tmp_path, make=lambda y: [y * 0.25, y * 0.75])
    assert sorted(path.name for path in work.iterdir()) == ["one.f32", "two.f32"]


@pytest.mark.parametrize(
    ("make", "check"),
    [
        pytest.param(lambda y: [y * 0, y * 0], "stems_are_not_silent", id="silence"),
        pytest.param(lambda y: [y * 0.5, y * 0.5], "stems_differ", id="the same twice"),
        pytest.param(lambda y: [y[:-1], y], "stems_are_as_long_as_the_mixture", id="too short"),
        pytest.param(lambda y: [np.where(y == y[7], np.nan, y), y * 0], "stems_are_finite", id="not a number"),
        pytest.param(lambda y: [y * 0.1, y * 0.2], "stems_sum_to_mixture", id="far from the mixture"),
    ],
)
def test_a_cheat_is_found_out(staged: StagedChunks, tmp_path: Path, make: Cheat, check: str) -> None:
    assert check in failed(run(staged, tmp_path, make=make))


def test_only_the_residual_does_not_block(staged: StagedChunks, tmp_path: Path) -> None:
    separation = run(staged, tmp_path, make=lambda y: [y * 0.1, y * 0.2])
    assert [check.name for check in separation.checks if not check.blocking] == ["stems_sum_to_mixture"]


def test_one_silent_stem_is_natural(staged: StagedChunks, tmp_path: Path) -> None:
    assert failed(run(staged, tmp_path, make=lambda y: [y, y * 0])) == []


def test_a_silent_mixture_may_have_silent_stems(staged: StagedChunks, tmp_path: Path) -> None:
    np.zeros((FRAMES, 2), "<f4").tofile(tmp_path / "staged" / "mixture.f32")
    separation = run(staged, tmp_path, make=lambda y: [y, y])
    assert failed(separation) == []
    assert separation.stems.residual_db is None


def test_the_request_names_song_key_and_absolute_paths(staged: StagedChunks, tmp_path: Path) -> None:
    request = make_request(
        staged,
        staged_folder=tmp_path / "staged",
        output_dir=tmp_path / "work",
        key="k",
        job_uuid="job",
        song="song",
        conditions=Conditions(entry="fake:Engine", threads=3, batch=2, device="cuda"),
    )
    assert request.mixture.path == str(tmp_path / "staged" / "mixture.f32")
    assert request.output_dir == str(tmp_path / "work")
    assert (request.key, request.song, request.job_uuid) == ("k", "song", "job")
    assert (request.threads, request.batch, request.device) == (3, 2, "cuda")
    assert request.stems == ("one", "two")


def test_a_cancel_while_measuring_is_a_cancel(staged: StagedChunks, tmp_path: Path) -> None:
    class Cancels(SilentWatch):
        def canceled(self) -> bool:
            return True

    with pytest.raises(JobCanceled):
        separate(
            staged,
            staged_folder=tmp_path / "staged",
            work=tmp_path / "work",
            key="k",
            job_uuid="job",
            song="song",
            conditions=Conditions(entry="fake:Engine"),
            run=FakeEngine(lambda y: [y, y * 0]),
            limits=LIMITS,
            watch=Cancels(),
        )
