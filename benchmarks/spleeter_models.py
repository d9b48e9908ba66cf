"""Make Spleeter checkpoints with random weights, as TensorFlow writes them. Runs in Spleeter's own environment.

    python spleeter_models.py --output MODELS_FOLDER --model 4stems [--filters 4,4,8,8,8,8] [--seed 1]

Full size without `--filters`: the networks then cost what the published ones do. Built by the package's own code,
so names and shapes are the package's. Each normalisation is set to what its input really is for some noise, layer by
layer, as training would have done: without that all masks would be 0 or 1.
"""

import argparse
import importlib.resources
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from spleeter.model import EstimatorSpecBuilder
from tensorflow.compat import v1

Array = NDArray[Any]
FILTERS = "16,32,64,128,256,512"


def main() -> None:
    """Write one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the models folder")
    parser.add_argument("--model", choices=["2stems", "4stems", "5stems"], required=True)
    parser.add_argument("--filters", default=FILTERS, help="channels after each convolution on the way down")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder: Path = options.output / options.model
    folder.mkdir(parents=True, exist_ok=True)
    filters = [int(each) for each in options.filters.split(",")]
    write_checkpoint(folder, parameters=read_parameters(options.model, filters=filters), seed=options.seed)


def read_parameters(model: str, *, filters: list[int]) -> dict[str, Any]:
    """Return the package's 16 kHz configuration of `model` with networks of another size."""
    resources = importlib.resources.files("spleeter.resources")
    parameters: dict[str, Any] = json.loads(resources.joinpath(f"{model}-16kHz.json").read_text(encoding="utf-8"))
    parameters["mask_extension"] = "average"
    parameters["model"]["params"]["conv_n_filters"] = filters
    return parameters


def write_checkpoint(folder: Path, *, parameters: Mapping[str, Any], seed: int) -> None:
    """Write a checkpoint of networks with random weights to `folder`."""
    random = np.random.default_rng(seed)
    with tf.Graph().as_default() as graph, v1.Session(config=_unoptimised()) as session:
        waveform = v1.placeholder(tf.float32, (None, 2), name="waveform")
        EstimatorSpecBuilder({"waveform": waveform}, dict(parameters)).outputs  # noqa: B018 - builds the graph
        variables = v1.global_variables()
        step = v1.train.get_or_create_global_step()  # the package's estimator wants to find one
        values = {each: _draw(each.name, shape=each.shape.as_list(), random=random) for each in variables}
        _load({**values, step: 0}, session=session)
        networks = len(parameters["instrument_list"])
        _normalise(graph, networks=networks, session=session, feed={waveform: _noise(random)})
        saver = v1.train.Saver(save_relative_paths=True)  # as in the published ones
        saver.save(session, str(folder / "model"), write_meta_graph=True)


def _unoptimised() -> v1.ConfigProto:
    """Return settings without optimisers, which cost more than graphs that run once or twice."""
    config = v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = v1.OptimizerOptions.L0
    return config


def _load(values: Mapping[Any, Any], *, session: v1.Session) -> None:
    """Set variables, all in one run."""
    initialisers = {variable.initializer: value for variable, value in values.items()}
    session.run(list(initialisers), {each.inputs[1]: value for each, value in initialisers.items()})


def _draw(name: str, *, shape: list[int], random: np.random.Generator) -> Array:
    kind = name.split("/")[-1].split(":")[0]
    if kind == "kernel":
        inputs = shape[3] / 4 if "transpose" in name else shape[2]
        scale = float(np.sqrt(2 / (shape[0] * shape[1] * inputs)))
        return random.standard_normal(shape) * scale
    if kind in ("gamma", "moving_variance"):
        return random.uniform(0.5, 1.5, shape)
    return random.standard_normal(shape) * 0.1


def _normalise(graph: tf.Graph, *, networks: int, session: v1.Session, feed: Mapping[Any, Any]) -> None:
    """Set every normalisation to its input's mean and variance, one layer of all networks after the other."""
    # Keras wraps a normalisation in a condition, for training and for use.
    conditions = [each for each in graph.get_operations() if re.fullmatch(r"batch_normalization\w*/cond", each.name)]
    assert len(conditions) == 12 * networks
    variables = {variable.op.name: variable for variable in v1.global_variables()}
    for place in range(12):
        same = conditions[place::12]
        inputs = [next(each for each in condition.inputs if each.shape.rank == 4) for condition in same]
        values: dict[Any, Any] = {}
        moments = session.run([tf.nn.moments(each, axes=(0, 1, 2)) for each in inputs], feed)
        for condition, (mean, variance) in zip(same, moments, strict=True):
            layer = condition.name.split("/")[0]
            values |= {variables[f"{layer}/moving_mean"]: mean, variables[f"{layer}/moving_variance"]: variance}
        _load(values, session=session)


def _noise(random: np.random.Generator) -> Array:
    envelope = 0.1 * (1 + np.sin(np.arange(44100 * 4) / 3000))[:, np.newaxis]
    return (envelope * random.standard_normal((44100 * 4, 2))).astype(np.float32)


if __name__ == "__main__":
    main()
