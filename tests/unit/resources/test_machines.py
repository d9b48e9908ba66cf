"""Runs of other machines: told apart, believed alive while they are heard of, and mended when they are not."""

import socket
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from ironclad_assets.resources.machines import HOST_TAG, SILENT_S, OtherMachines, is_elsewhere

RUN = "11111111-1111-4111-8111-111111111111"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def others(clock: Clock) -> OtherMachines:
    return OtherMachines(clock=clock)


def record(*, told: int) -> dg.RunRecord:
    at = datetime.fromtimestamp(told, tz=UTC)
    run = dg.DagsterRun(job_name="process_song", run_id=RUN)
    return dg.RunRecord(storage_id=1, dagster_run=run, create_timestamp=at, update_timestamp=at)


def test_run_is_elsewhere_where_another_host_told_so() -> None:
    for tags, elsewhere in (({}, False), ({HOST_TAG: socket.gethostname()}, False), ({HOST_TAG: "attic"}, True)):
        assert is_elsewhere(dg.DagsterRun(job_name="process_song", tags=tags)) is elsewhere


def test_run_that_is_heard_of_is_never_silent(others: OtherMachines, clock: Clock) -> None:
    for told in range(20):
        others.begin_look()
        assert not others.is_silent(record(told=told))
        clock.now += 15.0


def test_run_that_says_nothing_is_silent_after_a_while(others: OtherMachines, clock: Clock) -> None:
    began, silent = clock.now, False
    while not silent:
        others.begin_look()
        silent = others.is_silent(record(told=7))
        clock.now += 5.0
    assert SILENT_S <= clock.now - began <= SILENT_S + 10.0


def test_clocks_of_machines_need_not_agree(others: OtherMachines, clock: Clock) -> None:
    """What counts is that the row changes, not what time it names."""
    for told in (4_000_000_000, 3, 3_999_999_000):
        others.begin_look()
        assert not others.is_silent(record(told=told))
        clock.now += 40.0


def test_nothing_is_concluded_from_a_time_in_which_nobody_could_be_heard(others: OtherMachines, clock: Clock) -> None:
    """The database was away for an hour."""
    others.begin_look()
    others.is_silent(record(told=7))
    clock.now += 3600.0
    others.begin_look()
    assert not others.is_silent(record(told=7))


def test_ephemeral_instances_have_what_is_gone_by() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        create_run_for_test(instance, run_id=RUN, tags={HOST_TAG: "attic"})
        (found,) = instance.get_run_records(dg.RunsFilter(tags={HOST_TAG: "attic"}))
        assert is_elsewhere(found.dagster_run)
