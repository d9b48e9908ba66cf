"""Any store: what a dry run lists is what a sweep takes, nothing else, and nothing that is needed."""

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.settings import MEBIBYTE, Settings
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.prune.plan import How, Kind
from tests.unit.upkeep.worlds import World, make_world

EXAMPLES = 60 if int(os.environ.get("CHAOS_ROUNDS", "1")) > 1 else 8
AGES = st.sampled_from([0.0, 0.03, 0.1, 2.0, 8.0, 31.0, 100.0])
STATES = st.sampled_from([JobState.COMPLETED, JobState.FAILED, JobState.CANCELED, JobState.RUNNING, JobState.QUEUED])
SONGS = st.lists(st.tuples(STATES, AGES, st.sampled_from(["ada", "bob"])), max_size=3)
HEX = "0123456789abcdef" * 2
PLACES = [
    "archive/ab/" + "ab" * 32, f"archive/.{HEX}.part", "archive/strange", "stages/stems/gone/abc/x",
    "stages/stems/{song}/abc/x", "stages/stems/{song}/.0123456789abcdef.part/checkpoint",
    "stages/stems/{song}/.0123456789abcdef.part/vocals.f32", "stages/library_entry/{song}/.lock",
    "spectral-input/{song}/request.json", "spectral-input/gone/request.json", "sidecars/{song}/lyrics.txt",
    "sidecars/gone/lyrics.txt", "error/gone/error.json", "error/{song}/original", "output/.{song}.part/copy",
    "output/.gone.part/copy", "output/Ann/Far/stranger.flac", "output/Ann/Far/cover.jpg", "input/ada/song.flac",
    f"input/ada/.{HEX}.part", "input/ada/.hidden.part", "logs/engines/unknown.log", "cover-art-cache/x",
    "backups/x/y", "orphaned/strange/x",
]  # fmt: skip
LITTER = st.lists(st.tuples(st.sampled_from(PLACES), AGES, st.booleans()), max_size=12)
LIMITS = st.fixed_dictionaries(
    {
        name: st.sampled_from([None, 0.0, 1.0, 30.0])
        for name in ("keep_intermediate_days", "keep_stems_days", "keep_tracks_days", "keep_originals_days")
    }
)
KINDS = st.sets(st.sampled_from(list(Kind)))


@given(songs=SONGS, litter=LITTER, limits=LIMITS, kinds=KINDS, confirmed=st.booleans())
@hypothesis_settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_dry_run_lists_exactly_what_then_goes(songs, litter, limits, kinds, confirmed):
    """ORG-002, promise 17: dry run equals sweep, also where the share leaves something; songs that are worked on keep
    everything; a second sweep has nothing to do."""
    folder = Path(tempfile.mkdtemp(prefix="ironclad-any-"))
    try:
        world = _world(folder, songs, litter, limits)
        active = [song for song in _songs(world) if world.ledger.latest_job(song).state.active]
        before, needed = world.files(), _needed(world, active)
        planned = world.plan(*kinds, confirmed=confirmed)
        assert world.files() == before
        listed = {path for one in planned if one.base == "store" for path in one.paths if one.how is not How.MOVE}
        moved = {one.path for one in planned if one.how is How.MOVE}
        swept = world.prune(*kinds, confirmed=confirmed)
        assert not swept.skipped
        after = world.files()
        gone = {path for path in before if path not in after and not _is_entry(path)}
        assert gone == {path for path in before if _covered(path, listed | moved) and not _is_entry(path)}
        new = {
            path for path in after if path not in before and not path.startswith("orphaned/") and not _is_entry(path)
        }
        assert new == set()
        changed = {path for path in before.keys() & after.keys() if before[path] != after[path]}
        assert all(_is_entry(path) for path in changed)
        assert _needed(world, active) == needed
        assert world.plan(*kinds) == [] or swept.left
        world.ledger.close()
    finally:
        shutil.rmtree(folder)


def _world(folder, songs, litter, limits) -> World:
    settings = Settings(home=folder / "home", disk_reserve_bytes=MEBIBYTE)
    store = Store(settings.store_root, reserve_bytes=MEBIBYTE)
    store.create()
    world = make_world(settings, store, url=f"sqlite:///{settings.home_dir / 'ledger.db'}", folder=folder)
    for name, days in limits.items():
        world.limit(name, days)
    names = [world.song(state=state, age_days=age, user=user) for state, age, user in songs]
    for place, age, marked in litter:
        path = place.format(song=names[0] if names else "gone")
        if (world.store.root / path).exists():
            continue
        file = world.put(path, age_days=age)
        if marked and path.startswith("output/Ann"):
            os.setxattr(file, "user.ironclad.song", b"gone")
    world.stop_the_clock()
    return world


def _songs(world: World) -> list[str]:
    return [one.song for one in world.ledger.sweeps.songs()]


def _needed(world: World, active: list[str]) -> dict[str, bytes]:
    """Return what nobody may touch: everything of songs that are worked on, and what is not ours."""
    originals = {world.ledger.song(song).archive_path for song in active}
    strangers = ("input/ada/song.flac", "input/ada/.hidden.part", "archive/strange", "cover-art-cache/", "backups/")
    return {
        path: content
        for path, content in world.files().items()
        if any(f"/{song}/" in f"/{path}" for song in active) or path in originals or path.startswith(strangers)
    }


def _is_entry(path: str) -> bool:
    """Return whether a file says what a song has in the library: it is written anew when something of that goes."""
    return path.startswith("stages/library_entry/") and path.endswith(("/manifest.json", "/metadata.json"))


def _covered(path: str, taken: set[str]) -> bool:
    """Return whether a file was listed, itself or with a folder above it."""
    return any(path == one or path.startswith(f"{one}/") for one in taken)
