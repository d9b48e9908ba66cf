"""Spleeter's U-Nets in OpenVINO's operations, all instruments of a model in one graph.

The networks are those of `spleeter.model.functions.unet`, the graph ends in the masks that
`EstimatorSpecBuilder._build_masks` makes of their outputs. Only the last transposed convolution is written
in another way, which computes the same sums in a third of the time. Spectra belong to `spectrum`.
"""

import importlib
import sys
from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np

from ironclad_harness.engine import Samples
from ironclad_spleeter.configuration import CHANNELS, EPSILON, LEVELS, MODEL_BINS, Activation, Configuration
from ironclad_spleeter.weights import KERNEL

LEAK = 0.2

Arrays = Mapping[str, Samples]
Node = Any  # this and the next two are OpenVINO's, which is not there where types are checked
Model = Any
Runtime = Any


def load_runtime() -> Runtime:
    """Return the module `openvino`.

    Imported with its telemetry, it reports every import to its maker over the network.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # how Python notes "not there"
    return importlib.import_module("openvino")


class MaskNetwork:
    """The networks of all instruments, compiled for one length of segment and kept between songs."""

    def __init__(
        self, weights: Mapping[str, Arrays], *, configuration: Configuration, frames: int, threads: int
    ) -> None:
        """Compile the networks.

        Args:
            weights: arrays of each instrument, as `read_weights` returns them.
            configuration: of the model that the weights are of.
            frames: length of a segment, a multiple of 64.
            threads: as many as are used.
        """
        runtime = load_runtime()
        graph = _Graph(importlib.import_module("openvino.opset13"), configuration=configuration)
        model = graph.masks(weights, frames=frames, runtime=runtime)
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # where the CPU has bfloat16, the default uses it
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # two workers would be pinned to the same cores
        }
        self._request = runtime.Core().compile_model(model, "CPU", settings).create_infer_request()

    def masks(self, magnitude: Samples) -> list[Samples]:
        """Return the mask of each instrument, shape (channels, frames, MODEL_BINS).

        They are overwritten by the next call.

        Args:
            magnitude: shape (channels, frames, MODEL_BINS).
        """
        found = self._request.infer([magnitude[np.newaxis]], share_inputs=True, share_outputs=True)
        return [found[number][0] for number in range(len(found))]


class _Graph:
    """Writes the networks down in the operations of `ops`."""

    def __init__(self, ops: Runtime, *, configuration: Configuration) -> None:
        self._ops = ops
        self._configuration = configuration

    def masks(self, weights: Mapping[str, Arrays], *, frames: int, runtime: Runtime) -> Model:
        """Return the model from a magnitude spectrogram to one mask per instrument."""
        ops, count = self._ops, len(self._configuration.instruments)
        magnitude = ops.parameter([1, CHANNELS, frames, MODEL_BINS], np.float32)
        logits = [self._network(magnitude, weights[name]) for name in self._configuration.instruments]
        shares = self._compete(logits) if self._configuration.softmax else [ops.sigmoid(each) for each in logits]
        outputs = [ops.multiply(share, magnitude) for share in shares]
        powers = [ops.multiply(output, output) for output in outputs]
        total = ops.add(reduce(ops.add, powers), self._constant(EPSILON))
        share_of_epsilon = self._constant(EPSILON / count)
        masks = [ops.divide(ops.add(power, share_of_epsilon), total) for power in powers]
        return runtime.Model(masks, [magnitude], self._configuration.weights)

    def _compete(self, logits: list[Node]) -> list[Node]:
        ops = self._ops
        shares = ops.softmax(ops.concat(logits, 0), 0)
        return list(ops.split(shares, 0, len(logits)).outputs())

    def _network(self, magnitude: Node, arrays: Arrays) -> Node:
        """Return the logits of one instrument, shape (1, channels, frames, MODEL_BINS)."""
        down = self._way_down(magnitude, arrays)
        y = down[-1]
        for level in range(1, LEVELS):
            kernel = self._constant(arrays[f"up{level}/kernel"])
            y = self._ops.convolution_backprop_data(y, kernel, [2, 2], pads_begin=[1, 1], pads_end=[2, 2])
            y = self._finish_up(y, arrays, level=level)
            if level < LEVELS - 1:
                y = self._ops.concat([down[LEVELS - 1 - level], y], 1)
        y = self._double_size([down[0], y], arrays[f"up{LEVELS}/kernel"])
        y = self._ops.depth_to_space(self._finish_up(y, arrays, level=LEVELS), "blocks_first", 2)
        y = self._ops.convolution(y, self._constant(arrays["last/kernel"]), [1, 1], [3, 3], [3, 3], [2, 2])
        return self._ops.add(y, self._per_channel(arrays["last/bias"]))

    def _way_down(self, y: Node, arrays: Arrays) -> list[Node]:
        outputs = []
        for level in range(1, LEVELS + 1):
            # TensorFlow's SAME puts the odd line of zeros at the end.
            y = self._ops.convolution(y, self._constant(arrays[f"down{level}/kernel"]), [2, 2], [1, 1], [2, 2], [1, 1])
            y = self._ops.add(y, self._per_channel(arrays[f"down{level}/bias"]))
            outputs.append(y)
            if level < LEVELS:
                y = self._activate(self._normalise(y, arrays, layer=f"down{level}"), self._configuration.down)
        return outputs

    def _double_size(self, parts: list[Node], kernel: Samples) -> Node:
        """Return a transposed convolution to one channel as four channels, one per place in a 2x2 block.

        Each part is a share of the input's channels, so that they need not be copied side by side.
        """
        phases = split_phases(kernel)
        size = phases.shape[1] // len(parts)
        convolved = [
            self._ops.convolution(
                part, self._constant(phases[:, n * size : (n + 1) * size]), [1, 1], [1, 1], [1, 1], [1, 1]
            )
            for n, part in enumerate(parts)
        ]
        return reduce(self._ops.add, convolved)

    def _finish_up(self, y: Node, arrays: Arrays, *, level: int) -> Node:
        y = self._ops.add(y, self._per_channel(arrays[f"up{level}/bias"]))
        return self._normalise(self._activate(y, self._configuration.up), arrays, layer=f"up{level}")

    def _normalise(self, y: Node, arrays: Arrays, *, layer: str) -> Node:
        y = self._ops.multiply(y, self._per_channel(arrays[f"{layer}/scale"]))
        return self._ops.add(y, self._per_channel(arrays[f"{layer}/shift"]))

    def _activate(self, y: Node, activation: Activation) -> Node:
        if activation == "ELU":
            return self._ops.elu(y, 1.0)
        return self._ops.relu(y) if activation == "ReLU" else self._ops.prelu(y, self._constant([LEAK]))

    def _per_channel(self, values: Samples) -> Node:
        return self._constant(values.reshape(1, -1, 1, 1))

    def _constant(self, values: float | list[float] | Samples) -> Node:
        # Shared: kernels stay mapped from their file, and are not held a second time.
        return self._ops.constant(np.ascontiguousarray(values, dtype=np.float32), shared_memory=True)


def split_phases(kernel: Samples) -> Samples:
    """Return the four convolutions that a transposed one with steps of 2 consists of.

    Output ``2 i + a`` of a transposed convolution (cropped by one line before and two after) is the sum over
    d of input ``i + d`` times tap ``a + 1 - 2 d`` of the kernel: at most three inputs, -1 <= d <= 1.

    Args:
        kernel: shape (in, 1, 5, 5).

    Returns:
        Shape (4, in, 3, 3): for the places (0, 0), (0, 1), (1, 0), (1, 1) of each 2x2 block of the output.
    """
    phases = np.zeros((4, kernel.shape[0], 3, 3), dtype=np.float32)
    taps = [(phase, d + 1, phase + 1 - 2 * d) for phase in (0, 1) for d in (-1, 0, 1)]
    taps = [tap for tap in taps if 0 <= tap[2] < KERNEL]
    for row, row_place, row_tap in taps:
        for column, column_place, column_tap in taps:
            phases[2 * row + column, :, row_place, column_place] = kernel[:, 0, row_tap, column_tap]
    return phases
