"""What `health` says about the queue, the cage around untrusted files, engines and Redis."""

import pytest

from ironclad_assets.cli import health
from ironclad_assets.cli.installation import Installation, open_installation
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.ledger import queue as ledger_queue
from ironclad_assets.ledger.rows import utc_time
from ironclad_assets.settings import Settings
from tests.unit.ledger.conftest import add_song


@pytest.fixture
def installation(installed: Settings) -> Installation:
    return open_installation(require_ledger=False)


def cage(installation: Installation) -> health.Finding:
    (found,) = [one for one in health.examine(installation) if one.part == "cage"]
    return found


def test_a_cage_with_all_its_layers_is_named_without_a_warning(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "describe_cage", lambda: ("limits", "network_namespace", "landlock"))
    found = cage(installation)
    assert found.well
    assert "warning" not in found.detail
    assert found.detail.endswith("limits, network_namespace, landlock")


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (("limits", "landlock"), "could reach the network;"),
        (("limits", "network_namespace"), "could read other files;"),
        (("limits",), "could reach the network and read other files;"),
    ],
)
def test_a_missing_wall_is_a_warning(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, layers: tuple[str, ...], said: str
) -> None:
    """WATCH-002."""
    monkeypatch.setattr(health, "describe_cage", lambda: layers)
    found = cage(installation)
    assert found.well
    assert found.detail.startswith("warning: ")
    assert said in found.detail


def test_a_cage_that_cannot_be_built_is_not_well(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> tuple[str, ...]:
        raise IroncladError("the media process ended with status 1", code=ErrorCode.INTERNAL)

    monkeypatch.setattr(health, "describe_cage", fail)
    found = cage(installation)
    assert (found.well, found.detail) == (False, "the media process ended with status 1")


def engines(installation: Installation) -> health.Finding:
    (found,) = [one for one in health.examine(installation) if one.part == "engines"]
    return found


def test_redis_is_named_where_it_is_configured(installed: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "redis" not in [one.part for one in health.examine(open_installation(require_ledger=False))]
    monkeypatch.setenv("IRONCLAD_REDIS_URL", "unix:///nowhere/redis.sock")
    (found,) = [one for one in health.examine(open_installation(require_ledger=False)) if one.part == "redis"]
    assert found.well
    assert found.detail.startswith("warning: away;")


def test_engines_are_well_where_the_default_one_is_ready(installation: Installation) -> None:
    found = engines(installation)
    assert found.well
    assert found.detail == "the default engine spectral is ready; ready with their default models: spectral"


def test_a_default_engine_that_cannot_run_is_not_well(installed: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRONCLAD_DEFAULT_ENGINE", "other")
    found = engines(open_installation(require_ledger=False))
    assert not found.well
    assert "pipelinectl engines install other" in found.detail


def queue(installation: Installation) -> health.Finding:
    (found,) = [one for one in health.examine(installation) if one.part == "queue"]
    return found


def test_songs_that_no_worker_begins_are_not_well(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 15: within two minutes, and with what to do."""
    job_uuid = add_song(installation.ledger)
    installation.ledger.mark_dispatched([job_uuid])
    for passed, well in ((health.UNATTENDED_S - 10.0, True), (health.UNATTENDED_S + 10.0, False)):
        monkeypatch.setattr(ledger_queue, "utc_now", lambda passed=passed: utc_time(seconds_ago=-passed))
        assert queue(installation).well is well
    assert "for 2:10 no worker has begun any of those queued" in queue(installation).detail
    assert "Dagster UI" in queue(installation).remedy
