"""Ports are asked for on every address that a host stands for, and a refusal names the setting."""

import errno
import socket

import pytest

from ironclad_assets.errors import ErrorCode, Refusal, TransientFailure
from ironclad_assets.supervisor.ports import require_free_port


def listen(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, 0), family=family)
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            pytest.skip(f"this machine has no {host}")
        raise


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_is_free_until_somebody_listens_there(host: str) -> None:
    with listen(host) as server:
        port = server.getsockname()[1]
        with pytest.raises(TransientFailure, match=f"IRONCLAD_WEB_PORT: port {port} of {host} is in use") as caught:
            require_free_port(port, host=host, variable="IRONCLAD_WEB_PORT")
    assert caught.value.code is ErrorCode.PORT_TAKEN
    require_free_port(port, host=host, variable="IRONCLAD_WEB_PORT")


@pytest.mark.parametrize("host", ["no such host", "203.0.113.1"])
def test_a_host_that_is_not_this_machine_is_named_instead_of_the_port(host: str) -> None:
    with pytest.raises(Refusal, match=f"IRONCLAD_HOST '{host}': ") as caught:
        require_free_port(3000, host=host, variable="IRONCLAD_WEB_PORT")
    assert caught.value.code is ErrorCode.BAD_OPTION
