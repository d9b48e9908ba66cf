"""kill -9 of each process alone and of all at once, at many moments: every song still ends exactly once.

The media files must be those of a run that nobody disturbed, byte for byte, and nothing may be left over.
"""

import os
import random
import time
from dataclasses import dataclass, field

import pytest

from ironclad_assets.contracts.v1.job import STAGES, Job, JobState
from tests.chaos.conftest import SONG_S, SONGS
from tests.e2e.conftest import MakeSystem
from tests.e2e.running import ROUNDS, RunningSystem, say

pytestmark = [pytest.mark.chaos, pytest.mark.long]

SEED = int(os.environ.get("CHAOS_SEED", "20261"))
ALONE = (
    "media child",
    "engine worker",
    "engine guard",
    "grandchild",
    "run worker",
    "fork server",
    "code server",
    "daemon",
    "webserver",
    "log follower",
)
RECOVERY_S = 180.0
"""Promised time within which interrupted runs go on by themselves."""

GONE_S = 10.0


@dataclass
class Disturbance:
    """What was killed, how often, and what was seen meanwhile."""

    system: RunningSystem
    rng: random.Random
    reference: dict[str, str]
    kills: dict[str, int] = field(default_factory=dict)
    starts: list[float] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.starts.append(self.system.start())

    def kill(self, role: str) -> None:
        """Wait for a process of `role`, then a moment, then kill one that is there."""
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline and self.any_active():
            if self.system.pids(role):
                time.sleep(self.rng.uniform(0.0, 0.6))
                if self.system.kill(role, choose=self.rng.choice) is not None:
                    self.kills[role] = self.kills.get(role, 0) + 1
                    self.look()
                    return
            time.sleep(0.05)

    def cut_power(self) -> None:
        """Kill everything at once, start again, and wait until an interrupted song goes on."""
        self.system.kill_all()
        self.kills["everything"] = self.kills.get("everything", 0) + 1
        self.look()
        assert self.system.processes() == {}
        began = time.monotonic()
        self.start()
        if self.any_active():
            self.system.await_true(
                lambda: self.system.pids("run worker") or not self.any_active(),
                timeout_s=RECOVERY_S,
                what="the interrupted songs go on",
            )
            self.recoveries.append(time.monotonic() - began)

    def any_active(self) -> bool:
        return len(self.system.jobs()) < SONGS or any(job.state.active for job in self.system.jobs())

    def look(self) -> None:
        """Whatever is visible in the library is whole, at any moment."""
        seen = self.system.library()
        self.torn += [path for path, sha256 in seen.items() if self.reference.get(path) != sha256]


@pytest.fixture(scope="module")
def disturbed(make_system: MakeSystem, reference: dict[str, str]) -> Disturbance:
    """A system that was killed in every way while it worked, and then left alone until all songs ended."""
    system = make_system()
    disturbance = Disturbance(system, random.Random(SEED), reference)
    disturbance.start()
    system.drop_songs(SONGS, seconds=SONG_S)
    for _ in range(ROUNDS):
        for role in ALONE[:4]:
            disturbance.kill(role)
        disturbance.cut_power()
        for role in ALONE[4:]:
            disturbance.kill(role)
        time.sleep(disturbance.rng.uniform(0.0, 5.0))
        disturbance.cut_power()
    ended = [state for state in JobState if not state.active]
    system.await_states(ended, songs=SONGS, timeout_s=RECOVERY_S + 30.0 * SONGS)
    say(f"kills {disturbance.kills}")
    say(f"starts {_seconds(disturbance.starts)}; until a song went on {_seconds(disturbance.recoveries)}")
    return disturbance


def _seconds(times: list[float]) -> str:
    return ", ".join(f"{one:.1f} s" for one in times)


def test_every_process_was_killed(disturbed):
    assert set(disturbed.kills) == {*ALONE, "everything"}


def test_every_song_completes_exactly_once(disturbed):
    """JOB-003: nothing is lost and nothing is done twice in effect, whatever process dies."""
    system = disturbed.system
    jobs = system.jobs()
    assert [job.state for job in jobs] == [JobState.COMPLETED] * SONGS, system.story()
    assert len({job.song for job in jobs}) == SONGS
    assert sorted(job.original_name for job in jobs) == sorted(f"Song {number}.flac" for number in range(SONGS))
    for job in jobs:
        ends = [entry for entry in system.ledger.history(job.job_uuid) if entry.to_state is JobState.COMPLETED]
        assert len(ends) == 1
    assert sorted(system.partitions()) == sorted(job.song for job in jobs)


def test_media_files_equal_those_of_an_undisturbed_run(disturbed, reference):
    """RECON-002: same inputs, same bytes; one path per file."""
    assert disturbed.system.library() == reference


def test_no_torn_file_was_ever_visible(disturbed):
    assert disturbed.torn == []


def test_nothing_unfinished_is_left(disturbed):
    store = disturbed.system.store
    assert disturbed.system.leftovers() == []
    assert [str(path) for path in (store / "stages").rglob("*.part")] == []
    assert list((store / "input").iterdir()) == []
    archived = [path for path in (store / "archive").rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert len(archived) == SONGS


def test_songs_go_on_by_themselves_within_three_minutes_of_a_cold_start(disturbed):
    assert disturbed.recoveries
    assert max(disturbed.recoveries) <= RECOVERY_S


def test_everything_ends_with_the_supervisor(disturbed):
    """After kill -9 of the supervisor alone nothing of ours lives on, grandchildren included."""
    system = disturbed.system
    system.drop_songs(2, seconds=10.0, first=1000)
    system.await_true(lambda: system.pids("grandchild"), timeout_s=60.0, what="a separation")
    before = system.processes()
    assert {"run worker", "engine guard", "engine worker", "grandchild", "code server"} <= set(before)
    system.kill("supervisor")
    took = system.await_true(lambda: not system.processes(), timeout_s=GONE_S, what="everything is gone")
    say(f"{sum(map(len, before.values()))} processes were gone {took:.1f} s after the supervisor")
    system.start()
    waited = system.await_completed(songs=SONGS + 2)
    say(f"both songs were complete {waited:.1f} s after the next start")
    assert system.stop() == 0
    system.await_true(lambda: not system.processes(), timeout_s=GONE_S, what="everything is gone")


def test_run_killed_in_each_stage_is_carried_on(make_system, reference):
    """Two kills a song, below the poison cap, so that every stage is interrupted."""
    system = make_system()
    system.start()
    for number in range(3):
        system.drop_songs(1, seconds=SONG_S, first=number)
        system.await_states(list(JobState), songs=number + 1)
        job = system.jobs()[0]
        for stage in STAGES[2 * number : 2 * number + 2]:
            system.await_stage(job, stage)
            took = _kill_run(system, job)
            say(f"killed in {stage}: queued again after {took:.1f} s")
        system.await_job_completed(job, timeout_s=120.0)
    assert {path: sha256 for path, sha256 in reference.items() if path in system.library()} == system.library()
    assert len(system.library()) == 9
    assert system.leftovers() == []


def _kill_run(system: RunningSystem, job: Job) -> float:
    """Kill the run and return the seconds until its job was queued again."""
    attempt = system.ledger.job(job.job_uuid).attempt
    assert system.kill_run(job)
    return system.await_true(
        lambda: system.ledger.job(job.job_uuid).attempt > attempt, timeout_s=30.0, what="queued again"
    )
