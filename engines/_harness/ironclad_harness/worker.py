"""The door of the worker process: one request and then the end, or a socket to serve at.

Takes the process over (signals, the parent's death) and gives the work to `job` or `serving`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ironclad_harness.events import Events
from ironclad_harness.job import Jobs
from ironclad_harness.serving import serve
from ironclad_harness.standard_output import own_descriptor
from ironclad_harness.stopping import StopFlag, die_with_parent


def main(arguments: Sequence[str]) -> int:
    """Return the process's exit status: 0, 1 for a named failure, 143 when stopped."""
    parser = argparse.ArgumentParser(prog="ironclad_harness", description="A worker of the engine protocol.")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--request", type=Path, help="the request to run, a JSON file")
    task.add_argument("--serve", type=Path, metavar="SOCKET", help="run what comes over this unix socket")
    parser.add_argument("--events-fd", type=int, default=None, help="descriptor to write the request's events to")
    options = parser.parse_args(arguments)
    die_with_parent()
    stop = StopFlag()
    stop.install()
    if options.serve is not None:
        return serve(options.serve, stop=stop)
    events = Events(own_descriptor(options.events_fd))
    events.start()
    try:
        return Jobs().run(options.request, events=events, stop=stop.check)
    finally:
        events.close()
