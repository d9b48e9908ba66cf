"""Taking named files out of a tar archive, and nothing else: no links, no devices, no path that leads outside."""

import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from ironclad_assets.errors import ErrorCode, IroncladError, failure
from ironclad_assets.storage.atomic import storage_error

LARGEST_BYTES = 32 * 1024**3


def unpack_members(archive: Path, *, members: Iterable[str], folder: Path) -> None:
    """Unpack exactly `members` of `archive` into `folder`, which is empty.

    A member's name may have ``./`` or the archive's one top folder before it.

    Raises:
        IroncladError: ``MODEL_DAMAGED``: it is no tar archive, or lacks one, or has it as something else
            than a plain file; the storage's errors.
    """
    missing = set(members)
    try:
        with tarfile.open(archive) as tar:
            for info in tar:
                name = _match(info.name, wanted=missing)
                if name is None:
                    continue
                if not info.isreg() or not 0 <= info.size <= LARGEST_BYTES:
                    raise _damaged(archive, f"{name} in it is not a plain file")
                _extract(tar, info, target=folder / name)
                missing.discard(name)
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise _damaged(archive, str(error)) from error
    except OSError as error:
        raise _reading_or_storage(error, archive=archive) from error
    if missing:
        raise _damaged(archive, f"it lacks {', '.join(sorted(missing))}")


def _match(name: str, *, wanted: Iterable[str]) -> str | None:
    """Return which wanted file the archive's `name` stands for."""
    plain = name.removeprefix("./")
    if plain.startswith("/") or ".." in plain.split("/"):
        return None
    _, _, below = plain.partition("/")
    return next((each for each in wanted if each in (plain, below)), None)


def _extract(tar: tarfile.TarFile, info: tarfile.TarInfo, *, target: Path) -> None:
    """Write the content of a plain file to `target`; nothing else of the archive (owner, mode, links) counts."""
    source = tar.extractfile(info)
    if source is None:
        raise EOFError(f"{info.name} has no content")
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("xb") as stream:
        copy_stream(source, size_bytes=info.size, write=stream.write)


def copy_stream(source: IO[bytes], *, size_bytes: int, write: Callable[[bytes], object]) -> None:
    """Give exactly `size_bytes` of `source` to `write`.

    Raises:
        EOFError: there are fewer.
    """
    left = size_bytes
    while left:
        block = source.read(min(left, 1024 * 1024))
        if not block:
            raise EOFError(f"{left} bytes are missing")
        write(block)
        left -= len(block)


def _reading_or_storage(error: OSError, *, archive: Path) -> Exception:
    """Return what an error on the way means: gzip reports damage as an OSError without a number."""
    if error.errno is None:
        return _damaged(archive, str(error))
    return storage_error(error, archive)


def _damaged(archive: Path, why: str) -> IroncladError:
    return failure(ErrorCode.MODEL_DAMAGED, f"{archive.name}: {why}")
