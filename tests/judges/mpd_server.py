"""A Music Player Daemon of the test's own: started on loopback, asked in its protocol, ended by its process.

MPD reads every tag by its own code (libFLAC, libid3tag, FFmpeg, libopus) and groups albums by tags alone, as Navidrome
does. The protocol: https://mpd.readthedocs.io/en/latest/protocol.html
"""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_TAGS = (
    "artist", "artistsort", "album", "albumsort", "albumartist", "albumartistsort", "title", "track", "disc", "genre",
    "date", "composer", "comment", "label", "musicbrainz_artistid", "musicbrainz_albumid",
    "musicbrainz_albumartistid", "musicbrainz_trackid", "musicbrainz_releasetrackid", "musicbrainz_workid",
)  # fmt: skip
FIELDS = {
    "Title": "TITLE", "Artist": "ARTIST", "Album": "ALBUM", "AlbumArtist": "ALBUMARTIST", "Genre": "GENRE",
    "Date": "DATE", "Composer": "COMPOSER", "Track": "TRACKNUMBER", "Disc": "DISCNUMBER",
    "ArtistSort": "ARTISTSORT", "AlbumArtistSort": "ALBUMARTISTSORT",
    "MUSICBRAINZ_ARTISTID": "MUSICBRAINZ_ARTISTID", "MUSICBRAINZ_ALBUMARTISTID": "MUSICBRAINZ_ALBUMARTISTID",
    "MUSICBRAINZ_WORKID": "MUSICBRAINZ_WORKID",
}  # fmt: skip
"""MPD's names of what it reads, and the contract's."""

_CONFIGURATION = """
music_directory "{music}"
db_file "{folder}/database"
log_file "{folder}/log"
bind_to_address "127.0.0.1"
port "{port}"
follow_outside_symlinks "yes"
zeroconf_enabled "no"
metadata_to_use "{tags}"
input {{
    plugin "curl"
    enabled "no"
}}
audio_output {{
    type "null"
    name "none"
}}
"""
_PATIENCE_S = 30.0
_LOOK_S = 0.05

Pair = tuple[str, str]


class MpdError(Exception):
    """MPD refused a command."""


class MpdClient:
    """A connection to one server; every answer is a list of names and values, in their order."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S)
        self._stream: BinaryIO = self._socket.makefile("rwb")
        greeting = self._stream.readline()
        if not greeting.startswith(b"OK MPD "):
            raise MpdError(f"not an MPD: {greeting!r}")

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def ask(self, command: str, *arguments: str) -> list[Pair]:
        """Send a command; its arguments are quoted."""
        self._send(command, *arguments)
        answer = []
        while (line := self._line()) != "OK":
            name, _, value = line.partition(": ")
            answer.append((name, value))
        return answer

    def picture(self, command: str, uri: str) -> bytes | None:
        """Return the picture that `albumart` or `readpicture` gives for a song; None where it has none."""
        data = b""
        while True:
            self._send(command, uri, str(len(data)))
            size, count = 0, None
            while (line := self._line()) != "OK":
                name, _, value = line.partition(": ")
                if name == "size":
                    size = int(value)
                elif name == "binary":
                    count = int(value)
                    data += self._stream.read(count)
                    self._stream.readline()
            if count is None:
                return None
            if len(data) >= size:
                return data

    def songs(self, *arguments: str) -> list[dict[str, tuple[str, ...]]]:
        """Return the songs that `find` knows, each tag with all its values; without arguments, all songs."""
        answer = self.ask("find", *arguments) if arguments else self.ask("listallinfo")
        found: list[dict[str, tuple[str, ...]]] = []
        for name, value in answer:
            if name == "file":
                found.append({})
            if found and name not in ("directory", "playlist"):
                found[-1][name] = (*found[-1].get(name, ()), value)
        return found

    def update(self) -> None:
        """Have the library read, and wait until that is done."""
        self.ask("update")
        deadline = time.monotonic() + _PATIENCE_S
        while "updating_db" in dict(self.ask("status")):
            if time.monotonic() > deadline:
                raise MpdError(f"the library was not read within {_PATIENCE_S:.0f} s")
            time.sleep(_LOOK_S)

    def _send(self, *words: str) -> None:
        quoted = [words[0], *('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words[1:])]
        self._stream.write((" ".join(quoted) + "\n").encode())
        self._stream.flush()

    def _line(self) -> str:
        line = self._stream.readline().decode().rstrip("\n")
        if line.startswith("ACK ") or not line:
            raise MpdError(line or "the server has gone")
        return line


@contextmanager
def running_mpd(folder: Path, **roots: Path) -> Iterator[MpdClient]:
    """Start MPD, have it read everything, and give a connection to it.

    Args:
        folder: takes its configuration, database and log; is created.
        roots: libraries, each under its name in one folder of links.
    """
    music = folder / "music"
    music.mkdir(parents=True)
    for name, root in roots.items():
        (music / name).symlink_to(root)
    port = _free_port()
    configuration = folder / "mpd.conf"
    values = {"music": music, "folder": folder, "port": port, "tags": ",".join(_TAGS)}
    configuration.write_text(_CONFIGURATION.format(**values), encoding="utf-8")
    with (folder / "stderr").open("wb") as stderr:
        server = subprocess.Popen(["mpd", "--no-daemon", str(configuration)], stdin=subprocess.DEVNULL, stderr=stderr)
    try:
        client = _connect(port, server=server, log=folder / "stderr")
        try:
            client.update()
            yield client
        finally:
            client.close()
    finally:
        server.terminate()
        server.wait(timeout=_PATIENCE_S)


def _connect(port: int, *, server: "subprocess.Popen[bytes]", log: Path) -> MpdClient:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return MpdClient(port)
        except ConnectionRefusedError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise MpdError(log.read_text(encoding="utf-8", errors="replace")) from None
            time.sleep(_LOOK_S)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
