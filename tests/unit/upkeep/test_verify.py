"""Verifying: every byte of everything that has a record is read, and what differs is found."""

import errno
import json
import os
import random
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.errors import StorageUnavailable
from ironclad_assets.upkeep.prune.plan import Kind
from ironclad_assets.upkeep.verify.verification import Part, Verification
from tests.unit.upkeep.worlds import World, forbid, make_world


@pytest.fixture
def world(settings, store, tmp_path):
    world = make_world(settings, store, url=f"sqlite:///{settings.home_dir / 'ledger.db'}", folder=tmp_path)
    yield world
    world.ledger.close()


def codes(world: World) -> set[str]:
    return {one.code for one in world.verify()}


def verifiable(world: World) -> list[str]:
    """Return every file that has a record somewhere: what is not among them is named in docs/upkeep.md."""
    return [
        path
        for path in sorted(path.relative_to(world.store.root).as_posix() for path in world.store.root.rglob("*"))
        if (world.store.root / path).is_file() and not path.endswith((".lock", ".store-id")) and "/content" not in path
    ]


def test_a_whole_store_is_well(world):
    world.song()
    world.song(state=JobState.FAILED)
    world.song(state=JobState.RUNNING)
    assert world.verify() == []


def test_a_hundred_of_a_hundred_flipped_bits_are_found(world):
    """Promise 18: 100 of 100, in every kind of file: manifests, notes, artifacts, originals, library, quarantine."""
    world.song(state=JobState.FAILED, age_days=8)
    world.limit("keep_originals_days", 1, user="bob")
    world.song(user="bob", age_days=8)
    world.put("stages/stems/gone/abc/x")
    world.prune()
    world.song()
    files = verifiable(world)
    assert {path.split("/")[0] for path in files} >= {
        "archive",
        "stages",
        "output",
        "output-stems",
        "error",
        "orphaned",
    }
    assert any(path.endswith(".pruned.json") for path in files)
    assert any(path.endswith("/pruned.json") for path in files)
    chance = random.Random(18)
    missed = []
    for number in range(100):
        path = world.store.root / files[number * 7 % len(files)]
        before = path.read_bytes()
        at = chance.randrange(len(before))
        changed = bytes([before[at] ^ (1 << chance.randrange(8))])
        path.chmod(0o644)
        status = path.stat()
        path.write_bytes(before[:at] + changed + before[at + 1 :])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        if not world.verify():
            missed.append((path.relative_to(world.store.root).as_posix(), at, before[at : at + 1], changed))
        path.write_bytes(before)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert missed == []
    assert world.verify() == []


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("stages/stems/*/*/audio.f32", "file_missing"),
        ("output/**/*.flac", "library_file_missing"),
        ("archive/*/*", "original_missing"),
        ("stages/library_entry/*/manifest.json", "entry_missing"),
    ],
)
def test_what_is_missing_is_found(world, pattern, code):
    world.song()
    next(path for path in world.store.root.glob(pattern) if path.is_file()).unlink()
    assert code in codes(world)


def test_what_nobody_put_there_is_found(world):
    """ORG-002: ledger against files, both ways."""
    song = world.song()
    [folder] = [path for path in (world.store.root / "stages/stems" / song).iterdir() if path.is_dir()]
    (folder / "extra.f32").write_bytes(b"x")
    world.put("archive/ab/name")
    world.put(f"archive/ab/{'ab' * 32}")
    world.put("stages/stems/gone/abc/x")
    marked = world.put("output/Ann/Far/copy.flac")
    os.setxattr(marked, "user.ironclad.song", song.encode())
    assert codes(world) == {
        "file_unexpected", "original_unexpected", "original_damaged", "orphaned", "library_file_unexpected",
    }  # fmt: skip


def test_a_job_that_nobody_knows_is_found(world):
    song = world.song()
    world.artifact(song, "stems", job_uuid="another", user="ada")
    assert codes(world) == {"job_unknown"}


def test_a_song_that_is_worked_on_is_left_for_the_next_time(world):
    song = world.song()
    next((world.store.root / "stages/stems" / song).glob("*/audio.f32")).write_bytes(b"half")
    world.ledger.retry(world.ledger.latest_job(song).job_uuid, actor="test")
    work = Verification(store=world.store, ledger=world.ledger, settings=world.settings)
    assert work.run().findings == []
    assert work.verified.busy == 1


def test_parts_cover_everything_once(world):
    songs = [world.song() for _ in range(6)]
    for song in songs:
        next((world.store.root / "stages/stems" / song).glob("*/audio.f32")).write_bytes(b"half")
    found = []
    for number in (1, 2, 3):
        work = Verification(
            store=world.store, ledger=world.ledger, settings=world.settings, part=Part(number, 3)
        )  # fmt: skip
        found += [one.song for one in work.run().findings]
    assert sorted(found) == songs


def test_damage_is_mended_by_a_sweep_and_a_retry(world):
    """ORG-002: corrupt artifacts go to orphaned/, and the stage is made again."""
    song = world.song()
    [file] = (world.store.root / "stages/stems" / song).glob("*/audio.f32")
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert world.plan(Kind.CORRUPT) == [], "nobody has looked yet"
    [finding] = world.verify()
    assert (finding.code, finding.song) == ("file_damaged", song)
    assert song in finding.remedy
    world.prune(Kind.CORRUPT)
    assert not world.store.stage("stems", song).path.exists()
    [note] = world.store.root.glob("orphaned/*/note.json")
    assert json.loads(note.read_bytes())["from"] == f"stages/stems/{song}"
    world.artifact(song, "stems", job_uuid=world.ledger.latest_job(song).job_uuid, user="ada")
    assert world.verify() == []
    assert world.plan(Kind.CORRUPT) == []


def test_what_was_mended_meanwhile_is_not_moved(world):
    song = world.song()
    [file] = (world.store.root / "stages/stems" / song).glob("*/audio.f32")
    before = file.read_bytes()
    file.write_bytes(b"!" + before[1:])
    assert world.verify()
    file.write_bytes(before)
    assert world.plan(Kind.CORRUPT) == []


def test_a_store_that_is_away_is_not_verified(world):
    world.song()
    world.store.sentinel.unlink()
    with pytest.raises(StorageUnavailable):
        world.verify()


def test_a_manifest_on_a_bad_sector_is_found_and_so_is_what_comes_after(world, monkeypatch):
    """Promise 18: the disk does not give it; verifying goes on with the next song."""
    first, other = world.song(), world.song()
    manifest = world.store.stage("library_entry", first).manifest
    [file] = world.store.root.glob(f"stages/stems/{other}/*/audio.f32")
    file.write_bytes(b"X" + file.read_bytes()[1:])
    real = Path.read_bytes

    def read_bytes(path):
        if path == manifest:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    found = {(one.code, one.song) for one in world.verify()}
    assert found >= {("manifest_damaged", first), ("file_damaged", other)}
    world.prune(Kind.CORRUPT)
    assert not manifest.exists()


@pytest.mark.parametrize("place", ["stages/stems", "sidecars", "output"])
def test_what_may_not_be_looked_into_is_told_of_its_song_alone(world, monkeypatch, place):
    song, other = world.song(), world.song()
    [file] = world.store.root.glob(f"stages/stems/{other}/*/audio.f32")
    file.write_bytes(b"X" + file.read_bytes()[1:])
    world.put(f"{place}/{song}/private", b"x")
    forbid(monkeypatch, world.store.root / place / song)
    found = {(one.path, one.detail) for one in world.verify() if one.song == song}
    unseen = (f"{place}/{song}", "it cannot be read: Permission denied")
    assert found == (set() if place == "output" else {unseen})
    assert ("file_damaged", other) in {(one.code, one.song) for one in world.verify()}


def test_a_name_in_no_known_spelling_is_nobodys(world):
    """A hand, or a copy from elsewhere, made a folder whose name is no UTF-8."""
    song = world.song()
    (world.store.root / os.fsdecode(b"stages/stems/\xff")).mkdir()
    assert [one.code for one in world.verify()] == ["orphaned"]
    assert [one.code for one in world.verify() if one.song == song] == []
    (world.store.root / os.fsdecode(b"archive/ab/")).mkdir()
    (world.store.root / os.fsdecode(b"archive/ab/\xff")).write_bytes(b"")
    assert [one.code for one in world.verify()] == ["original_unexpected", "orphaned"]


@pytest.mark.parametrize("mark", [b"a\0b", b"../../secret", b"\xff", b"a" * 900])
def test_a_mark_that_is_no_songs_is_somebody_elses(world, mark):
    """Promise 6: whoever may write to the library could else stop everybody's check."""
    world.song()
    os.setxattr(world.put("output/Ann/mine.flac"), "user.ironclad.song", mark)
    assert world.verify() == []


@pytest.mark.parametrize("folder", ["archive/ab", "sidecars", "orphaned"])
def test_a_folder_that_may_not_be_looked_into_ends_no_check(world, monkeypatch, folder):
    world.song()
    other = world.song()
    world.store.path(f"{folder}/x").mkdir(parents=True, exist_ok=True)
    (world.store.root / world.ledger.song(other).archive_path).unlink()
    forbid(monkeypatch, world.store.root / folder)
    found = {(one.path, one.detail) for one in world.verify()}
    assert (folder, "it cannot be read: Permission denied") in found
    assert (world.ledger.song(other).archive_path, "the ledger knows it, it is not there") in found


def test_an_artifact_is_not_moved_for_a_stranger_beside_it(world):
    """What was damaged is whole again; that a file lies there that nobody knows does not damage it."""
    song = world.song()
    file = next(world.store.root.glob(f"stages/stems/{song}/*/audio.f32"))
    content = file.read_bytes()
    file.write_bytes(b"X" + content[1:])
    assert [one.code for one in world.verify()] == ["file_damaged"]
    file.write_bytes(content)
    world.put(f"stages/stems/{song}/.DS_Store")
    assert world.plan(Kind.CORRUPT) == []
