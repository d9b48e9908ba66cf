"""Separate raw audio with the `demucs` package as it comes, and say what that cost. Runs in Demucs' environment.

    python demucs_package.py --repo FOLDER --model NAME --mixture FILE.f32 --output FILE.npy --threads N

Like the package's own command line: default memory allocator, eager mode, `Separator` on a local repository.
The mixture is interleaved stereo float32 at 44.1 kHz; the output has the shape (stems, channels, frames).
Prints one line of JSON: processor and wall seconds of `separate_tensor` alone, and of everything.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch
from demucs.api import Separator

parser = argparse.ArgumentParser()
parser.add_argument("--repo", type=Path, required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--mixture", type=Path, required=True)
parser.add_argument("--output", type=Path, required=True)
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--device", default="cpu")
options = parser.parse_args()

torch.set_num_threads(options.threads)
separator = Separator(
    model=options.model, repo=options.repo, device=options.device, shifts=0, split=True, overlap=0.25, segment=None
)
mixture = torch.from_numpy(np.fromfile(options.mixture, dtype="<f4").reshape(-1, 2).T.copy())
began_s, began_cpu_s = time.monotonic(), time.process_time()
_, stems = separator.separate_tensor(mixture, 44100)
cpu_s, wall_s = time.process_time() - began_cpu_s, time.monotonic() - began_s
np.save(options.output, np.stack([stem.numpy() for stem in stems.values()]))
usage = resource.getrusage(resource.RUSAGE_SELF)
print(
    json.dumps(
        {
            "stems": list(stems),
            "cpu_s": cpu_s,
            "wall_s": wall_s,
            "total_cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_rss_bytes": usage.ru_maxrss * 1024,
        }
    )
)
