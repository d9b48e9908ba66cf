"""What a second supervisor of a home may not touch."""

import pytest
from filelock import FileLock

from ironclad_assets.errors import TransientFailure
from ironclad_assets.supervisor.system import System


def test_second_supervisor_leaves_the_running_one_findable(settings):
    run = settings.home_dir / "run"
    run.mkdir(parents=True)
    processes = run / "processes.json"
    processes.write_text("{}", encoding="utf-8")
    with (
        FileLock(run / "supervisor.lock"),
        pytest.raises(TransientFailure, match="already run by another"),
        System(settings) as second,
    ):
        second.start(lambda _text: None)
    assert processes.exists()
