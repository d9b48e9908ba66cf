"""``python -m ironclad_harness``: a worker. What it does is in `worker`; how its process ends is here."""

import os
import sys

from ironclad_harness.worker import main

if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # All files are durable: taking torch or TensorFlow down in good order costs a second and may crash.
    os._exit(status)
