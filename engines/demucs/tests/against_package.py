"""Separate the same audio with the engine under the harness and with `demucs.api.Separator`, and tell how they differ.

Run by `test_demucs_exactness` with the interpreter of the engine's environment: ``python against_package.py CASES``
reads a JSON list of cases and prints one JSON object per case. The package draws its shifts from Python's global
generator; here it is given the ones that the engine draws.
"""

import hashlib
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from demucs import api
from numpy.typing import NDArray

from ironclad_demucs import fast
from ironclad_demucs.loading import Bag, load_bag
from ironclad_demucs.plans import MAX_SHIFT_S, draw_shifts
from ironclad_harness import worker
from ironclad_harness.engine import ModelFile

Audio = NDArray[np.float32]  # (frames, channels)
RATE = 44100


def make_audio(kind: str, *, frames: int) -> Audio:
    """Return noise under a slow swell with a tone and an offset, the same every time."""
    if kind == "silence":
        return np.zeros((frames, 2), np.float32)
    time = np.arange(frames) / RATE
    draws = np.random.default_rng(7)
    left, right = (
        (0.1 * draws.standard_normal(frames) + 0.3 * np.sin(2 * np.pi * hz * time)) * (1.2 + np.sin(3 * time)) + 0.02
        for hz in (110, 165)
    )
    if kind == "antiphase":
        right = -left
    if kind == "mono":
        right = left
    return np.stack([left, right], axis=1).astype(np.float32)


def by_engine(case: dict[str, Any], *, audio: Audio, folder: Path) -> dict[str, Any]:
    """Return the result of a worker's run, with the stems it wrote under ``audio``."""
    output = folder / "output"
    output.mkdir()
    audio.astype("<f4").tofile(folder / "mixture.f32")
    middle = audio.mean(axis=1, dtype=np.float64)
    request = {
        "protocol": 1,
        "job_uuid": "exactness",
        "song": "exactness",
        "engine": "demucs",
        "engine_version": "1.0.0",
        "entry": "ironclad_demucs.engine:DemucsEngine",
        "model": case["model"],
        "stems": case["stems"],
        "parameters": case.get("parameters", {}),
        "mixture": {
            "path": str(folder / "mixture.f32"),
            "sample_rate_hz": RATE,
            "channels": 2,
            "frames": len(audio),
        },
        "statistics": {
            "mean": float(middle.mean()),
            "std": float(middle.std(ddof=1)) if len(audio) > 1 else 0.0,
            "peak": float(np.abs(audio).max()),
            "rms": float(np.sqrt(np.mean(audio.astype(np.float64) ** 2))),
        },
        "chunks": [{"start": 0, "frames": len(audio)}],
        "key": "exactness",
        "output_dir": str(output),
        "device": case.get("device", "cpu"),
        "precision": case.get("precision", "full"),
        "threads": case.get("threads", 1),
        "batch": case.get("batch", 1),
        "seed": case.get("seed", 3),
        "model_files": [
            {"name": path.name, "path": str(path), "size_bytes": path.stat().st_size, "sha256": hash_of(path)}
            for path in files_of(case)
        ],
    }
    damage(request["model_files"], how=case.get("damage"), folder=folder)
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    worker.main(["--request", str(folder / "request.json")])
    result: dict[str, Any] = json.loads((output / "result.json").read_text(encoding="utf-8"))
    result["audio"] = {
        name: np.fromfile(output / f"{name}.f32", "<f4").reshape(-1, 2)
        for name in case["stems"]
        if (output / f"{name}.f32").exists()
    }
    return result


def by_package(case: dict[str, Any], *, audio: Audio, bag: Bag) -> dict[str, Audio]:
    """Return the stems that the package's own class makes; `bag` tells how many shifts are drawn."""
    parameters = dict(case.get("parameters", {}))
    power = parameters.pop("transition_power", 1.0)
    folder = files_of(case)[0].parent
    separator = api.Separator(
        case["model"],
        repo=folder,
        device="cpu",
        shifts=parameters.get("shifts", 0),
        overlap=parameters.get("overlap", 0.25),
        segment=parameters.get("segment") or None,
    )
    drawn = draw_shifts(bag, shifts=parameters.get("shifts", 0), seed=case.get("seed", 3))
    offsets = [int(MAX_SHIFT_S * RATE) - shift for shifts in drawn for shift in shifts]

    def apply_model(*arguments: Any, **keywords: Any) -> torch.Tensor:
        return original(*arguments, transition_power=power, **keywords)

    original = api.apply_model
    with (
        mock.patch.object(random, "randint", side_effect=offsets),
        mock.patch.object(api, "apply_model", apply_model),
    ):
        _, stems = separator.separate_tensor(torch.from_numpy(audio.T.copy()))
    return {name: stem.numpy().T for name, stem in stems.items()}


def files_of(case: dict[str, Any]) -> list[Path]:
    """Return the weights and the bag of a case's model."""
    folder = Path(case["folder"])
    return sorted([*folder.glob("*.th"), *folder.glob("*.yaml")])


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def damage(model_files: list[dict[str, Any]], *, how: str | None, folder: Path) -> None:
    """Replace the first network's file by something that is no model, or take it away, with a true hash of that."""
    network = next(file for file in model_files if file["name"].endswith(".th"))
    path = folder / network["name"]
    if how == "missing":
        network["path"] = str(folder / "nowhere.th")
    elif how == "bag missing":
        shutil.copy(network["path"], path)
        model_files[:] = [network | {"path": str(path)}, network | {"name": "other-00000000.th"}]
    elif how is not None:
        if how == "cut off":
            path.write_bytes(Path(network["path"]).read_bytes()[:20_000])
        else:
            package = torch.load(network["path"], weights_only=False)
            next(iter(package["state"].values())).fill_(float("nan"))
            torch.save(package, path)
        network |= {"path": str(path), "size_bytes": path.stat().st_size, "sha256": hash_of(path)}
        # The hash in the name is right as well: what is wrong is the content.
        network["name"] = f"{network['name'].partition('-')[0]}-{network['sha256'][:8]}.th"


def compare(case: dict[str, Any]) -> dict[str, Any]:
    """Return how far apart the stems are: the largest difference by the largest sample, and in energy."""
    audio = make_audio(case.get("signal", "music"), frames=case["frames"])
    with tempfile.TemporaryDirectory() as folder:
        result = by_engine(case, audio=audio, folder=Path(folder))
    if result["status"] != "completed":
        return {"id": case["id"], "failure": result["failure"], "output": sorted(result["audio"])}
    bag = load_bag(case["model"], files={path.name: ModelFile(path, "") for path in files_of(case)})
    theirs = by_package(case, audio=audio, bag=bag) if case.get("compare", True) else {}
    peak, energy = 0.0, 0.0
    for name, stem in theirs.items():
        if name in result["audio"]:
            mine, yours = result["audio"][name].astype(np.float64), stem.astype(np.float64)
            difference = mine - yours
            peak = max(peak, np.abs(difference).max() / max(np.abs(yours).max(), 1e-30))
            energy = max(energy, np.sqrt((difference**2).sum() / max((yours**2).sum(), 1e-30)))
    loudest = max(float(np.abs(stem).max()) for stem in result["audio"].values())
    finite = all(np.isfinite(stem).all() for stem in result["audio"].values())
    return {
        "id": case["id"],
        "peak": peak,
        "energy": energy,
        "loudest": loudest,
        "finite": bool(finite),
        "fast": [fast.supports(network) for network in bag.networks],
    }


def main() -> None:
    """Work through the cases."""
    for case in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        sys.stdout.write(json.dumps(compare(case)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
