"""Fetching one file over HTTP so that it survives cut connections: resume, retries, mirrors, proxies.

The file grows under a temporary name beside its place, with a note of where it came from; a later try goes
on where the last one ended. Whether it is the right file is `pinning`'s business; giving it its name, the
caller's. Proxies come from the usual variables (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).
"""

import json
import os
import time
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from ironclad_assets.engine_host.listening import Listener
from ironclad_assets.engine_host.machine import free_bytes
from ironclad_assets.engine_host.web import (
    open_url,
    part_start,
    reason_of,
    total_bytes,
    validator,
    worth_trying_again,
)
from ironclad_assets.errors import ErrorCode, IroncladError, failure
from ironclad_assets.redirects import NotFollowed
from ironclad_assets.storage.atomic import storage_error

BLOCK_BYTES = 128 * 1024
LARGEST_BYTES = 32 * 1024**3
"""Where nobody says how large a file is, it is not larger than this."""

DISK_RESERVE_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, and how often to try.

    A connection that brings less than `slowest_bytes` in `window_s` has stalled. Only tries that bring
    nothing count against `attempts`; between them is `backoff_s`, doubled each time.
    """

    timeout_s: float = 30.0
    attempts: int = 4
    backoff_s: float = 1.0
    window_s: float = 60.0
    slowest_bytes: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file to fetch.

    Args:
        urls: where it may come from, in order.
        partial: where it grows.
        size_bytes: its size, if known.
        trusted: whether its hash is published, so that it does not matter who delivers it.
        check: is given the whole file; raises what is wrong with it.
    """

    urls: Sequence[str]
    partial: Path
    size_bytes: int | None
    trusted: bool
    check: Callable[[Path], None]


class _Unreachable(Exception):  # noqa: N818 - a verdict on one address
    """This address does not give the file; another may."""


class _Interrupted(Exception):  # noqa: N818 - as above
    """The transfer ended early; the same address may give the rest."""


def fetch(wanted: Wanted, *, listener: Listener, patience: Patience) -> str:
    """Bring the whole, checked file to `wanted.partial`; return the address it came from.

    Raises:
        IroncladError: ``DOWNLOAD_FAILED``, naming every address and why (what arrived stays for the next
            time); ``MODEL_DAMAGED``: what arrived is not the file; the storage's errors.
    """
    reasons: list[str] = []
    damaged = False
    for url in wanted.urls:
        listener.step(f"fetching {url}")
        try:
            _fetch_from(url, wanted=wanted, listener=listener, patience=patience)
        except _Unreachable as reason:
            reasons.append(f"{url}: {reason}")
            continue
        except IroncladError as error:
            if error.code is not ErrorCode.MODEL_DAMAGED:
                raise
            damaged = True
            reasons.append(f"{url}: {error.detail}")
            continue
        _note_path(wanted.partial).unlink(missing_ok=True)
        return url
    code = ErrorCode.MODEL_DAMAGED if damaged else ErrorCode.DOWNLOAD_FAILED
    raise failure(code, "; ".join(reasons) or f"nobody says where {wanted.partial.name} comes from")


def _fetch_from(url: str, *, wanted: Wanted, listener: Listener, patience: Patience) -> None:
    """Bring the whole file from one address; what a wrong file began with is not believed a second time."""
    for resumed in _resumable(url, wanted=wanted):
        _transfer(url, wanted=wanted, listener=listener, patience=patience)
        try:
            wanted.check(wanted.partial)
        except IroncladError:
            _forget(wanted.partial)
            if resumed:
                continue
            raise
        return


def _resumable(url: str, *, wanted: Wanted) -> Iterator[bool]:
    """Yield whether the next try goes on with bytes of an earlier one; twice at most."""
    note = _read_note(wanted.partial)
    kept = wanted.partial.exists() and (wanted.trusted or note.get("url") == url)
    if not kept:
        _forget(wanted.partial)
    yield kept
    if kept:
        yield False


def _transfer(url: str, *, wanted: Wanted, listener: Listener, patience: Patience) -> None:
    """Read until the file is whole, over as many connections as it takes."""
    idle = 0
    while True:
        before = _size(wanted.partial)
        try:
            return _read_once(url, wanted=wanted, listener=listener, patience=patience)
        except _Interrupted as reason:
            idle = 0 if _size(wanted.partial) > before else idle + 1
            if idle >= patience.attempts:
                raise _Unreachable(f"{reason} ({patience.attempts} tries)") from reason
            listener.detail(f"{reason}; trying again")
            time.sleep(patience.backoff_s * 2 ** max(idle - 1, 0))


def _read_once(url: str, *, wanted: Wanted, listener: Listener, patience: Patience) -> None:
    have = _size(wanted.partial)
    if wanted.size_bytes is not None and have == wanted.size_bytes:
        return
    headers = _continue_headers(url, wanted=wanted)
    have = _size(wanted.partial)
    try:
        response = open_url(url, headers=headers, timeout_s=patience.timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            _forget(wanted.partial)
            raise _Interrupted("the server has less than was here") from error
        again = worth_trying_again(error)
        raise (_Interrupted if again else _Unreachable)(f"HTTP {error.code} {error.reason}") from error
    except NotFollowed as error:
        raise _Unreachable(str(error)) from error
    except (OSError, HTTPException) as error:
        raise (_Interrupted if worth_trying_again(error) else _Unreachable)(reason_of(error)) from error
    with response:
        start = have if response.status == 206 else 0
        total = total_bytes(response, start=start)
        if start and part_start(response) != start:
            raise _Unreachable("the server sent another part than was asked for")
        _check_room(wanted, total=total, start=start)
        _write_note(wanted.partial, {"url": url, "validator": validator(response)})
        _receive(response, wanted=wanted, start=start, total=total, listener=listener, patience=patience)


def _continue_headers(url: str, *, wanted: Wanted) -> dict[str, str]:
    """Return the headers that ask for the rest of what is here; forget what nothing proves to be of the same file."""
    have, note = _size(wanted.partial), _read_note(wanted.partial)
    if not have:
        return {}
    if note.get("url") == url and note.get("validator"):
        return {"Range": f"bytes={have}-", "If-Range": note["validator"]}
    if wanted.trusted:
        return {"Range": f"bytes={have}-"}
    _forget(wanted.partial)
    return {}


def _receive(
    response: HTTPResponse,
    *,
    wanted: Wanted,
    start: int,
    total: int | None,
    listener: Listener,
    patience: Patience,
) -> None:
    """Append what comes to the partial file, or begin it anew, until it is whole."""
    most = wanted.size_bytes or total or LARGEST_BYTES
    done = start
    try:
        with wanted.partial.open("r+b" if start else "wb") as stream:
            stream.seek(start)
            stream.truncate()
            for block in _blocks(response, patience=patience):
                done += len(block)
                if done > most:
                    stream.truncate(0)
                    raise _Unreachable(f"it sends more than the {most} bytes that are expected")
                stream.write(block)
                listener.progress(done, wanted.size_bytes or total)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise storage_error(error, wanted.partial) from error
    if total is not None and done < total:
        raise _Interrupted(f"the connection ended after {done} of {total} bytes")


def _blocks(response: HTTPResponse, *, patience: Patience) -> Iterator[bytes]:
    """Yield what arrives; raise `_Interrupted` where the connection breaks or is as good as broken."""
    marked, since = 0, time.monotonic()
    received = 0
    while True:
        try:
            block = response.read1(BLOCK_BYTES)
        except (OSError, HTTPException) as error:
            raise _Interrupted(reason_of(error)) from error
        if not block:
            return
        yield block
        received += len(block)
        if (elapsed := time.monotonic() - since) >= patience.window_s:
            if received - marked < patience.slowest_bytes:
                raise _Interrupted(f"it brought {received - marked} bytes in {elapsed:.0f} s")
            marked, since = received, time.monotonic()


def _check_room(wanted: Wanted, *, total: int | None, start: int) -> None:
    size = wanted.size_bytes or total
    if wanted.size_bytes is not None and total is not None and total != wanted.size_bytes:
        raise _Unreachable(f"it has {total} bytes, not {wanted.size_bytes}")
    if size is not None and size - start + DISK_RESERVE_BYTES > free_bytes(wanted.partial.parent):
        raise failure(
            ErrorCode.STORAGE_FULL, f"{wanted.partial.parent}: no room for {size - start} bytes and a small reserve"
        )


def _note_path(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _read_note(partial: Path) -> dict[str, str]:
    """Return where the bytes of `partial` came from, nothing where nobody wrote that down."""
    with suppress(OSError, ValueError):
        note = json.loads(_note_path(partial).read_text(encoding="utf-8"))
        if isinstance(note, dict):
            return {str(key): str(value) for key, value in note.items()}
    return {}


def _write_note(partial: Path, note: dict[str, str]) -> None:
    try:
        _note_path(partial).write_text(json.dumps(note), encoding="utf-8")
    except OSError as error:
        raise storage_error(error, partial) from error


def _forget(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _note_path(partial).unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
