"""The way in, watched: drops a file into an upload folder, lets it be judged, and keeps what can be said about that.

What every input must leave behind, whatever it is, is checked here too; which answer it must get is its row's.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import pytest

from ironclad_assets.contracts.v1.job import HistoryEntry, Job, JobState
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.errors import ErrorCode
from ironclad_assets.intake.inbox import Collected, Inbox
from ironclad_assets.partitions import songs
from ironclad_assets.sandbox import process
from ironclad_assets.sandbox.process import ChildProcess
from ironclad_assets.sensors.dispatch import request_runs, run_key
from ironclad_assets.storage.artifacts import load_artifact
from tests import synth
from tests.integration.conftest import Installation

MOST_CPU_S = 20.0
MOST_MEMORY_BYTES = 512 * 1024**2
VALIDATE, TAG = ("validated_file",), ("validated_file", "song_metadata")
_PATIENCE_S = 10.0


@dataclass(slots=True)
class Costs:
    """What the children of one input used. `packets` is None where no sample was taken in a network of their own."""

    cpu_s: float = 0.0
    peak_bytes: int = 0
    packets: int | None = None
    children: int = 0


@dataclass(slots=True)
class Outcome:
    """What became of one input: a job, or a reason why nothing was taken."""

    job: Job | None
    ignored: str | None
    costs: Costs
    history: list[HistoryEntry] = field(default_factory=list)
    validated: ValidatedFile | None = None
    metadata: SongMetadata | None = None
    duplicate: bool = False

    @property
    def code(self) -> str | None:
        return None if self.job is None or self.job.error is None else self.job.error.code

    @property
    def detail(self) -> str:
        return "" if self.job is None or self.job.error is None else self.job.error.detail


class Gate:
    """One installation that every input of the table passes, one after the other."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.inbox = Inbox(ledger=installation.ledger, store=installation.store, settings=installation.settings)
        self.inbox.collect(budget_s=1.0)
        self._made = 0
        self._judged, self._counted = 0, 0

    def close(self) -> None:
        """Let go of the upload folder; see that packets were really counted, where a child can have its own network."""
        self.inbox.close()
        if is_root() and self._judged >= 10:
            assert self._counted > self._judged / 2

    def make_folder(self) -> Path:
        """Return an empty folder outside the store, in which an input is made."""
        self._made += 1
        folder = self.installation.folder / "made" / str(self._made)
        folder.mkdir(parents=True)
        return folder

    def drop(self, source: Path, *, user_id: str | None = None) -> Path:
        """Move a file into the upload folder, as a program that is done with it does; return where it is."""
        folder = self.installation.store.input
        if user_id is not None:
            folder = folder / user_id
            folder.mkdir(exist_ok=True)
        target = folder / source.name
        source.rename(target)
        return target

    def judge(self, source: Path, *, stages: tuple[str, ...] = VALIDATE, user_id: str | None = None) -> Outcome:
        """Drop a file, take it in, and run the given stages for it."""
        with measured() as costs:
            collected = self.collect(self.drop(source, user_id=user_id))
            if not collected.taken:
                why = next((why for _, why in (*collected.ignored, *collected.waiting)), "")
                return Outcome(None, why, costs)
            registration = collected.taken[0]
            if registration.job.state is JobState.QUEUED and not registration.duplicate:
                self.run(registration.job, stages=stages)
        self._judged += costs.children > 0
        self._counted += costs.packets is not None
        return self._outcome(registration.job, costs=costs, duplicate=registration.duplicate)

    def collect(self, path: Path) -> Collected:
        """Let the inbox look until it has taken the file or said why not."""
        until = time.monotonic() + _PATIENCE_S
        collected = self.inbox.collect(budget_s=5.0)
        while not collected.taken and not collected.ignored and os.path.lexists(path) and time.monotonic() < until:
            time.sleep(0.02)
            collected = self.inbox.collect(budget_s=5.0)
        return collected

    def run(self, job: Job, *, stages: tuple[str, ...] | None) -> dg.ExecuteInProcessResult:
        """Run stages of a job as the dispatcher does; None for all."""
        here = self.installation
        here.instance.add_dynamic_partitions(songs.name, [job.song])
        request = request_runs([job]).run_requests[0]
        here.ledger.mark_dispatched([job.job_uuid])
        tags = {**request.tags, "dagster/run_key": run_key(job)}
        chosen = None if stages is None else list(stages)
        result: dg.ExecuteInProcessResult = here.run(job.song, assets=chosen, tags=tags)
        return result

    def _outcome(self, before: Job, *, costs: Costs, duplicate: bool) -> Outcome:
        here = self.installation
        job = here.ledger.job(before.job_uuid)
        outcome = Outcome(job, None, costs, here.ledger.history(job.job_uuid), duplicate=duplicate)
        if job.state is JobState.COMPLETED:
            outcome.validated = load_artifact(here.store.stage("validated_file", job.song), ValidatedFile).payload
            tagged = here.store.stage("song_metadata", job.song)
            if tagged.manifest.exists():
                outcome.metadata = load_artifact(tagged, SongMetadata).payload
        return outcome

    def tree(self) -> set[str]:
        """Return every path that is not the store's own business: outside the store, and in both libraries."""
        root, store = self.installation.folder, self.installation.store
        apart = (store.root, root / "made")
        outside = {str(path) for path in root.rglob("*") if not any(path.is_relative_to(one) for one in apart)}
        libraries = ("output", "output-stems")
        return outside | {str(path) for name in libraries for path in store.library(name).rglob("*")}

    def send_good_song(self) -> None:
        """See that a good song, right after, is accepted."""
        self._made += 1
        path = self.make_folder() / f"good {self._made}.wav"
        outcome = self.judge(synth.write_wav(path, synth.noise(0.6, seed=self._made)))
        assert outcome.job is not None, outcome.ignored
        assert (outcome.job.state, outcome.code) == (JobState.COMPLETED, None), outcome.detail


def check_always(outcome: Outcome, *, gate: Gate) -> None:
    """Check what holds for every input: costs, no packet, one line of history for each step, a private quarantine."""
    costs = outcome.costs
    assert costs.cpu_s < MOST_CPU_S
    assert costs.peak_bytes < MOST_MEMORY_BYTES
    assert not costs.packets, f"{costs.packets} packets were sent"
    if outcome.job is None:
        assert outcome.ignored
        return
    assert outcome.code != ErrorCode.INTERNAL.code, outcome.detail
    steps = [line.to_state for line in outcome.history]
    assert steps in (
        [JobState.QUEUED, JobState.RUNNING, JobState.COMPLETED],
        [JobState.QUEUED, JobState.RUNNING, JobState.FAILED],
        [JobState.FAILED],
    ), steps
    assert all(line.actor for line in outcome.history)
    if outcome.job.error is not None:
        assert outcome.job.error.code in outcome.history[-1].detail
        assert len(outcome.detail) > 10
        assert outcome.detail.isprintable()
        check_told(outcome, gate=gate)
        folder = gate.installation.store.quarantine(outcome.job.song)
        assert folder.stat().st_mode & 0o077 == 0
        assert {path.name for path in folder.iterdir()} == {"error.json", "original"}
        assert list((gate.installation.store.root / "stages").rglob("*.part")) == []


def check_told(outcome: Outcome, *, gate: Gate) -> None:
    """Check that a refusal says the same in job, quarantine and, where a run met it, in Dagster (CAT-003)."""
    here, job = gate.installation, outcome.job
    assert job is not None
    assert job.error is not None
    remedy = ErrorCode.from_code(job.error.code).facts.remedy
    assert job.error.remedy == remedy
    document = json.loads((here.store.quarantine(job.song) / "error.json").read_text(encoding="utf-8"))
    assert (document["code"], document["detail"], document["remedy"]) == (job.error.code, job.error.detail, remedy)
    if job.run_id is None:
        return
    assert job.error.stage == "validated_file"
    observed = here.instance.fetch_observations(dg.AssetKey("validated_file"), limit=1).records[0].asset_observation
    assert observed is not None
    assert observed.partition == job.song
    assert (observed.metadata["error_code"].value, observed.metadata["remedy"].value) == (job.error.code, remedy)


@contextmanager
def measured() -> Iterator[Costs]:
    """Measure every child that media work starts meanwhile: processor time, peak of memory, packets sent.

    The peak is the kernel's high-water mark, looked at twenty times a second, because the one in a child's rusage
    begins with the memory of this process.
    """
    costs = Costs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "subprocess", _counting(costs))
        real = ChildProcess.breach

        def breach(child: ChildProcess) -> Any:
            _sample(child.pid, costs)
            return real(child)

        patch.setattr(ChildProcess, "breach", breach)
        yield costs


def _counting(costs: Costs) -> ModuleType:
    """Return a stand-in for `subprocess` whose children are waited for with their usage."""

    class CountingPopen(subprocess.Popen[bytes]):
        def poll(self) -> int | None:
            if self.returncode is None:
                self._reap(os.WNOHANG)
            return self.returncode

        def wait(self, timeout: float | None = None) -> int:
            until = None if timeout is None else time.monotonic() + timeout
            while self.poll() is None:
                if until is not None and time.monotonic() > until:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
                time.sleep(0.002)
            return int(self.returncode)

        def _reap(self, flags: int) -> None:
            pid, status, usage = os.wait4(self.pid, flags)
            if pid == self.pid:
                self.returncode = os.waitstatus_to_exitcode(status)
                costs.cpu_s += usage.ru_utime + usage.ru_stime
                costs.children += 1

    stand_in = ModuleType("subprocess")
    stand_in.__dict__.update({name: value for name, value in vars(subprocess).items() if not name.startswith("__")})
    stand_in.__dict__["Popen"] = CountingPopen
    return stand_in


def _sample(pid: int, costs: Costs) -> None:
    with suppress(OSError, ValueError):
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        peak = next((line for line in status.splitlines() if line.startswith("VmHWM")), "VmHWM: 0 kB")
        costs.peak_bytes = max(costs.peak_bytes, int(peak.split()[1]) * 1024)
        if Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink():
            lines = Path(f"/proc/{pid}/net/dev").read_text(encoding="ascii").splitlines()[2:]
            costs.packets = max(costs.packets or 0, sum(int(line.partition(":")[2].split()[9]) for line in lines))


def is_root() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0
