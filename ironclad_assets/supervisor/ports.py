"""Whether a port can be listened on, asked before anything is started, and whether somebody answers there.

Every address that a host name stands for is tried, of IPv4 and of IPv6, for the web server takes them all.
"""

import errno
import socket

from ironclad_assets.errors import ErrorCode, Refusal, TransientFailure

LOOPBACK = "127.0.0.1"


def require_free_port(port: int, *, host: str, variable: str) -> None:
    """Raise unless this process could listen on every address that `host` stands for.

    Args:
        port: the port; 1..65535.
        host: a name or an address, of IPv4 or IPv6.
        variable: the setting that the port comes from, for the message.

    Raises:
        TransientFailure: `PORT_TAKEN`.
        Refusal: `BAD_OPTION`, where `host` is no address of this machine or the port is not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise Refusal(f"IRONCLAD_HOST {host!r}: {error.strerror}", code=ErrorCode.BAD_OPTION) from error
    for family, _, _, _, address in found:
        try:
            _listen_once(family, address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                taken = f"{variable}: port {port} of {host} is in use"
                raise TransientFailure(taken, code=ErrorCode.PORT_TAKEN) from error
            wrong = f"{variable} {port}" if error.errno == errno.EACCES else f"IRONCLAD_HOST {host!r}"
            raise Refusal(f"{wrong}: {error.strerror}", code=ErrorCode.BAD_OPTION) from error


def answers(port: int, *, host: str = LOOPBACK) -> bool:
    """Return whether something accepts connections on `port`."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def _listen_once(family: int, address: tuple[object, ...]) -> None:
    """Take an address as the web server will, and let go of it."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # IPv4 has a socket of its own
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(address)
