"""The library through the whole graph: the original beside its instrumental, lyrics, other templates."""

import hashlib

from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.pipeline.filed import songs_in_library
from ironclad_assets.pipeline.rearrange import Rearrangement
from ironclad_assets.pipeline.sidecars import sidecar_folder
from ironclad_assets.pipeline.templates import layout_of, read_layout
from ironclad_assets.settings import Settings
from ironclad_assets.storage.artifacts import load_artifact
from ironclad_assets.storage.store import Store
from tests import synth
from tests.filing import tree

FLAT = "{album_artist}/{album}/{title}.{ext}"


def test_original_and_lyrics_are_filed_and_everything_follows_a_new_template(installation):
    """ORG-001: the archived file itself, byte for byte, and lyrics under each song's own name."""
    upload = installation.folder / "07 - Ann - Run.flac"
    synth.write_flac(upload, synth.noise(1.5, seed=3))
    archived = hashlib.sha256(upload.read_bytes()).hexdigest()
    job = installation.submit(upload, original=True, targets=("instrumental", "vocals"))
    folder = sidecar_folder(installation.store, song=job.song)
    folder.mkdir(parents=True)
    (folder / "lyrics.lrc").write_bytes(b"[00:00.50]la")
    assert installation.dispatch(job).success
    names = {path for path in tree(installation.store) if not path.endswith(".jpg")}
    assert names == {
        "output/Ann/Run/07 - Run.flac",
        "output/Ann/Run/07 - Run.lrc",
        "output/Ann/Run (Instrumental)/07 - Run (Instrumental).flac",
        "output/Ann/Run (Instrumental)/07 - Run (Instrumental).lrc",
        "output/Ann/Run (A Cappella)/07 - Run (A Cappella).flac",
        "output/Ann/Run (A Cappella)/07 - Run (A Cappella).lrc",
        "output-stems/Ann/Run (Stems)/07 - Run (Vocals).flac",
        "output-stems/Ann/Run (Stems)/07 - Run (Other).flac",
    }
    assert hashlib.sha256(tree(installation.store)["output/Ann/Run/07 - Run.flac"]).hexdigest() == archived

    work = Rearrangement(store=installation.store, layout=read_layout(FLAT), pretend=False)
    (found,) = work.run(songs_in_library(installation.store))
    assert len(found.moves) == 8
    assert {path.replace("07 - ", "") for path in names} == set(tree(installation.store))
    assert sound(installation.store, song=job.song)

    changed = Settings(**{**installation.settings.model_dump(), "library_template": FLAT})
    assert layout_of(changed) == read_layout(FLAT)
    again = installation.ledger.retry(job.job_uuid, actor="test", options=job.options)
    inodes = {path: (installation.store.root / path).stat().st_ino for path in tree(installation.store)}
    installation.settings = changed
    assert installation.dispatch(again).success
    assert {path: (installation.store.root / path).stat().st_ino for path in tree(installation.store)} == inodes


def sound(store: Store, *, song: str) -> bool:
    """Return whether the entry's manifest, record and files agree, also for the next run."""
    entry = load_artifact(store.stage("library_entry", song), LibraryEntry).payload
    return all((store.library(item.root) / item.file.path).is_file() for item in entry.files)


def test_an_original_that_is_not_wanted_any_more_leaves_the_library(installation):
    job = installation.song(name="Ann - Run.flac", original=True)
    installation.dispatch(job)
    assert "output/Ann/Run/Run.flac" in tree(installation.store)
    again = installation.ledger.retry(
        job.job_uuid, actor="test", options=job.options.model_copy(update={"original": False})
    )
    installation.dispatch(again)
    assert not [path for path in tree(installation.store) if path.startswith("output/Ann/Run/")]


def test_a_stage_run_by_hand_files_the_original_where_its_user_wants_it(installation):
    """DAG-001: "Materialize" of one stage keeps the user's defaults."""
    job = installation.song(name="Ann - Run.flac")
    installation.dispatch(job)
    assert "output/Ann/Run/Run.flac" not in tree(installation.store)
    installation.ledger.set_user_defaults("local", JobOptions(original=True))
    assert installation.run(job.song, assets=["library_entry"]).success
    assert "output/Ann/Run/Run.flac" in tree(installation.store)
