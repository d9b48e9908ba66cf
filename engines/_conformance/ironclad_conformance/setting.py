"""What the suite must know of an engine before it can try it: its interpreter, its weights, its requests.

`EngineUnderTest` is what `EngineConformance` inherits the attributes from that an engine's test file sets;
the tests themselves are in `suite` and the modules that it is put together from.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ironclad_conformance import signals, worker
from ironclad_conformance.worker import Ending, Work

ENVIRONMENTS_VARIABLE = "IRONCLAD_ENVIRONMENTS_PATH"
MAKE_TIMEOUT_S = 900.0


class EngineUnderTest:
    """Inherit through `EngineConformance`, and set what differs.

    Attributes:
        folder: the engine's folder, with its `engine.toml`.
        model: which of its models; None: the manifest's default.
        parameters: parameters of every request.
        python: interpreter of the engine's environment; None: the one that its manifest asks for, and all
            tests skip where that environment has not been installed.
        stems_sum_to_mixture: whether the engine promises that; others only have their residual looked at.
        keeps_model: whether a warm worker keeps something from one song to the next.
        resume_s: seconds of audio that take the engine at least three windows.
        stop_s: within which a stop must have happened; 5 s is the most that the product allows.
        batch: how many windows at once are compared with one by one.
        batch_tolerance: by how much stems may differ between batches, relative.
    """

    folder: ClassVar[Path]
    model: ClassVar[str | None] = None
    parameters: ClassVar[Mapping[str, float | int | str | bool]] = {}
    python: ClassVar[str | None] = None
    stems_sum_to_mixture: ClassVar[bool] = False
    keeps_model: ClassVar[bool] = False
    resume_s: ClassVar[float] = 40.0
    stop_s: ClassVar[float] = 2.5
    batch: ClassVar[int] = 3
    batch_tolerance: ClassVar[float] = 1e-5

    _files: ClassVar[tuple[dict[str, Any], ...]] = ()  # JSON, as requests name them

    @classmethod
    def make_model_files(cls, folder: Path) -> dict[str, Path]:
        """Make the weights to try the engine with, once for all tests; return them by their catalogue names.

        Override this for an engine with weights. Small random ones will do. The engine's libraries are in
        its own environment: `run_in_environment` runs code there.

        Args:
            folder: empty, to put the files in.
        """
        return {}

    @classmethod
    def run_in_environment(cls, *arguments: str, environment: str | None = None) -> None:
        """Run the engine's interpreter with `arguments`, with the engine and the harness to import from.

        Args:
            *arguments: as after ``python`` on a command line.
            environment: another one of the engine's environments than the model's.
        """
        python = cls._python_of(environment or cls.model_facts().get("environment", "default"))
        paths = worker.import_path(cls.folder)
        environ = {**os.environ, **worker.variables_of(cls.manifest(), model=cls.model_facts()), "PYTHONPATH": paths}
        subprocess.run([python, *arguments], check=True, env=environ, timeout=MAKE_TIMEOUT_S)

    @classmethod
    def manifest(cls) -> dict[str, Any]:
        """Return the content of `engine.toml`."""
        return worker.read_manifest(cls.folder)

    @classmethod
    def model_facts(cls) -> dict[str, Any]:
        """Return the manifest's entry of the model under test."""
        return worker.find_model(cls.manifest(), name=cls.model)

    @classmethod
    def interpreter(cls) -> str:
        """Return the interpreter of the engine's environment; skip the test where it is not installed."""
        return cls.python or cls._python_of(cls.model_facts().get("environment", "default"))

    @classmethod
    def _python_of(cls, environment: str) -> str:
        manifest = cls.manifest()
        if manifest["environment"] == "core":
            return sys.executable
        name = manifest["name"] if environment == "default" else f"{manifest['name']}-{environment}"
        root = os.environ.get(ENVIRONMENTS_VARIABLE) or Path.home() / ".ironclad" / "engines"
        python = Path(root) / name / "bin" / "python"
        if not python.exists():
            pytest.skip(f"{python} is missing; run `pipelinectl engines install {manifest['name']}`")
        return str(python)

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def model_files(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        """Have the weights of every request made, once."""
        cls.interpreter()
        made = cls.make_model_files(tmp_path_factory.mktemp("weights"))
        cls._files = tuple(describe_file(name, path=path) for name, path in made.items())
        assert made or not cls.model_facts().get("weights"), "the model has weights: override make_model_files"
        yield
        cls._files = ()

    @pytest.fixture(scope="class")
    @classmethod
    def undisturbed(cls, tmp_path_factory: pytest.TempPathFactory, model_files: None) -> tuple[Work, Ending]:
        """Give one piece of work that nothing happened to, to compare with."""
        work = cls.prepare(tmp_path_factory.mktemp("undisturbed") / "work", seconds=cls.resume_s)
        return work, worker.run(work)

    @classmethod
    def prepare(
        cls, folder: Path, *, seconds: float | None = None, frames: int = 0, chunk_s: float = worker.CHUNK_S
    ) -> Work:
        """Lay out a request for some music of the model's format."""
        rate, channels = cls.audio_format()
        audio = signals.band(int(seconds * rate) if seconds is not None else frames, channels=channels, rate=rate)
        return cls.prepare_audio(folder, audio=audio, chunk_s=chunk_s)

    @classmethod
    def prepare_audio(cls, folder: Path, *, audio: signals.Audio, chunk_s: float = worker.CHUNK_S) -> Work:
        """Lay out a request for `audio`."""
        work = worker.prepare(
            cls.folder, folder=folder, audio=audio, chunk_s=chunk_s, model=cls.model_facts(), python=cls.interpreter()
        )
        work.change_request(parameters=dict(cls.parameters), model_files=list(cls._files))
        return work

    @classmethod
    def audio_format(cls) -> tuple[int, int]:
        """Return rate and channels of the model under test."""
        model = cls.model_facts()
        return model["sample_rate_hz"], model["channels"]

    def assert_completed(self, work: Work, *, ending: Ending) -> None:
        """Assert that every stem is there, whole and finite, and nothing else."""
        assert ending.status == 0, work.log()[-2000:]
        result = work.result()
        assert result is not None
        assert result["status"] == "completed"
        assert [stem["name"] for stem in result["stems"]] == work.model["stems"]
        assert {path.name for path in work.output.iterdir()} == {
            "result.json",
            *(f"{name}.f32" for name in work.model["stems"]),
        }
        for name in work.model["stems"]:
            assert len(work.stem(name)) == work.frames
            assert np.isfinite(work.stem(name)).all()


def describe_file(name: str, *, path: Path) -> dict[str, Any]:
    """Return a file of weights as a request names it."""
    content = path.read_bytes()
    return {
        "name": name,
        "path": str(path.resolve()),
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
