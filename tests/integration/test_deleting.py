"""Songs and users are deleted from a whole installation: afterwards no byte of any file names them (GLOBAL-004)."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.schedules.schema import InstigatorsTable, JobTickTable
from mutagen.flac import FLAC

from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.ledger.forget import Traces, read_traces
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.partitions import songs
from ironclad_assets.sensors.erase import erase_requested
from ironclad_assets.settings import MEBIBYTE, Settings
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.erase import eraser as erase_module
from ironclad_assets.upkeep.erase import tombstones
from ironclad_assets.upkeep.erase.eraser import Progress
from tests import synth
from tests.forgetting import places_of, spelled
from tests.integration.conftest import Installation, write_halves

LEAVING = "quixote-7"
"""A user's name that is no part of any word that is written here for another reason."""

LIBRARIES = ("output", "output-stems")


@pytest.fixture(params=["sqlite", "postgres"])
def lasting(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """An installation whose Dagster keeps what it knows, as that of `pipelinectl up` does."""
    write_halves(tmp_path / "engines")
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    settings = Settings(
        home=tmp_path / "home",
        engines_path=tmp_path / "engines",
        default_engine="halves",
        disk_reserve_bytes=MEBIBYTE,
        database_url=url,
    )
    store = Store(settings.store_root, reserve_bytes=settings.disk_reserve_bytes)
    store.create()
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    settings.dagster_home.mkdir(parents=True)
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
    monkeypatch.setenv("IRONCLAD_DATABASE_URL", settings.ledger_url)
    monkeypatch.setattr(erase_module, "QUIET_S", 0.0)  # on Postgres somebody else might write, but nobody does
    (settings.dagster_home / "dagster.yaml").write_bytes(settings.instance_yaml.read_bytes())
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        yield Installation(settings, store, ledger, instance, tmp_path)
    ledger.close()


def bring(installation: Installation, name: str, *, user_id: str, seed: int) -> Job:
    """Submit a song that has tags of its own."""
    path = synth.write_flac(installation.folder / name, synth.noise(0.6, seed=seed))
    file = FLAC(path)
    file.update({"title": f"Title {seed}", "artist": f"Artist {seed}", "album": f"Album {seed}"})
    file.save()
    return installation.submit(path, user_id=user_id)


def process(installation: Installation, name: str, *, user_id: str, seed: int) -> Job:
    """Take a song through the whole graph."""
    job = bring(installation, name, user_id=user_id, seed=seed)
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


def rows_of(installation: Installation, names: Iterable[str]) -> list[str]:
    """Return every row of a database server, Dagster's and ours, that tells one of `names`."""
    if not installation.settings.on_postgres:
        return []
    engine = sa.create_engine(installation.settings.ledger_url)
    found = []
    with engine.connect() as connection:
        tables = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'dagster')"
        for schema, table in connection.execute(sa.text(tables)).all():
            for (row,) in connection.execute(sa.text(f'SELECT t::text FROM {schema}."{table}" t')):
                found += [
                    f"{table}: {row}"
                    for name in names
                    if any(one.decode("utf-8", "replace") in row for one in spelled(name) if b"\0" not in one)
                ]
    engine.dispose()
    return found


def places(installation: Installation, names: Iterable[str]) -> list[str]:
    """Return whatever below home and store, or in a database server, tells one of `names`."""
    wanted = list(names)
    return [*places_of(installation.settings.home_dir, wanted), *rows_of(installation, wanted)]


def library(installation: Installation) -> dict[str, str]:
    roots = [installation.store.library(name) for name in LIBRARIES]
    files = [path for root in roots for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(installation.store.root)): hash_file(path) for path in files}


def tell(installation: Installation, traces: Traces, *, kept: Traces) -> Path:
    """Write what a long life leaves about a song: log lines, notes, ticks, cursors, what was put aside."""
    home, store = installation.settings.home_dir, installation.store
    log = home / "logs" / "daemon.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text(
        f"one line of {kept.song}\nrun {traces.run_ids[0]} went on\nsaid {traces.original_name!r}\n"
        f"user_id={LEAVING} came\nthe last line, unfinished",
        encoding="utf-8",
    )
    (home / "run").mkdir(exist_ok=True)
    notes = {"taken": [traces.original_name, kept.original_name], "waiting": [[f"{LEAVING}/x.flac", "settles"]]}
    (home / "run" / "watcher.json").write_text(json.dumps(notes))
    (home / "upgrades").mkdir(exist_ok=True)
    (home / "upgrades" / "ledger-0002-x.jsonl").write_text(json.dumps({"song": traces.song}))
    aside = store.path("orphaned") / "2026-01-01" / "one.json"
    aside.parent.mkdir(parents=True)
    aside.write_text(json.dumps({"song": traces.song}))
    tick = {
        "__class__": "TickData",
        "skip_reason": f"1 waiting ('{LEAVING}/{traces.original_name}': settles)",
        "run_keys": [f"{traces.song}:1:1", f"{kept.song}:1:1"],
        "run_ids": [traces.run_ids[0]],
        "cursor": json.dumps({"line": 7, "job_uuid": traces.job_uuids[0]}),
    }
    storage = installation.instance.schedule_storage
    with storage.connect() as connection:  # type: ignore[union-attr]
        connection.execute(sa.insert(JobTickTable).values(tick_body=json.dumps(tick), status="SKIPPED"))
        connection.execute(
            sa.insert(InstigatorsTable).values(selector_id="x", status="RUNNING", instigator_body=json.dumps(tick))
        )
    return log


def test_no_byte_names_a_song_after_it_was_deleted_nor_a_user(lasting: Installation) -> None:
    """GLOBAL-004, promise 16: ids, hash, name and user are in no file; the other user's things are as they were."""
    gone = process(lasting, "My Søng №1.flac", user_id=LEAVING, seed=1)
    kept = process(lasting, "Bobs tune.flac", user_id="bob", seed=3)
    waiting = bring(lasting, "Second of hers.flac", user_id=LEAVING, seed=2)
    same = bring(lasting, "The very same.flac", user_id="bob", seed=2)
    first, second, others = (traces_of(lasting, job) for job in (gone, waiting, kept))
    before = {name: hash_ for name, hash_ in library(lasting).items() if "3" in name}
    assert before
    log = tell(lasting, first, kept=others)
    named = (*first.ids, first.original_name, "Title 1", "Artist 1")
    assert len(places(lasting, named)) > 20, "else the search finds nothing at all"

    deletion = lasting.ledger.deletions.request_song(gone.song, actor="test")
    with log.open("ab") as service:
        assert erase(lasting).done == (deletion.receipt,)
        service.write(b", now finished\n")
    assert places(lasting, named) == []
    assert lasting.ledger.job(waiting.job_uuid).state is JobState.QUEUED
    assert not lasting.instance.has_dynamic_partition(str(songs.name), gone.song)
    assert lasting.instance.has_dynamic_partition(str(songs.name), kept.song)
    lines = log.read_text(encoding="utf-8").splitlines()
    assert [lines[0], lines[-1]] == [f"one line of {kept.song}", "the last line, unfinished, now finished"]
    latest = lasting.instance.get_latest_materialization_event(dg.AssetKey("library_entry"))
    assert latest is not None
    assert latest.run_id == kept.run_id

    whole = lasting.ledger.deletions.request_user(LEAVING, actor=f"cli:{LEAVING}")
    assert erase(lasting).done == (whole.receipt,)
    hash_of_both = traces_of(lasting, same).sha256
    ids = [name for name in second.ids if name != hash_of_both]
    assert places(lasting, (*named, *ids, second.original_name, LEAVING)) == []
    assert library(lasting) == before
    assert lasting.ledger.job(kept.job_uuid).state is JobState.COMPLETED
    assert lasting.instance.get_run_by_id(str(kept.run_id)) is not None
    assert hash_file(lasting.store.path(lasting.ledger.song(same.song).archive_path)) == hash_of_both
    removed = lasting.ledger.deletions.receipt(deletion.receipt).removed or {}
    assert (removed["archive"]["count"], removed["runs"]["count"]) == (1, 1)
    assert "archive" not in (lasting.ledger.deletions.receipt(whole.receipt).removed or {})
    assert tombstones.load(lasting.store, None).covers_song(gone.song)
    assert lasting.dispatch(same).success, "the other user's song of the same bytes goes its way"
