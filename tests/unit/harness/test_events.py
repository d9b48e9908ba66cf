"""Events over standard output: what a container has instead of a descriptor of its own."""

import json
import subprocess
import sys

WORKER = """
import os, subprocess, sys
from ironclad_harness.events import Events
from ironclad_harness.standard_output import own_descriptor

events = Events(own_descriptor(1))
print("half a line", end="", flush=True)
events.log("an event")
os.write(1, b"from a native library\\n")
subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
"""


def test_an_event_over_standard_output_shares_its_stream_with_nothing_printed():
    worker = subprocess.run(
        [sys.executable, "-c", WORKER],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert [json.loads(line)["message"] for line in worker.stdout.splitlines()] == ["an event"]
    assert worker.stderr == "half a linefrom a native library\nfrom a child\n"
