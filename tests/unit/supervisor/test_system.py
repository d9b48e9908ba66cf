"""What a second supervisor of a home may not touch."""

import socket
import sys

import pytest
from filelock import FileLock

from ironclad_assets.errors import ErrorCode, TransientFailure
from ironclad_assets.settings import Settings
from ironclad_assets.supervisor import system as system_module
from ironclad_assets.supervisor.services import Service, plan_services
from ironclad_assets.supervisor.system import System


def test_second_supervisor_leaves_the_running_one_findable(settings):
    run = settings.home_dir / "run"
    run.mkdir(parents=True)
    processes = run / "processes.json"
    processes.write_text("{}", encoding="utf-8")
    with (
        FileLock(run / "supervisor.lock"),
        pytest.raises(TransientFailure, match="already run by another") as caught,
        System(settings) as second,
    ):
        second.start(lambda _text: None)
    assert caught.value.code is ErrorCode.ALREADY_RUNNING
    assert processes.exists()


def test_taken_port_is_told_by_its_own_code_before_anything_starts(settings):
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = Settings(home=settings.home, code_port=server.getsockname()[1])
        with pytest.raises(TransientFailure, match="IRONCLAD_CODE_PORT") as caught, System(taken) as system:
            system.start(lambda _text: None)
    assert caught.value.code is ErrorCode.PORT_TAKEN


def test_service_that_ends_at_once_is_told_with_its_last_words(settings, monkeypatch):
    broken = Service("webserver", (sys.executable, "-c", "print('no such colour'); raise SystemExit(1)"), port=1)
    monkeypatch.setattr(System, "_prepare", lambda _self: None)
    monkeypatch.setattr(System, "_require_free_ports", lambda _self: None)
    monkeypatch.setattr(system_module, "plan_services", lambda _settings: [broken])
    said = "webserver did not come up: no such colour"
    with pytest.raises(TransientFailure, match=said) as caught, System(settings) as system:
        system.start(lambda _text: None)
    assert caught.value.code is ErrorCode.SERVICE_DOWN


def test_address_of_ipv6_is_bracketed_in_the_url(settings):
    assert System(settings).dagster_url == "http://127.0.0.1:3000"
    assert System(Settings(home=settings.home, host="::1")).dagster_url == "http://[::1]:3000"


def test_warm_workers_are_a_service_only_where_they_are_asked_for(settings):
    """ENG-002: by configuration alone."""
    warm = Settings(home=settings.home, executor="warm")
    assert "warm-workers" not in [service.name for service in plan_services(settings)]
    (service,) = [service for service in plan_services(warm) if service.name == "warm-workers"]
    assert service.socket == settings.home_dir / "run" / "warm.sock"
    assert not service.answers()
