"""Separate raw audio with the `spleeter` package as it comes, warm, and say what that cost. Runs in its environment.

    python spleeter_package.py --models FOLDER --model 4stems --mixture FILE.f32 --output FILE.npy --threads N

The package's 16 kHz configuration with the mask extended above the model's band, no cut at ten minutes. One short
separation first, so that TensorFlow and the network are loaded; the second, timed one is what a server would pay.
The mixture is interleaved stereo float32 at 44.1 kHz; the output has the shape (stems, channels, frames). Prints one
line of JSON.
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--models", type=Path, required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--mixture", type=Path, required=True)
parser.add_argument("--output", type=Path, required=True)
parser.add_argument("--threads", type=int, required=True)
options = parser.parse_args()

os.environ["MODEL_PATH"] = str(options.models.resolve())  # read once, when the package is imported
os.environ["GITHUB_HOST"] = "http://127.0.0.1:9"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np  # noqa: E402
import spleeter  # noqa: E402
import tensorflow as tf  # noqa: E402
from spleeter.separator import Separator  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(options.threads)
tf.config.threading.set_inter_op_parallelism_threads(options.threads)
configuration = json.loads(
    (Path(spleeter.__file__).parent / "resources" / f"{options.model}-16kHz.json").read_text(encoding="utf-8")
)
configuration["mask_extension"] = "average"
file = options.output.with_suffix(".json")
file.write_text(json.dumps(configuration), encoding="utf-8")

separator = Separator(str(file), multiprocess=False)
mixture = np.fromfile(options.mixture, dtype="<f4").reshape(-1, 2)
separator.separate(mixture[: 44100 * 2])
began_s, began_cpu_s = time.monotonic(), time.process_time()
stems = separator.separate(mixture)
cpu_s, wall_s = time.process_time() - began_cpu_s, time.monotonic() - began_s
np.save(options.output, np.stack([stems[name].T for name in configuration["instrument_list"]]))
usage = resource.getrusage(resource.RUSAGE_SELF)
print(
    json.dumps(
        {
            "stems": configuration["instrument_list"],
            "cpu_s": cpu_s,
            "wall_s": wall_s,
            "total_cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_rss_bytes": usage.ru_maxrss * 1024,
        }
    )
)
