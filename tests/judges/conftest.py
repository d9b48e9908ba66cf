"""One library for all judges, made once however many processes run them, and one MPD that has read it."""

import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.judges.delivery import Library, deliver
from tests.judges.mpd_server import MpdClient, running_mpd
from tests.judges.programs import PACKAGES, require


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The delivered songs of `album`; nothing is made where nobody could judge it."""
    if not any(map(shutil.which, PACKAGES)):
        pytest.skip(f"no judge here: apt-get install {' '.join(sorted(set(PACKAGES.values())))}")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "judged"
    with FileLock(f"{folder}.lock"):
        kept = folder / "library.pickle"
        if not kept.exists():
            with pytest.MonkeyPatch.context() as environment:
                for name in [name for name in os.environ if name.startswith(("IRONCLAD_", "DAGSTER_"))]:
                    environment.delenv(name)
                kept.parent.mkdir()
                kept.write_bytes(pickle.dumps(deliver(folder)))
        found = pickle.loads(kept.read_bytes())
    assert isinstance(found, Library)
    return found


@pytest.fixture(scope="module")
def mpd(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MpdClient]:
    """An MPD to whom originals, targets and stems are one library, which is the hardest case."""
    require("mpd")
    folder: Path = tmp_path_factory.mktemp("mpd")
    with running_mpd(folder / "server", targets=library.targets, stems=library.stems) as client:
        yield client
