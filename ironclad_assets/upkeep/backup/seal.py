"""Encryption of backups in the age format: who can open one, and streams that pass through it.

The machine that makes backups needs public keys alone, so whoever steals it opens none of them. A passphrase protects
a key of its own, which lies in each backup. `pyrage` is an extra (docs/adr/0013): imported when somebody asks for it.
"""

import base64
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from ironclad_assets.errors import ErrorCode, IroncladError, failure
from ironclad_assets.storage.hashing import BLOCK_BYTES

Keys = Sequence[Any]
"""Keys as pyrage has them; its types are not described."""


class Reader(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes: ...


class Writer(Protocol):
    """What bytes are written to."""

    def write(self, block: bytes, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Seal:
    """To whom backups are encrypted. `sealed_identity` is their key under a passphrase, in base64."""

    recipients: tuple[str, ...]
    sealed_identity: str | None = None


class Passing:
    """A stream that hashes and counts what passes, and remembers the error of the one behind it."""

    def __init__(self, stream: Reader | Writer, *, heed: Callable[[int], None] | None = None) -> None:
        self._stream: Any = stream  # either way, never both
        self._heed = heed
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        self.error: OSError | None = None

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def read(self, size: int = -1, /) -> bytes:
        return self._pass(bytes(self._try(lambda: self._stream.read(size))))

    def write(self, block: bytes, /) -> int:
        self._try(lambda: self._stream.write(block))
        return len(self._pass(bytes(block)))

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the stream gives
        try:
            return act()
        except OSError as error:
            self.error = error  # pyrage turns it into one of its own, without the number
            raise

    def _pass(self, block: bytes) -> bytes:
        self._digest.update(block)
        self.size_bytes += len(block)
        if self._heed is not None:
            self._heed(len(block))
        return block


def copy_stream(source: Reader, target: Writer) -> None:
    """Copy all of `source` to `target` as it is."""
    while block := source.read(BLOCK_BYTES):
        target.write(block)


def make_seal(recipients: Sequence[str], *, passphrase: str | None, known: Sequence[str] = ()) -> Seal | None:
    """Return the seal for public keys and a passphrase, either or both; None where there is neither.

    Args:
        recipients: ``age1...``, one each.
        passphrase: protects a key of its own.
        known: keys that earlier backups protect by a passphrase: the one it opens is used again.

    Raises:
        PermanentFailure: `BAD_OPTION`, for what is no key, or where the extra is not installed.
    """
    chosen = list(recipients)
    if not chosen and passphrase is None:
        return None
    _parse_recipients(chosen)
    sealed = None
    if passphrase is not None:
        pyrage = _load()
        sealed, identity = _find_sealed(dict.fromkeys(known), passphrase=passphrase)
        if sealed is None:
            identity = str(pyrage.x25519.Identity.generate())
            sealed = base64.b64encode(pyrage.passphrase.encrypt(identity.encode(), passphrase)).decode()
        chosen.append(str(pyrage.x25519.Identity.from_str(identity).to_public()))
    return Seal(recipients=tuple(sorted(set(chosen))), sealed_identity=sealed)


def read_identities(file: Path | None, *, passphrase: str | None, sealed: str | None) -> Keys:
    """Return the keys in an identity file, as age-keygen writes it, and the one that the passphrase opens.

    Raises:
        PermanentFailure: `BACKUP_LOCKED`, where there is none; `BAD_OPTION`, for a file without keys.
    """
    pyrage = _load()
    found = []
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
            found = [pyrage.x25519.Identity.from_str(line.strip()) for line in lines if line.startswith("AGE-SECRET-")]
        except (OSError, ValueError, pyrage.IdentityError) as error:
            raise failure(ErrorCode.BAD_OPTION, f"{file} cannot be read as an identity: {error}") from error
        if not found:
            raise failure(ErrorCode.BAD_OPTION, f"{file} holds no AGE-SECRET-KEY")
    if passphrase is not None and sealed is not None:
        found.append(pyrage.x25519.Identity.from_str(_unseal(sealed, passphrase=passphrase)))
    if not found:
        raise failure(ErrorCode.BACKUP_LOCKED, "it opens with a key only")
    return found


def make_identity(file: Path) -> str:
    """Write a new identity to `file`, for its owner alone, and return its public key.

    Raises:
        PermanentFailure: with `BAD_OPTION`, where the file cannot be made, or is there.
    """
    identity = _load().x25519.Identity.generate()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise failure(ErrorCode.BAD_OPTION, f"{file}: {os.strerror(error.errno or 0)}") from error
    public = str(identity.to_public())
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(f"# public key: {public}\n{identity}\n")
        stream.flush()
        os.fsync(stream.fileno())
    return public


def encrypt(source: Passing, target: Passing, *, recipients: Sequence[str]) -> None:
    """Encrypt what `source` gives into `target`, in constant memory."""
    pyrage = _load()
    try:
        pyrage.encrypt_io(source, target, _parse_recipients(recipients))
    except pyrage.EncryptError:
        for stream in (source, target):
            if stream.error is not None:
                raise stream.error from None
        raise


def decrypt(source: Passing, target: Passing, *, identities: Keys) -> None:
    """Decrypt what `source` gives into `target`, in constant memory.

    Raises:
        PermanentFailure: `BACKUP_LOCKED`, for other keys than these; `BACKUP_DAMAGED`, where bytes were changed.
    """
    pyrage = _load()
    try:
        pyrage.decrypt_io(source, target, list(identities))
    except (pyrage.DecryptError, OSError, ValueError) as error:
        for stream in (source, target):
            if stream.error is not None:
                raise stream.error from None
        if "matching keys" in str(error).lower():
            raise failure(ErrorCode.BACKUP_LOCKED, "none of the keys opens it") from error
        raise failure(ErrorCode.BACKUP_DAMAGED, f"its encryption is broken: {error}") from error


def _find_sealed(known: Iterable[str], *, passphrase: str) -> tuple[str | None, str]:
    """Return the sealed key that the passphrase opens, and that key; nothing where it opens none."""
    for one in known:
        try:
            return one, _unseal(one, passphrase=passphrase)
        except IroncladError:
            continue
    return None, ""


def _unseal(sealed: str, *, passphrase: str) -> str:
    pyrage = _load()
    try:
        return str(pyrage.passphrase.decrypt(base64.b64decode(sealed), passphrase).decode())
    except (pyrage.DecryptError, ValueError) as error:
        raise failure(ErrorCode.BACKUP_LOCKED, "the passphrase is another") from error


def _parse_recipients(recipients: Sequence[str]) -> list[Any]:
    pyrage = _load()
    try:
        return [pyrage.x25519.Recipient.from_str(text) for text in recipients]
    except (pyrage.RecipientError, ValueError) as error:
        raise failure(ErrorCode.BAD_OPTION, f"{', '.join(recipients)}: not a public key of age, age1...") from error


def _load() -> ModuleType:
    try:
        import pyrage  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise failure(
            ErrorCode.BAD_OPTION, "encryption needs the extra: pip install -r constraints/backup-encryption.txt"
        ) from error
    return pyrage  # type: ignore[no-any-return, unused-ignore] # where it is not installed it has no type
