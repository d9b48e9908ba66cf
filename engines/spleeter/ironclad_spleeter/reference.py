"""The reference engine: the network, transform and masks of the `spleeter` package itself, segment by segment.

Slower and larger than the default engine, and here to compare with. The package separates whole songs; its
`EstimatorSpecBuilder` is given one segment at a time here, through one session kept between songs.
"""

import importlib.resources
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from spleeter.model import EstimatorSpecBuilder
from tensorflow.compat import v1

from ironclad_harness.engine import EngineContext, EngineError, ModelFile, Pass, Samples, Window
from ironclad_spleeter.checkpoint import MEMBERS, find_checkpoint
from ironclad_spleeter.configuration import CHANNELS, FRAME, LEVELS, STEP, Configuration
from ironclad_spleeter.segments import check_request, segment_frames, segment_pass, segment_samples

_LEAD = FRAME // STEP
"""Frames that begin in the frame of zeros that the package puts before its input."""


Tensor = Any  # TensorFlow's, which has no types


class ReferenceEngine:
    """Separates with the package's own graph and the published checkpoint."""

    def __init__(self, context: EngineContext) -> None:
        configuration = check_request(context)
        self._stems = context.stems
        self._frames = segment_frames(context.window_s)
        files = [_find_file(context.model_files, name=f"{configuration.weights}/{member}") for member in MEMBERS]
        hashes = " ".join(file.sha256 for file in files)
        folder, frames, threads = files[0].path.parent, self._frames, context.threads
        self._graph = context.keeper.keep(
            f"{context.model} {hashes} {frames} {threads}",
            lambda: SegmentGraph(folder, configuration=configuration, frames=frames, threads=threads),
        )

    def passes(self) -> tuple[Pass, ...]:
        """Return the one grid of segments."""
        return (segment_pass(self._frames),)

    def separate(self, y: Samples, *, window: Window) -> Samples:
        """Return the stems of one segment."""
        stems = self._graph.separate(y)
        return np.stack([stems[name] for name in self._stems])


class SegmentGraph:
    """The package's graph for segments of one length, its weights loaded."""

    def __init__(self, folder: Path, *, configuration: Configuration, frames: int, threads: int) -> None:
        """Build the graph and load the checkpoint.

        Args:
            folder: of the checkpoint.
            configuration: which model it is.
            frames: length of a segment.
            threads: as many as are used.

        Raises:
            EngineError: ``model_missing``, ``model_damaged``.
        """
        prefix = find_checkpoint(folder)
        settings = v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
        try:
            parameters = read_parameters(configuration, frames=frames, prefix=prefix)
            with tf.Graph().as_default():
                self._waveform = v1.placeholder(tf.float32, (segment_samples(frames), CHANNELS), name="waveform")
                self._outputs = _SegmentSpecBuilder({"waveform": self._waveform}, parameters).outputs
                self._session = v1.Session(config=settings)
                v1.train.Saver().restore(self._session, prefix)
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            detail = f"{prefix} is no checkpoint of {configuration.weights}: {error}"
            raise EngineError("model_damaged", detail) from error

    def separate(self, y: Samples) -> dict[str, Samples]:
        """Return every stem of a segment, shape (channels, segment_samples(frames)) like `y`."""
        stems = self._session.run(self._outputs, {self._waveform: y.T})
        return {name: np.ascontiguousarray(stem.T) for name, stem in stems.items()}


class _SegmentSpecBuilder(EstimatorSpecBuilder):  # type: ignore[misc]  # the package has no types
    """The package's builder for a piece of a song: it leaves out what the package adds at a song's ends."""

    def _build_stft_feature(self) -> None:
        super()._build_stft_feature()
        self._features[self.stft_name] = self._features[self.stft_name][_LEAD : _LEAD + self._T]
        del self._features[self.spectrogram_name]
        super()._build_stft_feature()

    def _inverse_stft(self, stft_t: Tensor, time_crop: Tensor = None) -> Tensor:
        frames_of_zeros = tf.zeros((_LEAD, *stft_t.shape[1:]), stft_t.dtype)
        return super()._inverse_stft(tf.concat([frames_of_zeros, stft_t], 0), time_crop)


def read_parameters(configuration: Configuration, *, frames: int, prefix: str) -> dict[str, Any]:
    """Return the package's 16 kHz configuration, its mask extended above the networks' band.

    The numbers of channels come from the checkpoint at `prefix`; the published ones have the package's own.
    """
    resources = importlib.resources.files("spleeter.resources")
    text = resources.joinpath(f"{configuration.weights}-16kHz.json").read_text(encoding="utf-8")
    parameters: dict[str, Any] = json.loads(text)
    parameters |= {"mask_extension": "average", "T": frames}
    shapes = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    layers = ["conv2d", *(f"conv2d_{number}" for number in range(1, LEVELS))]
    try:
        parameters["model"]["params"]["conv_n_filters"] = [shapes[f"{layer}/bias"][0] for layer in layers]
    except KeyError as error:
        raise ValueError(f"it has no {error}") from error
    return parameters


def _find_file(files: Mapping[str, ModelFile], *, name: str) -> ModelFile:
    try:
        return files[name]
    except KeyError:
        raise EngineError("model_missing", f"{name}; run `pipelinectl models fetch spleeter`") from None
