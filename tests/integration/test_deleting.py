"""Songs and users are deleted from a whole installation: afterwards no byte of any file names them (GLOBAL-004)."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from mutagen.flac import FLAC

from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.ledger.forget import Traces, read_traces
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.partitions import songs
from ironclad_assets.sensors.erase import erase_requested
from ironclad_assets.settings import MEBIBYTE, Settings
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep import tombstones
from ironclad_assets.upkeep.erase import Progress
from tests import synth
from tests.forgetting import places_of
from tests.integration.conftest import Installation, write_halves

ROOT = Path(__file__).resolve().parents[2]
LEAVING = "quixote-7"
"""A user's name that is no part of any word that is written here for another reason."""

LIBRARIES = ("output", "output-stems")


@pytest.fixture
def lasting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """An installation whose Dagster keeps its databases in files, as that of `pipelinectl up` does."""
    write_halves(tmp_path / "engines")
    settings = Settings(
        home=tmp_path / "home",
        engines_path=tmp_path / "engines",
        default_engine="halves",
        disk_reserve_bytes=MEBIBYTE,
    )
    store = Store(settings.store_root, reserve_bytes=settings.disk_reserve_bytes)
    store.create()
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    settings.dagster_home.mkdir(parents=True)
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
    (settings.dagster_home / "dagster.yaml").write_bytes((ROOT / "dagster.yaml").read_bytes())
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        yield Installation(settings, store, ledger, instance, tmp_path)
    ledger.close()


def process(installation: Installation, name: str, *, user_id: str, seed: int) -> Job:
    """Take a song of its own through the whole graph."""
    path = installation.folder / name
    tags = {"title": f"Title {seed}", "artist": f"Artist {seed}", "album": f"Album {seed}"}
    synth.write_flac(path, synth.noise(1.0, seed=seed))
    file = FLAC(path)
    file.update(tags)
    file.save()
    job = installation.submit(path, user_id=user_id)

    assert installation.dispatch(job).success
    return installation.ledger.job(job.job_uuid)


def traces_of(installation: Installation, job: Job) -> Traces:
    with installation.ledger._database.read() as connection:
        return read_traces(connection, job.song)


def erase(installation: Installation) -> Progress:
    return erase_requested(
        installation.instance,
        settings=installation.settings,
        ledger=installation.ledger,
        store=installation.store,
        patience_s=0.0,
    )


def places(installation: Installation, names: Iterable[str]) -> list[str]:
    """Return every file below home and store that tells one of `names`."""
    return places_of(installation.settings.home_dir, names)


def library(installation: Installation) -> dict[str, str]:
    roots = [installation.store.library(name) for name in LIBRARIES]
    files = [path for root in roots for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(installation.store.root)): hash_file(path) for path in files}


def test_no_byte_names_a_song_after_it_was_deleted_nor_a_user(lasting: Installation) -> None:
    """GLOBAL-004, promise 16: ids, hash, name and user are in no file; the other user's things are as they were."""
    gone = process(lasting, "My Søng №1.flac", user_id=LEAVING, seed=1)
    also = process(lasting, "Second of Ada.flac", user_id=LEAVING, seed=2)
    kept = process(lasting, "Bobs tune.flac", user_id="bob", seed=3)
    assert {job.state for job in (gone, also, kept)} == {JobState.COMPLETED}
    first, second = traces_of(lasting, gone), traces_of(lasting, also)
    named = (*first.ids, first.original_name, "Title 1", "Artist 1")
    assert places(lasting, named), "else the search finds nothing at all"
    before = {name: hash_ for name, hash_ in library(lasting).items() if "3" in name}

    deletion = lasting.ledger.deletions.request_song(gone.song, actor="test")
    assert erase(lasting).done == (deletion.receipt,)
    assert places(lasting, named) == []
    assert lasting.ledger.job(also.job_uuid).state is JobState.COMPLETED
    assert not lasting.instance.has_dynamic_partition(str(songs.name), gone.song)
    assert lasting.instance.has_dynamic_partition(str(songs.name), kept.song)

    whole = lasting.ledger.deletions.request_user(LEAVING, actor=f"cli:{LEAVING}")
    assert erase(lasting).done == (whole.receipt,)
    assert places(lasting, (*named, *second.ids, second.original_name, "Title 2", "Artist 2")) == []
    assert places(lasting, [LEAVING]) == []
    assert library(lasting) == before
    assert before
    assert lasting.ledger.job(kept.job_uuid).state is JobState.COMPLETED
    assert lasting.instance.get_run_by_id(str(kept.run_id)) is not None
    removed = lasting.ledger.deletions.receipt(whole.receipt).removed or {}
    assert removed["archive"]["count"] == 1
    assert removed["runs"]["count"] == 1
    assert tombstones.load(lasting.store, None).covers_song(gone.song)
