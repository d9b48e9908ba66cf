"""The virus scanner of the tests: a real clamd with one signature, and servers that only look like one."""

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PROGRAM = "/usr/sbin/clamd"
SIGNATURE = "Eicar-Test-Body.UNOFFICIAL"
_FIRST_HALF, _SECOND_HALF = r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD", "-ANTIVIRUS-TEST-FILE!$H+H*"
_CONFIGURATION = """
DatabaseDirectory {folder}/database
LocalSocket {folder}/socket
PidFile {folder}/pid
StreamMaxLength {stream}
MaxFileSize 512M
MaxScanSize 512M
AlertExceedsMax {honest}
Foreground yes
"""


def eicar() -> bytes:
    """Return the harmless file that every scanner reports, put together only now so that no file here holds it."""
    return (_FIRST_HALF + _SECOND_HALF).encode("ascii")


class RealClamd:
    """A clamd of the tests' own, in a short folder of its own; `start` and `stop` may be called again."""

    def __init__(self, *, stream: str, honest: bool, signature: bytes) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="clamd-", dir="/tmp"))  # a socket's path has 107 characters
        (self.folder / "database").mkdir()
        line = f"Eicar-Test-Body:0:*:{signature.hex()}\n"
        (self.folder / "database" / "local.ndb").write_text(line, encoding="ascii")
        text = _CONFIGURATION.format(folder=self.folder, stream=stream, honest="yes" if honest else "no")
        (self.folder / "clamd.conf").write_text(text, encoding="ascii")
        self.address = str(self.folder / "socket")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [PROGRAM, f"--config-file={self.folder / 'clamd.conf'}"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(1000):
            with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
                connection.connect(self.address)
                return
            time.sleep(0.02)
        raise AssertionError("clamd did not start")

    def stop(self) -> None:
        """End this clamd and no other."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None
        Path(self.address).unlink(missing_ok=True)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)


@contextmanager
def running_clamd(*, stream: str = "512M", honest: bool = True, signature: bytes | None = None) -> Iterator[RealClamd]:
    """A running clamd; the test is skipped where ClamAV is not installed.

    Args:
        stream: longest stream it takes (StreamMaxLength).
        honest: whether it reports what it gave up on (AlertExceedsMax).
        signature: what it finds; by default EICAR.
    """
    if not Path(PROGRAM).exists():
        pytest.skip("clamd is not installed")
    scanner = RealClamd(stream=stream, honest=honest, signature=eicar() if signature is None else signature)
    try:
        scanner.start()
        yield scanner
    finally:
        scanner.close()


@pytest.fixture(scope="session")
def clamd_server() -> Iterator[RealClamd]:
    """A clamd that lives as long as the tests."""
    with running_clamd() as scanner:
        yield scanner


def read_stream(connection: socket.socket) -> bytes:
    """Return the content of an INSTREAM, whose command was read."""
    content = bytearray()
    with connection.makefile("rb") as stream:
        while (length := int.from_bytes(stream.read(4), "big")) > 0:
            assert length <= 65_536
            content += stream.read(length)
    return bytes(content)


@contextmanager
def fake_clamd(answer: Callable[[bytes, socket.socket], None]) -> Iterator[str]:
    """A server on loopback that calls `answer` with each command and its connection; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    ended = threading.Event()

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            command = bytearray()
            while not command.endswith(b"\0") and (byte := connection.recv(1)):
                command += byte
            answer(bytes(command[1:-1]), connection)

    def serve() -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                connection.settimeout(10)
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        host, port = listener.getsockname()
        yield f"{host}:{port}"
    finally:
        ended.set()
        thread.join()
        listener.close()
