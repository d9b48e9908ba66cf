"""Starts the process that erases where no system runs that would do it by itself.

All that is known here of Dagster is a command line, as in `system`.
"""

import os
import subprocess
import sys
from collections.abc import Mapping

from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic


def start_eraser(settings: Settings) -> subprocess.Popen[bytes]:
    """Start the process that carries out deletions; its words go to ``logs/erase.log``."""
    atomic.make_folder(settings.dagster_home)
    atomic.make_folder(settings.home_dir / "logs")
    configuration = settings.dagster_home / "dagster.yaml"
    if not configuration.exists():  # the system never ran here; what reads the configuration needs one
        atomic.write_bytes(configuration, settings.instance_yaml.read_bytes())
    with (settings.home_dir / "logs" / "erase.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "ironclad_assets.sensors.erase"],
            env=_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C ends the command that waits, not the deletion
        )


def _environment(settings: Settings) -> Mapping[str, str]:
    own = {"DAGSTER_HOME": str(settings.dagster_home), "DAGSTER_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **settings.as_environment(), **own}
