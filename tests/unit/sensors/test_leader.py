"""One daemon at a time: who has the lock, and what becomes of it."""

import sys
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from dagster._daemon import sensor

from ironclad_assets.sensors import daemon
from ironclad_assets.sensors.leader import Leadership
from ironclad_assets.settings import Settings
from tests.fakes.postgres import PostgresServer


@pytest.fixture
def pair(postgres_url: str) -> Iterator[tuple[Leadership, Leadership]]:
    """Two machines on one database."""
    both = (Leadership(postgres_url), Leadership(postgres_url))
    yield both
    for one in both:
        one.close()


def test_only_one_machine_leads(pair: tuple[Leadership, Leadership]) -> None:
    first, second = pair
    assert first.take(wait_s=0.0)
    assert not second.take(wait_s=0.2)
    assert first.is_held()
    assert not second.is_held()


def test_another_takes_over_when_the_leader_lets_go(pair: tuple[Leadership, Leadership]) -> None:
    first, second = pair
    first.take(wait_s=0.0)
    first.close()
    assert second.take(wait_s=5.0)
    assert not first.is_held()


def test_a_leader_that_lost_its_connection_knows(pair: tuple[Leadership, Leadership], postgres_url: str) -> None:
    first, second = pair
    first.take(wait_s=0.0)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
    engine = sa.create_engine(postgres_url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(cut))
    assert not first.is_held()
    assert second.take(wait_s=5.0)


def test_a_server_that_is_away_leads_nobody(make_postgres: Callable[..., PostgresServer]) -> None:
    server = make_postgres()
    leadership = Leadership(server.url("postgres"))
    assert leadership.take(wait_s=0.0)
    server.stop("immediate")
    assert not leadership.is_held()
    with pytest.raises(sa.exc.OperationalError):
        Leadership(server.url("postgres")).take(wait_s=0.0)
    leadership.close()


@pytest.mark.parametrize(("url", "takes_turns"), [(None, False), ("postgresql+psycopg2://db/ironclad", True)])
def test_daemons_take_turns_on_postgres_alone(
    settings: Settings, url: str | None, takes_turns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever it is, the daemon looks every second what is due, and is told where the graph is."""
    led: list[Leadership] = []
    began: list[tuple[float, list[str]]] = []
    monkeypatch.setattr(daemon, "load_settings", lambda: settings.model_copy(update={"database_url": url}))
    monkeypatch.setattr(daemon, "_lead", led.append)
    monkeypatch.setattr(sensor, "MIN_INTERVAL_LOOP_TIME", 5)
    monkeypatch.setattr(
        daemon, "run_dagster_daemon", lambda: began.append((sensor.MIN_INTERVAL_LOOP_TIME, sys.argv[1:]))
    )
    monkeypatch.setattr(sys, "argv", ["daemon", "-w", "workspace.yaml"])
    daemon.main()
    assert began == [(1, ["run", "-w", "workspace.yaml"])]
    assert bool(led) is takes_turns
