"""A running system analyses a song after it is complete, and again where that was interrupted."""

import json

import pytest

from ironclad_assets.pipeline.analyse import read_analysis
from ironclad_assets.storage.store import Store
from tests import synth
from tests.analysing import compiled_folder
from tests.e2e.running import RunningSystem

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_a_complete_song_is_analysed_although_the_system_was_killed_meanwhile(tmp_path) -> None:
    system = RunningSystem(tmp_path, IRONCLAD_ANALYSE="true")
    cache = system.home / "cache" / "analysis"
    cache.parent.mkdir(parents=True)
    cache.symlink_to(compiled_folder())
    try:
        system.start()
        system.drop(synth.write_flac(system.store / "song.flac", synth.music(20.0)))
        system.await_completed(songs=1)
        (job,) = system.jobs()
        library = system.library()
        store = Store(system.store, reserve_bytes=0)
        folder = store.stage("song_analysis", job.song)
        assert not folder.manifest.exists()
        system.await_true(lambda: folder.path.is_dir(), timeout_s=120.0, what="the analysis has begun")
        system.kill_all()
        system.start()
        system.await_true(lambda: read_analysis(store, job.song), timeout_s=180.0, what="the song is analysed")
        shown = json.loads(system.run_command("status", job.song, "--json").stdout)
        assert shown["analysis"]["tempo"]["bpm"] is not None
        assert system.jobs() == [job]
        assert system.library() == library
    finally:
        system.close()
