"""Loads networks with Demucs' own loader, from files that were verified and from nothing else.

The loader is given a folder with links to exactly those files: a repository folder keeps it off the network,
and a stray file beside the weights cannot be unpickled. How networks are run belongs to `engine`.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from demucs.apply import BagOfModels
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from demucs.pretrained import get_model

from ironclad_harness.engine import EngineError, ModelFile

Network = Demucs | HDemucs | HTDemucs


@dataclass(frozen=True, slots=True)
class Bag:
    """One model as users name it: networks, and the weight of each network for each of the sources."""

    networks: tuple[Network, ...]
    weights: tuple[tuple[float, ...], ...]
    sources: tuple[str, ...]
    sample_rate_hz: int
    channels: int


def load_bag(model: str, *, files: Mapping[str, ModelFile]) -> Bag:
    """Return `model` on the CPU, ready for inference.

    Args:
        model: name of the bag (its YAML file) or the signature of one network.
        files: the weights (``<signature>-<hash>.th``) and the bag, by their names in the catalogue.

    Raises:
        EngineError: ``model_missing`` where a file is not there, ``model_damaged`` where one cannot be loaded.
    """
    if not files:
        raise EngineError("model_missing", f"the request names no files for {model}")
    with tempfile.TemporaryDirectory(prefix="demucs-") as folder:
        repository = Path(folder)
        _link(files, into=repository, model=model)
        return _describe(_load(_repository_name(model, repository=repository), repository=repository))


def _link(files: Mapping[str, ModelFile], *, into: Path, model: str) -> None:
    for name, file in files.items():
        if not file.path.is_file():
            raise EngineError("model_missing", f"{model}: {file.path} is not there")
        (into / Path(name).name).symlink_to(file.path.resolve())
    # A bag is a list of names in plain text; what it names must still be among the verified files.
    beside = next(iter(files.values())).path.parent / f"{model}.yaml"
    if beside.is_file() and not list(into.glob("*.yaml")):
        (into / beside.name).symlink_to(beside.resolve())


def _repository_name(model: str, *, repository: Path) -> str:
    bags = sorted(path.stem for path in repository.glob("*.yaml"))
    networks = sorted(path.stem.partition("-")[0] for path in repository.glob("*.th"))
    if model in bags or model in networks:
        return model
    if len(bags) == 1:
        return bags[0]
    if not bags and len(networks) == 1:
        return networks[0]
    raise EngineError("model_missing", f"among the files of {model} is no {model}.yaml, only {bags + networks}")


def _load(name: str, *, repository: Path) -> BagOfModels | Network:
    try:
        loaded: BagOfModels | Network = get_model(name, repo=repository)
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # unpickling can raise anything, and the package exits where it gives up
        if "can't allocate memory" in str(error):
            raise MemoryError(str(error)) from error
        raise EngineError("model_damaged", f"{name} cannot be loaded: {type(error).__name__}: {error}") from error
    return loaded


def _describe(loaded: BagOfModels | Network) -> Bag:
    sources = tuple(loaded.sources)
    if isinstance(loaded, BagOfModels):
        networks, weights = tuple(loaded.models), loaded.weights
    else:
        networks, weights = (loaded,), [[1.0] * len(sources)]
    for network in networks:
        network.eval().requires_grad_(requires_grad=False)
        # A sum is finite only where every summand is.
        damaged = [name for name, value in network.state_dict().items() if not torch.isfinite(value.sum())]
        if damaged:
            raise EngineError("model_damaged", f"{damaged[0]} holds NaN or infinite weights")
    return Bag(
        networks=networks,
        weights=tuple(tuple(float(weight) for weight in each) for each in weights),
        sources=sources,
        sample_rate_hz=int(loaded.samplerate),
        channels=int(loaded.audio_channels),
    )
