"""What the package makes of some audio with small random checkpoints, for the tests to compare with.

    python against_package.py FOLDER MODEL SONG...

Runs in the environment with TensorFlow. Writes a checkpoint and what is extracted from it to ``FOLDER/models``,
and for every song ``FOLDER/audio/SONG.f32`` the stems to ``FOLDER/package/MODEL``. The package is used as its
readme says, with its own 16 kHz configuration but for the size of the networks and the mask's extension.
"""

import json
import os
import sys
from pathlib import Path

FOLDER, MODEL, SONGS = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
os.environ["MODEL_PATH"] = str(FOLDER / "models")  # read once, when the package is imported

import numpy as np  # noqa: E402
from spleeter.separator import Separator  # noqa: E402

from benchmarks.spleeter_models import read_parameters, write_checkpoint  # noqa: E402
from ironclad_spleeter import extract  # noqa: E402

FILTERS = [4, 4, 8, 8, 8, 8]

parameters = read_parameters(MODEL, filters=FILTERS)
checkpoint = FOLDER / "models" / MODEL
checkpoint.mkdir(parents=True)
write_checkpoint(checkpoint, parameters=parameters, seed=3)
for name in (f"{MODEL}.safetensors", f"{MODEL}-again.safetensors"):
    status = extract.main(
        ["--source", str(checkpoint.parent), "--weights", MODEL, "--output", str(checkpoint.parent / name)]
    )
    assert status == 0
before = sorted(path.name for path in checkpoint.iterdir())

descriptor = FOLDER / f"{MODEL}.json"
descriptor.write_text(json.dumps(parameters), encoding="utf-8")
separator = Separator(str(descriptor), multiprocess=False)
(FOLDER / "package" / MODEL).mkdir(parents=True)
for song in SONGS:
    mixture = np.fromfile(FOLDER / "audio" / f"{song}.f32", dtype="<f4").reshape(-1, 2)
    stems = separator.separate(mixture)
    stacked = np.stack([stems[name] for name in parameters["instrument_list"]])
    np.save(FOLDER / "package" / MODEL / f"{song}.npy", stacked.astype(np.float32))
assert sorted(path.name for path in checkpoint.iterdir()) == before
