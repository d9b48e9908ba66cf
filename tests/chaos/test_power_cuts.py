"""The power fails in the middle of uploads, and of a whole system: what was acknowledged is there afterwards.

Promises 1 and 5 of `docs/reliability.md`: accepted means durable, and interrupted songs go on by themselves.
"""

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.storage.store import Store
from tests.chaos.power import MOUNT_OPTIONS, PoweredDisk, powered_disk, require_power
from tests.chaos.uploader import installation
from tests.e2e.conftest import MakeSystem
from tests.e2e.running import ROOT, ROUNDS, say

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

SEED = int(os.environ.get("CHAOS_SEED", "20261"))
CUTS = int(os.environ.get("CHAOS_CUTS", "3"))
"""Power cuts, shared evenly by the ways to mount."""

UPLOADS = 10
RECOVERY_S = 180.0


@pytest.fixture(scope="module")
def power(tmp_path_factory: pytest.TempPathFactory) -> None:
    require_power(tmp_path_factory.mktemp("power") / "try")


def test_no_acknowledged_upload_is_lost_in_a_power_cut(power: None, tmp_path: Path) -> None:
    """Promise 1: whatever instant it is, each file is in the upload folder or, whole and known, in the archive."""
    rng = random.Random(SEED)
    acknowledged, cut_short = 0, 0
    usual_s = _measure_calm(tmp_path / "calm")
    for number in range(CUTS):
        options = MOUNT_OPTIONS[number % len(MOUNT_OPTIONS)]
        with powered_disk(tmp_path / f"disk {number}", options=options) as disk:
            home = disk.mount / "home"
            sent = _prepare(home, seed=SEED + number)
            told = _take_until_cut(disk, home=home, after_s=rng.uniform(0.0, usual_s))
            cut_short += len(told) < UPLOADS
            acknowledged += len(told)
            _, store, ledger = installation(home)
            _require_nothing_lost(store, ledger, sent=sent, told=told)
            ledger.close()
            _require_the_rest_is_taken(home, sent=sent)
    assert cut_short, "no cut came before the end"
    say(f"{CUTS} power cuts x {UPLOADS} uploads: {acknowledged} acknowledged, {cut_short} cut short, 0 lost")


def _measure_calm(folder: Path) -> float:
    """Return the seconds that the uploads take when nothing happens."""
    with powered_disk(folder) as disk:
        home = disk.mount / "home"
        _prepare(home, seed=0)
        with _start_uploader(home) as uploader:
            began = time.monotonic()
            uploader.communicate("go\n", timeout=60)
            return time.monotonic() - began


def _prepare(home: Path, *, seed: int) -> dict[str, str]:
    """Make an installation and files that lie durably in its upload folder; return their hashes by name."""
    _, store, ledger = installation(home)
    store.create()
    ledger.migrate()
    ledger.close()
    folder = store.input / "ada"
    folder.mkdir()
    rng = random.Random(seed)
    sent = {}
    for number in range(UPLOADS):
        content = rng.randbytes(rng.randrange(1, 300_000))
        (folder / f"{number}.flac").write_bytes(content)
        sent[f"{number}.flac"] = hashlib.sha256(content).hexdigest()
    os.sync()
    return sent


def _take_until_cut(disk: PoweredDisk, *, home: Path, after_s: float) -> dict[str, str]:
    """Cut the power `after_s` into the uploads and bring it back; return the songs that were acknowledged, by name."""
    with _start_uploader(home) as uploader:
        assert uploader.stdin is not None
        assert uploader.stdout is not None
        uploader.stdin.write("go\n")
        uploader.stdin.flush()
        time.sleep(after_s)
        disk.cut_power()
        lines = uploader.stdout.read().splitlines()
    disk.unmount()
    disk.power_up()
    return dict(line.split()[1:] for line in lines if line.startswith("took "))


def _start_uploader(home: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.uploader", str(home)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _require_nothing_lost(store: Store, ledger: Ledger, *, sent: dict[str, str], told: dict[str, str]) -> None:
    waiting = {path.name for path in (store.input / "ada").iterdir()}
    known = {job.original_name: ledger.song(job.song) for job in ledger.jobs(limit=1000)}
    for name, sha256 in sent.items():
        song = known.get(name)
        if name in told:
            assert song is not None, f"{name} was acknowledged and nobody knows it"
            assert song.song == told[name]
        assert name in waiting or song is not None, f"{name} is gone"
        if song is not None:
            assert _sha256(store.path(song.archive_path)) == song.sha256 == sha256
        if name in waiting:
            assert _sha256(store.input / "ada" / name) == sha256
    for path in (store.archive).rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            assert _sha256(path) == path.name, f"{path} is torn"


def _require_the_rest_is_taken(home: Path, *, sent: dict[str, str]) -> None:
    """What was interrupted is taken by the next look, and each file is one song."""
    with _start_uploader(home) as uploader:
        lines, _ = uploader.communicate("go\n", timeout=60)
    assert uploader.returncode == 0, lines
    _, store, ledger = installation(home)
    songs = sorted(ledger.song(job.song).sha256 for job in ledger.jobs(limit=1000))
    ledger.close()
    assert songs == sorted(sent.values())
    assert list((store.input / "ada").iterdir()) == []


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.long
def test_a_system_goes_on_by_itself_after_power_cuts(
    power: None, make_system: MakeSystem, reference: dict[str, str], tmp_path: Path
) -> None:
    """Promise 5: databases of ledger and Dagster included; each song ends once, with the bytes of a calm run."""
    rng = random.Random(SEED)
    songs = 4
    with powered_disk(tmp_path / "disk", size="2G") as disk:
        system = make_system(disk.mount / "system")
        system.start()
        system.drop_songs(songs)
        os.sync()  # engines and songs were put there by programs that sync nothing
        recoveries = []
        for _ in range(ROUNDS):
            time.sleep(rng.uniform(1.0, 12.0))
            disk.cut_power()
            system.kill_all()
            system.ledger.close()
            disk.unmount()
            disk.power_up()
            began = time.monotonic()
            system.start()
            system.await_true(
                lambda: system.pids("run worker") or _all_ended(system.jobs(), songs=songs),
                timeout_s=RECOVERY_S,
                what="the interrupted songs go on",
            )
            recoveries.append(time.monotonic() - began)
        system.await_completed(songs=songs)
        library = system.library()
        assert library == {path: sha256 for path, sha256 in reference.items() if path in library}
        assert len(library) == 3 * songs
        say(f"{ROUNDS} power cuts of a system: went on after {', '.join(f'{one:.1f} s' for one in recoveries)}")
        system.close()


def _all_ended(jobs: list, *, songs: int) -> bool:
    return len(jobs) == songs and all(job.state is JobState.COMPLETED for job in jobs)
