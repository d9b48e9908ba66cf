"""Both engines against the `spleeter` package. Needs both environments of the engine.

The package separates each song as a whole; the engines get it as any worker does, window by window over the
protocol. So these tests prove the conditions for streaming that `docs/spleeter.md` derives.
"""

import hashlib
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ironclad_conformance import signals, worker
from ironclad_conformance.setting import EngineUnderTest
from ironclad_conformance.worker import Work

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).with_name("against_package.py")
RATE = 44_100
SEGMENT = 512 * 1024
LENGTHS = {
    "one_sample": 1,
    "exactly_512_frames": SEGMENT - 4096,
    "one_sample_more": SEGMENT - 4096 + 1,
    "three_segments": 2 * SEGMENT + 77_777,
}
TOLERANCE = 1e-4
MEMBERS = ("checkpoint", "model.data-00000-of-00001", "model.index", "model.meta")

Stems = NDArray[np.float32]


class Spleeter(EngineUnderTest):
    folder = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Session:
    """A folder with songs, checkpoints, and what the package makes of the songs with them."""

    folder: Path

    def song(self, length: str) -> signals.Audio:
        return np.fromfile(self.folder / "audio" / f"{length}.f32", dtype="<f4").reshape(-1, 2)

    def package(self, weights: str, *, length: str) -> Stems:
        """Return the package's stems, shape (stems, frames, channels)."""
        results = self.folder / "package" / weights
        if not results.is_dir():
            self.run_package(weights)
        stems: Stems = np.load(results / f"{length}.npy")
        return stems

    def run_package(self, weights: str) -> None:
        python = _engine(f"{weights}-reference").interpreter()
        paths = os.pathsep.join(str(REPOSITORY / each) for each in (".", "engines/_harness", "engines/spleeter"))
        environ = {**os.environ, "PYTHONPATH": paths, "GITHUB_HOST": "http://127.0.0.1:9", "TF_CPP_MIN_LOG_LEVEL": "3"}
        lengths = LENGTHS if weights == "2stems" else ["one_sample_more"]
        command = [python, str(SCRIPT), str(self.folder), weights, *lengths]
        subprocess.run(command, env=environ, check=True, timeout=600)

    def prepare(self, model: str, *, length: str) -> Work:
        """Lay out a request for a song."""
        weights = model.removesuffix("-reference")
        self.package(weights, length=length)  # has the checkpoint made
        folder = self.folder / "work" / f"{model}-{len(list(self.folder.glob('work/*')))}"
        work = _engine(model).prepare_audio(folder, audio=self.song(length))
        names = [f"{weights}.safetensors", *(f"{weights}/{member}" for member in MEMBERS)]
        work.change_request(model_files=[_describe(self.folder / "models" / name, name=name) for name in names])
        return work

    def separate(self, model: str, *, length: str) -> Stems:
        """Return an engine's stems, shape (stems, frames, channels), made once."""
        kept = self.folder / f"{model}-{length}.npy"
        if not kept.exists():
            work = self.prepare(model, length=length)
            assert worker.run(work).status == 0, work.log()[-2000:]
            np.save(kept, _stems(work))
        stems: Stems = np.load(kept)
        return stems


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    for model in ("2stems", "2stems-reference"):
        _engine(model).interpreter()  # skips where it is missing
    folder = tmp_path_factory.mktemp("spleeter")
    (folder / "audio").mkdir()
    random = np.random.default_rng(5)
    for name, frames in LENGTHS.items():
        y = signals.band(frames, channels=2, rate=RATE)
        # Noise reaches above the networks' band, and differs between the channels.
        y += np.float32(0.05) * random.standard_normal(y.shape).astype(np.float32)
        y.astype("<f4").tofile(folder / "audio" / f"{name}.f32")
    return Session(folder)


def _engine(model: str) -> type[EngineUnderTest]:
    return type("SpleeterModel", (Spleeter,), {"model": model})


def _describe(path: Path, *, name: str) -> dict[str, Any]:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"name": name, "path": str(path), "size_bytes": len(content), "sha256": digest}


def _stems(work: Work) -> Stems:
    return np.stack([work.stem(name) for name in work.model["stems"]])


def _error(found: Stems, *, expected: Stems) -> float:
    """Return the energy of the difference relative to what was expected, for the stem where that is worst."""
    assert found.shape == expected.shape
    difference = np.sqrt(((found.astype(np.float64) - expected) ** 2).sum(axis=(1, 2)))
    size = np.sqrt((expected.astype(np.float64) ** 2).sum(axis=(1, 2)))
    return float(np.max(difference / size))


@pytest.mark.parametrize(
    ("weights", "length"),
    [
        *(("2stems", length) for length in LENGTHS),
        pytest.param("4stems", "one_sample_more", marks=pytest.mark.long),
        pytest.param("5stems", "one_sample_more", marks=pytest.mark.long),
    ],
)
def test_the_default_engine_gives_what_the_package_gives(session: Session, weights: str, length: str) -> None:
    found = session.separate(weights, length=length)
    assert _error(found, expected=session.package(weights, length=length)) < TOLERANCE


@pytest.mark.parametrize(
    ("weights", "length"),
    [("2stems", "three_segments"), pytest.param("5stems", "one_sample_more", marks=pytest.mark.long)],
)
def test_the_reference_engine_gives_what_the_package_gives(session: Session, weights: str, length: str) -> None:
    found = session.separate(f"{weights}-reference", length=length)
    assert _error(found, expected=session.package(weights, length=length)) < 1e-5


def test_no_treble_is_lost_above_the_networks_band(session: Session) -> None:
    mixture = session.song("three_segments")
    total = session.separate("2stems", length="three_segments").sum(axis=0)
    treble, heard = (np.abs(np.fft.rfft(y[:, 0]))[int(17_000 * len(y) / RATE) :] for y in (mixture, total))
    assert np.sqrt((heard**2).sum() / (treble**2).sum()) == pytest.approx(1, abs=1e-4)


@pytest.mark.long
def test_the_reference_engine_goes_on_after_a_kill(session: Session) -> None:
    undisturbed = session.separate("2stems-reference", length="three_segments")
    work = session.prepare("2stems-reference", length="three_segments")
    worker.run(work, send=signal.SIGKILL, when=_after_first_window())
    assert worker.run(work).status == 0, work.log()[-2000:]
    assert np.array_equal(_stems(work), undisturbed)


def _after_first_window() -> Callable[[dict[str, Any]], bool]:
    return lambda event: (event.get("windows") or 0) >= 1


def test_the_same_checkpoint_is_extracted_to_the_same_bytes(session: Session) -> None:
    session.package("2stems", length="one_sample")
    first, second = ((session.folder / "models" / f"2stems{end}.safetensors").read_bytes() for end in ("", "-again"))
    assert first == second
