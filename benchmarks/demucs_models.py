"""Make models in Demucs' own file format, with random weights: full-size ones to measure with, small ones to test with.

    ENVIRONMENT/bin/python benchmarks/demucs_models.py NAME FOLDER [--small] [--seed N]

NAME is one of Demucs' models. Needs torch and demucs, so it runs in the engine's environment. FOLDER then holds
``<signature>-<hash>.th`` for every network and ``NAME.yaml``, as Demucs' local repositories do. Random weights cost
the same time and memory as trained ones. Unlike freshly made networks, these let every part be heard: the layer
scales, which start next to nothing, are of the order of one.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from demucs.states import get_state, save_with_checksum

SOURCES = ["drums", "bass", "other", "vocals"]
SIX_SOURCES = [*SOURCES, "guitar", "piano"]

# What the author's networks were made with, as far as it differs from the classes' defaults.
TRANSFORMER = {"segment": Fraction(39, 5), "dconv_mode": 3, "dconv_comp": 8, "dconv_init": 1e-3, "bottom_channels": 512}
FULL: dict[type, dict[str, Any]] = {
    HTDemucs: TRANSFORMER | {"t_dropout": 0.02, "t_layers": 5},
    HDemucs: {"segment": 44},
    Demucs: {"segment": 44},
}
# Every kind of layer is there, as few channels as it takes.
SMALL: dict[type, dict[str, Any]] = {
    HTDemucs: TRANSFORMER
    | {"channels": 8, "bottom_channels": 32, "t_heads": 4, "t_layers": 3, "segment": Fraction(13, 10)},
    HDemucs: {"channels": 4, "nfft": 1024, "depth": 5, "segment": Fraction(6, 5)},
    Demucs: {"channels": 4, "depth": 5, "segment": Fraction(6, 5)},
}
LAYER_SCALE = (0.2, 1.0)

Network = Demucs | HDemucs | HTDemucs
Bag = tuple[list[type], list[list[float]] | None, list[str]]

ONE_EACH = [[float(row == column) for column in range(4)] for row in range(4)]
UNEQUAL = [[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0]]
BAGS: dict[str, Bag] = {
    "htdemucs": ([HTDemucs], None, SOURCES),
    "htdemucs_ft": ([HTDemucs] * 4, ONE_EACH, SOURCES),
    "htdemucs_6s": ([HTDemucs], None, SIX_SOURCES),
    "hdemucs_mmi": ([HDemucs], None, SOURCES),
    "mdx": ([Demucs, Demucs, HDemucs, HDemucs], UNEQUAL, SOURCES),
    "mdx_extra": ([HDemucs] * 4, None, SOURCES),
    "mdx_q": ([Demucs, Demucs, HDemucs, HDemucs], UNEQUAL, SOURCES),
    "mdx_extra_q": ([HDemucs] * 4, None, SOURCES),
}
QUANTISED = ("mdx_q", "mdx_extra_q")


def main(arguments: Sequence[str]) -> int:
    """Make what the command line asks for."""
    parser = argparse.ArgumentParser(description="Make a model of Demucs with random weights.")
    parser.add_argument("name", choices=sorted(BAGS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", action="store_true", help="a network of a few channels with short windows")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    for path in make_model(options.name, folder=options.folder, small=options.small, seed=options.seed):
        print(path)
    return 0


def make_model(name: str, *, folder: Path, small: bool = False, seed: int = 0, **changes: Any) -> list[Path]:  # noqa: ANN401 - whatever the networks take
    """Write the model `name` into `folder` and return its files.

    Args:
        name: one of `BAGS`.
        folder: made where it is missing.
        small: a few channels and windows of 1.2 or 1.3 s.
        seed: of the weights; the same seed gives the same files.
        **changes: further arguments of every network.
    """
    classes, weights, sources = BAGS[name]
    folder.mkdir(parents=True, exist_ok=True)
    quantise = _quantise if name in QUANTISED else None
    signatures = []
    for number, network_class in enumerate(classes):
        torch.manual_seed(seed * 100 + number)
        arguments = (SMALL if small else FULL)[network_class] | changes
        network = network_class(sources=sources, **arguments)
        _make_audible(network)
        signatures.append(f"{seed:02d}{number}{network_class.__name__.lower()}"[:8].ljust(8, "0"))
        _save(network, path=folder / f"{signatures[-1]}.th", quantise=quantise)
    lines = [f"models: {signatures}"]
    if weights is not None:
        lines.append(f"weights: {weights}")
    bag = folder / f"{name}.yaml"
    bag.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [*sorted(path for path in folder.glob("*.th") if path.stem.partition("-")[0] in signatures), bag]


def _make_audible(network: Network) -> None:
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("scale"):
                parameter.uniform_(*LAYER_SCALE)
            elif "norm" in name and name.endswith("weight"):
                parameter.uniform_(0.5, 1.5)
            elif parameter.dim() == 1:
                parameter.uniform_(-0.1, 0.1)


def _save(network: Network, *, path: Path, quantise: Callable[[Network], dict[str, Any]] | None) -> None:
    arguments, keywords = network._init_args_kwargs
    package = {
        "klass": type(network),
        "args": arguments,
        "kwargs": keywords,
        "state": quantise(network) if quantise else get_state(network, None, half=True),
        "training_args": {},
    }
    save_with_checksum(package, path)


def _quantise(network: Network) -> dict[str, Any]:
    from diffq import DiffQuantizer  # noqa: PLC0415 - only the environment of the quantised models has it

    return get_state(network, DiffQuantizer(network, min_size=0.01, group_size=8))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
