"""Songs through the graph of machines whose store lasts in a bucket: whole, shared between two, through an outage."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import pytest

from ironclad_assets.contracts.v1.job import STAGES, Job, JobState
from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.errors import PermanentFailure, StorageUnavailable
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.partitions import songs
from ironclad_assets.sensors.prepare import prepare_store
from ironclad_assets.settings import MEBIBYTE, Settings
from ironclad_assets.storage import housekeeping
from ironclad_assets.storage.artifacts import load_artifact, read_manifest
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.mirror import LASTING
from ironclad_assets.storage.opening import open_store
from ironclad_assets.upkeep.backup.create import BackupWish, create_backup
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.backup.restore import RestoreWish, restore_backup
from ironclad_assets.upkeep.prune.plan import Kind
from ironclad_assets.upkeep.prune.sweep import Sweep
from ironclad_assets.upkeep.verify.verification import Part, Verification
from tests.fakes.s3_server import S3Server
from tests.integration.conftest import Installation, write_halves

MachineMaker = Callable[[str], Installation]


@pytest.fixture
def make_machine(tmp_path: Path, s3: S3Server) -> Iterator[MachineMaker]:
    """Return what makes a machine with a home of its own; ledger and bucket are everybody's."""
    write_halves(tmp_path / "engines")
    with ExitStack() as stack:

        def make(name: str) -> Installation:
            settings = Settings(
                home=tmp_path / name,
                database_url=f"sqlite:///{tmp_path / 'ledger.db'}",
                engines_path=tmp_path / "engines",
                default_engine="halves",
                settle_s=0.2,
                disk_reserve_bytes=MEBIBYTE,
                object_store_cache_bytes=1,
                **s3.environment(),
            )
            store = open_store(settings)
            store.create()
            ledger = Ledger(settings.ledger_url)
            ledger.migrate()
            stack.callback(ledger.close)
            instance = stack.enter_context(dg.DagsterInstance.ephemeral())
            return Installation(settings, store, ledger, instance, tmp_path)

        yield make


def library_of(machine: Installation) -> dict[str, str]:
    """Return the SHA-256 of every song file in the machine's library."""
    roots = [machine.store.library(root) for root in ("output", "output-stems")]
    return {
        path.relative_to(machine.store.root).as_posix(): hash_file(path)
        for root in roots
        for path in root.rglob("*.flac")
    }


def lose_from(s3: S3Server, path: str) -> None:
    """Let the bucket go away when something of `path` is asked of it."""

    def go_away(number: int, request: object) -> str | None:
        s3.away = s3.away or path in str(request)
        return "drop" if s3.away else None

    s3.fault = go_away


def test_song_goes_through_and_all_that_must_last_is_in_the_bucket_from_where_it_comes_back(
    make_machine: MachineMaker, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One song, from upload to library, with a store that lasts in a bucket; then again, from there."""
    machine = make_machine("one")
    assert prepare_store(machine.settings) == ""
    job = machine.song()
    assert f"store/{machine.ledger.song(job.song).archive_path}" in s3.keys()  # noqa: SIM118 - a method, no dictionary
    assert machine.dispatch(job).success
    assert machine.ledger.job(job.job_uuid).state is JobState.COMPLETED
    lasting = {f"store/stages/{stage}/{job.song}/manifest.json" for stage in STAGES}
    assert lasting < set(s3.keys("store/stages"))
    local = {
        path.relative_to(machine.store.root).as_posix()
        for folder in LASTING
        for path in (machine.store.root / folder).rglob("*")
        if path.is_file()
    }
    assert len([path for path in local if "/." not in path]) >= len(s3.keys("store/stages")) + 1
    assert not any("output" in key for key in s3.keys("store"))
    monkeypatch.setattr(housekeeping, "SMALL_BYTES", 1)
    _let_copies_go(machine, job=job)


def _let_copies_go(machine: Installation, *, job: Job) -> None:
    """Let copies go; `verify` and `prune` know where they last, and a retry fetches them and makes nothing again."""
    store, ledger, settings = machine.store, machine.ledger, machine.settings
    for evicted in (False, True):
        if evicted:
            tidy = machine.definitions.resolve_job_def("tidy_copies")
            config = {"ops": {"evict_local_copies": {"config": {"leftovers": True}}}}
            assert tidy.execute_in_process(instance=machine.instance, run_config=config).success
            assert not list(store.root.glob("stages/*/*/*/*.f32"))
            assert not store.path(ledger.song(job.song).archive_path).exists()
        assert Verification(store=store, ledger=ledger, settings=settings, part=Part(1, 1)).run().findings == []
        with Sweep(store=store, ledger=ledger, settings=settings, actor="test", kinds=frozenset(Kind)).plan() as plan:
            assert list(plan[1]) == []
    later = ledger.retry(job.job_uuid, actor="test")
    assert machine.dispatch(later).success
    assert {read_manifest(store.stage(stage, job.song)).attempt for stage in STAGES} == {1}


def test_second_machine_finishes_what_the_first_began(make_machine: MachineMaker, s3: S3Server) -> None:
    """Promise 14, for a bucket: it goes away in the middle of a job, which is held; when it is back, another machine,
    with only ledger and bucket in common, goes on where the first one was, and nothing is done twice."""
    first, second = make_machine("first"), make_machine("second")
    job = first.song()
    lose_from(s3, "stages/recombined_track")
    assert not first.dispatch(job).success
    held = second.ledger.job(job.job_uuid)
    assert held.state is JobState.HELD
    assert held.error is not None
    assert held.error.code == "storage_away"
    with pytest.raises(StorageUnavailable):
        first.song("second.flac", seed=1)
    s3.fault, s3.away = (lambda number, request: None), False
    second.ledger.release(job.job_uuid, actor="test")
    second.instance.add_dynamic_partitions(songs.name, [job.song])
    assert second.dispatch(second.ledger.job(job.job_uuid)).success
    assert second.ledger.job(job.job_uuid).state is JobState.COMPLETED
    runs = {stage: read_manifest(second.store.stage(stage, job.song)).attempt for stage in STAGES}
    assert runs == {**dict.fromkeys(STAGES, 2), **dict.fromkeys(STAGES[:4], 1)}
    entry = load_artifact(second.store.stage("library_entry", job.song), LibraryEntry).payload
    filed = {f"{file.root}/{file.file.path}": file.file.sha256 for file in entry.files}
    assert library_of(second) == {path: sha256 for path, sha256 in filed.items() if path.endswith(".flac")}
    assert library_of(first) == {}


def test_a_store_whose_bucket_is_lost_comes_back_from_a_backup_into_an_empty_bucket(
    make_machine: MachineMaker, s3: S3Server, tmp_path: Path
) -> None:
    """As docs/storage.md says: restored without the setting, then published to a new prefix."""
    lost = make_machine("lost")
    job = lost.song()
    assert lost.dispatch(job).success
    original = lost.ledger.song(job.song).archive_path
    lost.store.path(original).unlink()  # only the bucket has it
    extras = BackupWish(folder=tmp_path / "backups", extras=("stages",))
    made = create_backup(lost.settings, wish=extras, actor="test")
    assert made.warnings == ()
    for key in s3.keys("store"):
        s3.remove(key)

    there = Settings(home=tmp_path / "new", disk_reserve_bytes=MEBIBYTE)
    wish = RestoreWish(repository=Repository(tmp_path / "backups"), backup=made.manifest.id)
    with pytest.raises(PermanentFailure, match="without IRONCLAD_OBJECT_STORE_URL"):
        restore_backup(Settings(home=tmp_path / "new", **s3.environment("again")), wish=wish, actor="test")
    restore_backup(there, wish=wish, actor="test")
    store = open_store(Settings(home=tmp_path / "new", **s3.environment("again")))
    store.create()
    published = housekeeping.publish_everything(store)
    assert (published.originals, published.refused) == (1, [])
    assert s3.content(f"again/{original}") == store.path(original).read_bytes()
    for stage in STAGES:
        assert f"again/stages/{stage}/{job.song}/manifest.json" in s3.keys("again/stages")
