"""Measure how long a large library takes to preview and to move to another template.

    python -m benchmarks.library [--songs 20000] [--folder FOLDER] [--json FILE]

Makes a library in a temporary folder, as finished jobs leave it: artists of two albums of ten songs, each song with an
instrumental, four stems and its tags, each album with covers; small files, no audio, nothing is separated. Then it
runs `pipelinectl library` as anybody would: a preview by the present template (nothing moves), a preview by another,
the move of everything to that other one, and the same again (nothing left to do). At the end every file is where the
preview said, and no folder is left over.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.installation import machine
from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry, SongRecord
from ironclad_assets.contracts.v1.manifest import Manifest
from ironclad_assets.contracts.v1.song_metadata import Artwork, SongMetadata
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.naming import track_path
from ironclad_assets.pipeline.organise import name_file
from ironclad_assets.pipeline.shelf import Role, Root
from ironclad_assets.settings import Settings
from ironclad_assets.storage.hashing import hash_json
from ironclad_assets.storage.store import Store

SONGS_OF_ALBUM = 10
ALBUMS_OF_ARTIST = 2
ROOTS: tuple[Root, ...] = ("output", "output-stems")
STEMS = ("vocals", "drums", "bass", "other")
OTHER_TEMPLATE = "{album_artist}/<{year} - >{album}/<<{disc}.>{track} >{title}.{ext}"
TARGET_S = 600.0
"""Minutes, not hours."""

_COMMAND = (sys.executable, "-c", "from ironclad_assets.cli.main import main; main()", "library")
_NOBODY = "0" * 64


@dataclass(frozen=True, slots=True)
class Figure:
    """One command over the whole library."""

    what: str
    wall_s: float
    cpu_s: float
    songs: int
    moved_files: int


def build_library(store: Store, *, songs: int) -> int:
    """Make the library without syncing anything; return how many files it has."""
    return sum(_build_song(store, number) for number in range(songs))


def _build_song(store: Store, number: int) -> int:
    song = f"s{number:026d}"
    album, track = divmod(number, SONGS_OF_ALBUM)
    metadata = SongMetadata(
        title=f"Title {number} é",
        artist=f"Artist {album // ALBUMS_OF_ARTIST}",
        album=f"Album {album}",
        track_number=track + 1,
        date=f"{1960 + album % 60}",
        artwork=Artwork(file=_record("cover.jpg", b"jpeg"), media_type="image/jpeg", width_px=1, height_px=1),
    )
    wanted: list[tuple[Role, str, Root]] = [
        ("target", "instrumental", "output"),
        *(("stem", stem, "output-stems") for stem in STEMS),
    ]
    files = [_build_file(store, song, metadata, role=role, name=name, root=root) for role, name, root in wanted]
    if track == 0:
        for root in ROOTS:
            folder = next(item.file.path for item in files if item.root == root).rpartition("/")[0]
            files.append(_write(store, song, role="cover", name="cover", root=root, path=f"{folder}/cover.jpg"))
    tags = _manifest(store, "song_metadata", song, payload=metadata)
    (tags / "cover.jpg").write_bytes(b"jpeg")
    record = SongRecord(
        song=song, original_name="", user_id="local", uploaded_at="", completed_at="", media_type="", duration_s=1.0,
        sample_rate_hz=44_100, channels=2, job_uuid="", trace_id="", attempt=1, steps_completed=(), files=tuple(files),
    )  # fmt: skip
    kept = _manifest(store, "library_entry", song, payload=LibraryEntry(files=tuple(files)))
    (kept / "metadata.json").write_text(record.model_dump_json(), encoding="utf-8")
    return len(files)


def _build_file(store: Store, song: str, metadata: SongMetadata, *, role: Role, name: str, root: Root) -> EntryFile:
    named = name_file(metadata, role=role, name=name, stems=(name,), extension="flac")
    return _write(store, song, role=role, name=name, root=root, path=track_path(named))


def _write(store: Store, song: str, *, role: Role, name: str, root: Root, path: str) -> EntryFile:
    file = store.library(root) / path
    content = b"jpeg" if role == "cover" else f"{song} {name}".encode()
    if not file.parent.is_dir():
        file.parent.mkdir(parents=True)
    file.write_bytes(content)
    os.setxattr(file, "user.ironclad.song", song.encode())
    return EntryFile(role=role, name=name, root=root, file=_record(path, content))


def _record(path: str, content: bytes) -> FileRecord:
    return FileRecord(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _manifest(store: Store, stage: str, song: str, *, payload: SongMetadata | LibraryEntry) -> Path:
    folder = store.stage(stage, song)
    files = folder.files(_NOBODY)
    files.mkdir(parents=True)
    document = payload.model_dump(mode="json")
    manifest = Manifest(
        contract=type(payload).__name__, stage=stage, song=song, key=_NOBODY, code_version="1", folder=files.name,
        payload=document, payload_sha256=hash_json(document), files=(), checks=(), job_uuid="", user_id="local",
        trace_id="", attempt=1, run_id="", written_at="",
    )  # fmt: skip
    folder.manifest.write_text(manifest.model_dump_json(), encoding="utf-8")
    return files


def run(what: str, *arguments: str, environment: dict[str, str]) -> tuple[Figure, dict[str, Any]]:
    """Run one command to its end and return how long it took and what it said."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = subprocess.run(
        [*_COMMAND, *arguments, "--json"], env=environment, stdout=subprocess.PIPE, check=True, timeout=7200
    )
    wall_s = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = json.loads(done.stdout)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figure(what, wall_s, cpu_s, said["songs"], said["moved_files"]), said


def measure(home: Path, *, songs: int) -> Iterator[Figure]:
    """Build the library below `home` and yield each figure."""
    settings = Settings(home=home, disk_reserve_bytes=1)
    store = Store(settings.store_root, reserve_bytes=1)
    store.create()
    Ledger(settings.ledger_url).migrate()
    started, cpu_s = time.monotonic(), time.process_time()
    files = build_library(store, songs=songs)
    yield Figure("made", time.monotonic() - started, time.process_time() - cpu_s, songs, files)
    present = {**os.environ, "IRONCLAD_HOME": str(home), "IRONCLAD_DISK_RESERVE_BYTES": "1"}
    other = {**present, "IRONCLAD_LIBRARY_TEMPLATE": OTHER_TEMPLATE}
    yield run("preview, nothing moves", "preview", environment=present)[0]
    figure, told = run("preview of another template", "preview", environment=other)
    yield figure
    figure, done = run("organise, everything moves", "organise", environment=other)
    yield figure
    yield run("organise again, nothing moves", "organise", environment=other)[0]
    _check(store, told=told, done=done, files=files)


def _check(store: Store, *, told: dict[str, Any], done: dict[str, Any], files: int) -> None:
    """Raise unless everything is where the preview said, and nothing else is there."""
    if told["entries"] != done["entries"]:
        raise AssertionError("the preview told something else than what was done")
    wanted = {path for entry in told["entries"] for path in entry["files"]}
    roots = [store.library(root) for root in ("output", "output-stems")]
    found = {path.relative_to(store.root).as_posix() for root in roots for path in root.rglob("*") if path.is_file()}
    empty = [path for root in roots for path in root.rglob("*") if path.is_dir() and not any(path.iterdir())]
    if found != wanted or empty or len(found) != files:
        raise AssertionError(
            f"{len(found)} files of {files}, {len(found ^ wanted)} elsewhere, {len(empty)} empty folders"
        )


def main() -> None:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=None, help="where the library is made; default: a temporary one")
    parser.add_argument("--json", type=Path, default=None, help="keep every figure in this file")
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="library-", dir=arguments.folder))
    figures = []
    try:
        for figure in measure(home, songs=arguments.songs):
            figures.append(figure)
            print(f"{figure.what}: {figure.wall_s:.1f} s", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    table = Table("command", "wall s", "CPU s", "songs", "files", title=machine())
    for figure in figures:
        table.add_row(
            figure.what, f"{figure.wall_s:.1f}", f"{figure.cpu_s:.1f}", str(figure.songs), str(figure.moved_files)
        )
    Console().print(table)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1), encoding="utf-8")
    sys.exit(0 if all(figure.wall_s <= TARGET_S for figure in figures) else 1)


if __name__ == "__main__":
    main()
