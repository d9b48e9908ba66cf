"""``python -m ironclad_harness --request R --events-fd N``: one worker, one request."""

import sys

from ironclad_harness.worker import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
