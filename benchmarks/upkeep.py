"""What a dry run of a sweep, and what verifying costs, with many songs known: time and memory.

    python benchmarks/upkeep.py --songs 50000 --folder /tmp/upkeep

Makes a store whose songs have everything that a completed song has, with files of a few bytes (audio as holes), and
runs `pipelinectl prune --dry-run --json` and the sweep itself as processes of their own. Prints a table.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert

from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.tables import history, jobs, songs
from ironclad_assets.settings import load_settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.opening import open_store

RAW_BYTES = 50 * 1024**2
AGED_S = 40 * 86_400.0
PAGE = 1000
CONTENT = b"flac"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
MARK = "user.ironclad.song"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=50_000)
    parser.add_argument("--raw", type=int, default=1000, help="How many of them still have their staged audio.")
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    os.environ["IRONCLAD_HOME"] = str(arguments.folder)
    started = time.monotonic()
    make(arguments.songs, raw=arguments.raw)
    print(f"made {arguments.songs} songs, {arguments.raw} with staged audio, in {time.monotonic() - started:.0f} s")
    for command in (["prune", "--dry-run", "--json"], ["prune", "--json"], ["prune", "--dry-run", "--json"]):
        measure(command)


def make(count: int, *, raw: int) -> None:
    """Write the ledger's rows and the store's files, without the syncing that real songs get."""
    settings = load_settings()
    settings.home_dir.mkdir(parents=True, exist_ok=True)
    store = open_store(settings)
    store.create()
    known = {str(store.root): store.sentinel.read_text(encoding="utf-8").strip()}
    atomic.write_json(settings.home_dir / "stores.json", known)
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    at = datetime.fromtimestamp(time.time() - AGED_S, tz=UTC).isoformat(timespec="microseconds")
    for first in range(0, count, PAGE):
        numbers = range(first, min(first + PAGE, count))
        rows = [_rows(number, at=at) for number in numbers]
        with ledger._database.write() as connection:
            connection.execute(insert(songs), [one[0] for one in rows])
            connection.execute(insert(jobs), [one[1] for one in rows])
            connection.execute(insert(history), [one[2] for one in rows])
        for number in numbers:
            _files(store.root, number, at=at, raw=number < raw)
    ledger.retry(f"job-{count - 1}", actor="benchmark")  # something happened lately: the clock is believed
    ledger.close()


def _rows(number: int, *, at: str) -> tuple[dict[str, object], dict[str, object], dict[str, object]]:
    song, sha256 = f"s{number:08d}", hashlib.sha256(str(number).encode()).hexdigest()
    known = {"song": song, "user_id": f"user{number % 20}"}
    row = {
        **known, "sha256": sha256, "original_name": f"{number}.flac", "size_bytes": 4, "uploaded_at": at,
        "archive_path": f"archive/{sha256[:2]}/{sha256}", "door": "benchmark",
    }  # fmt: skip
    job = {
        **known, "job_uuid": f"job-{number}", "trace_id": "t", "attempt": 1, "state": "completed", "options": {},
        "created_at": at, "updated_at": at,
    }  # fmt: skip
    line = {"job_uuid": f"job-{number}", "at": at, "monotonic_ns": 0, "actor": "benchmark", "to_state": "completed"}
    return row, job, line


def _files(root: Path, number: int, *, at: str, raw: bool) -> None:
    song, sha256 = f"s{number:08d}", hashlib.sha256(str(number).encode()).hexdigest()
    _write(root / "archive" / sha256[:2] / sha256, CONTENT)
    files = []
    for library, name in (("output", "Song"), ("output-stems", "Vocals"), ("output-stems", "Drums")):
        path = f"Artist {number // 100}/Album {number // 10}/{number % 10:02d} - {name} {number}.flac"
        _write(root / library / path, CONTENT, mark=song)
        files.append(
            {
                "role": "target" if library == "output" else "stem",
                "name": name.lower(),
                "root": library,
                "file": {"path": path, "size_bytes": len(CONTENT), "sha256": DIGEST},
            }
        )
    for stage in ("validated_file", "song_metadata", "library_entry"):
        _artifact(root, stage, song, payload={"files": files}, contract="LibraryEntry", at=at, size=0)
    for stage in ("staged_chunks", "stems", "recombined_track") if raw else ():
        _artifact(root, stage, song, payload={"tracks": [], "gain_db": 0.0}, contract="RecombinedTrack", at=at, size=1)


def _artifact(
    root: Path, stage: str, song: str, *, payload: dict[str, object], contract: str, at: str, size: int
) -> None:
    """Write a manifest as an early release did, without a checksum of its own, and the artifact's folder."""
    folder = root / "stages" / stage / song
    key = hashlib.sha256(f"{stage}{song}".encode()).hexdigest()
    (folder / key[:16]).mkdir(parents=True)
    if size:
        with (folder / key[:16] / "audio.f32").open("wb") as stream:
            stream.truncate(RAW_BYTES)
        _age(folder / key[:16] / "audio.f32")
    manifest = {
        "contract": contract, "contract_version": 1, "stage": stage, "song": song, "key": key, "code_version": "1",
        "folder": key[:16], "payload": payload, "payload_sha256": DIGEST, "files": [], "checks": [], "inputs": {},
        "job_uuid": f"job-{int(song[1:])}", "user_id": "user1", "trace_id": "t", "attempt": 1, "run_id": "r",
        "written_at": at,
    }  # fmt: skip
    _write(folder / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True).encode())
    _age(folder / key[:16])
    _age(folder)


def _write(path: Path, content: bytes, *, mark: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if mark:
        os.setxattr(path, MARK, mark.encode())
    _age(path)


def _age(path: Path) -> None:
    at = time.time() - AGED_S
    os.utime(path, (at, at))


def measure(command: list[str]) -> None:
    """Run one command and print its time, peak memory and what it came to."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    program = [sys.executable, "-c", "from ironclad_assets.cli.main import main; main()", *command]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=3600)
    wall_s = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    document = json.loads(done.stdout) if done.returncode == 0 else {"planned": done.stderr[-500:]}
    planned = document.get("removed") or document["planned"]
    print(f"{' '.join(command)}: {wall_s:.1f} s, {cpu_s:.1f} s of CPU, {after.ru_maxrss / 1024:.0f} MB, {planned}")


if __name__ == "__main__":
    main()
