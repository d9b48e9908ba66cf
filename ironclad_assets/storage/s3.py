"""The objects of one prefix in an S3 bucket, through obstore; the one module that imports it.

What every call here adds to the client: a published error in place of the server's words (which may repeat an
access key), conditions for writing, constant memory, and time limits. Needs the extra ``s3``.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import obstore
from obstore import exceptions
from obstore.store import S3Store
from pydantic import SecretStr

from ironclad_assets.errors import ErrorCode, Refusal, StorageUnavailable
from ironclad_assets.object_store_settings import ObjectStoreSettings
from ironclad_assets.storage.hashing import BLOCK_BYTES, carry_on, hash_bytes
from ironclad_assets.storage.objects import ANYTHING, Conflict, Content, Head, Stored

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig

PART_BYTES = 8 * 1024 * 1024
"""Size of a part of a large object; four are on their way at once."""

MOST_PARTS = 9_000
"""S3 takes 10,000; an object with more parts of that size gets larger ones."""

SINGLE_BYTES = 16 * 1024 * 1024
"""Up to here an object is put in one request, and on condition that nothing is there."""

READ_BYTES = 16 * 1024 * 1024
"""How much one request reads of a large object; what breaks off is asked for again from there."""

PROBE_S = 5.0
"""How long what somebody waits for may take, once and once more: whether the store is there, removing at once."""

DELETED_AT_ONCE = 1_000

_SHA256 = "ironclad-sha256"
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_FULL = ("StorageFull", "QuotaExceeded", "InsufficientCapacity", "InsufficientStorage", "NoSpace")


class S3Objects:
    """The objects below the prefix. Nothing is asked before the first call; threads may share it."""

    def __init__(self, url: str, *, settings: ObjectStoreSettings) -> None:
        """Prepare to speak to the bucket and prefix of `url`; what `settings` leave open comes from ``AWS_*``.

        Raises:
            Refusal: `BAD_OPTION`: a setting is wrong, such as a file of certificates that cannot be read.
        """
        timeout_s = settings.object_store_timeout_s
        self._name = url.rstrip("/")
        try:
            self._store = _open(url, settings=settings, timeout_s=timeout_s, retries=settings.object_store_retries)
            self._quick = _open(url, settings=settings, timeout_s=min(PROBE_S, timeout_s), retries=1)
        except (exceptions.BaseError, OSError, ValueError) as error:
            detail = f"IRONCLAD_OBJECT_STORE_*: {type(error).__name__}, see the endpoint and the certificates"
            raise Refusal(detail, code=ErrorCode.BAD_OPTION) from None

    @property
    def name(self) -> str:
        return self._name

    def probe(self, key: str) -> bytes | None:
        with self._told(key, "read"):
            content = self._read(self._quick, key, known=None)
        return None if content is None else content.data

    def head(self, key: str) -> Head | None:
        with self._told(key, "read"):
            try:
                found = obstore.get(self._store, key, options={"head": True})
            except FileNotFoundError as error:
                _refuse_missing_bucket(error)
                return None
            meta = found.meta
            changed = meta["last_modified"].timestamp()
            return Head(meta["size"], meta["e_tag"] or "", found.attributes.get(_SHA256), changed)

    def read(self, key: str, *, known: str | None = None) -> Content | None:
        with self._told(key, "read"):
            return self._read(self._store, key, known=known)

    def _read(self, store: S3Store, key: str, *, known: str | None) -> Content | None:
        try:
            found = obstore.get(store, key, options={} if known is None else {"if_none_match": known})
            return Content(bytes(found.bytes()), found.meta["e_tag"] or "")
        except exceptions.NotModifiedError:
            return Content(b"", known or "", unchanged=True)
        except FileNotFoundError as error:
            _refuse_missing_bucket(error)
            return None

    def put(self, key: str, content: bytes, *, replaces: str | None) -> str:
        mode = {ANYTHING: "overwrite", None: "create"}.get(replaces)
        with self._told(key, "write"):
            try:
                if mode is None:
                    done = obstore.put(self._store, key, content, mode={"e_tag": replaces})
                else:
                    done = obstore.put(self._store, key, content, mode=mode)  # type: ignore[arg-type]  # a literal
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
                _refuse_missing_bucket(error)
                raise Conflict(key) from None
            return done["e_tag"] or ""

    def upload(self, key: str, source: Path, *, sha256: str, heed: Callable[[], None] = carry_on) -> None:
        size = source.stat().st_size
        if size <= SINGLE_BYTES:
            self._upload_at_once(key, source.read_bytes(), sha256=sha256)
        elif not self._has(key, size=size, sha256=sha256):
            self._upload_in_parts(key, source, size=size, sha256=sha256, heed=heed)

    def _upload_at_once(self, key: str, content: bytes, *, sha256: str) -> None:
        with self._told(key, "write"):
            try:
                obstore.put(self._store, key, content, mode="create", attributes={_SHA256: sha256})
            except exceptions.AlreadyExistsError as error:
                _refuse_missing_bucket(error)
            else:
                return
        if not self._has(key, size=len(content), sha256=sha256):  # it went away meanwhile: whoever asked asks again
            raise StorageUnavailable(f"{self._name}/{key} came and went", code=ErrorCode.STORAGE_AWAY)

    def _has(self, key: str, *, size: int, sha256: str) -> bool:
        """Return whether the object is there.

        Raises:
            Conflict: something else is there.
        """
        head = self.head(key)
        if head is None:
            return False
        # What an operator copied there has no SHA-256 of ours: it is read.
        if head.size_bytes != size or (head.sha256 or hash_bytes(self._blocks(key, size=size))) != sha256:
            raise Conflict(key)
        return True

    def _upload_in_parts(self, key: str, source: Path, *, size: int, sha256: str, heed: Callable[[], None]) -> None:
        """Stream the file; what `heed` raises ends the upload, and the parts that are there are removed."""
        stopped: list[BaseException] = []

        def blocks() -> Iterator[bytes]:
            try:
                with source.open("rb") as stream:
                    while block := stream.read(BLOCK_BYTES):
                        heed()
                        yield block
            except BaseException as error:
                stopped.append(error)
                raise

        try:
            with self._told(key, "write"):
                obstore.put(
                    self._store,
                    key,
                    blocks(),
                    attributes={_SHA256: sha256},
                    chunk_size=max(PART_BYTES, -(-size // MOST_PARTS)),
                    max_concurrency=4,
                )
        except StorageUnavailable:
            if stopped:
                raise stopped[0] from None
            raise

    def download(
        self, key: str, into: BinaryIO, *, size_bytes: int | None = None, heed: Callable[[], None] = carry_on
    ) -> bool:
        etag = None
        if size_bytes is None:
            head = self.head(key)
            if head is None:
                return False
            size_bytes, etag = head.size_bytes, head.etag
        try:
            for block in self._blocks(key, size=size_bytes, etag=etag):
                into.write(block)
                heed()
        except FileNotFoundError:
            return False
        return True

    def _blocks(self, key: str, *, size: int, etag: str | None = None) -> Iterator[bytes]:
        """Yield the object in pieces, all of the version `etag`; one that is shorter than `size` ends early."""
        for start in range(0, size, READ_BYTES):
            options: GetOptions = {"range": (start, min(start + READ_BYTES, size))}
            if etag is not None:
                options["if_match"] = etag
            with self._told(key, "read"):
                try:
                    block = bytes(obstore.get(self._store, key, options=options).bytes())
                except exceptions.BaseError as error:
                    if "status code: 416" not in str(error):
                        raise
                    return
            yield block

    def list(self, prefix: str) -> Iterator[Stored]:
        with self._told(prefix, "read"):
            for batch in obstore.list(self._store, prefix or None):
                for found in batch:
                    yield Stored(found["path"], found["size"], found["last_modified"].timestamp())

    def delete(self, keys: Iterable[str], *, at_once: bool = False) -> None:
        wanted = list(keys)
        store = self._quick if at_once else self._store
        for start in range(0, len(wanted), DELETED_AT_ONCE):
            with self._told(wanted[start], "write"):
                obstore.delete(store, wanted[start : start + DELETED_AT_ONCE])

    @contextmanager
    def _told(self, key: str, doing: str) -> Iterator[None]:
        """Tell the client's errors in our words: the server's are left out, for what they may repeat."""
        try:
            yield
        except FileNotFoundError as error:
            if doing == "read" and "NoSuchBucket" not in str(error):
                raise
            raise self._unavailable(error, key, doing) from None
        except (exceptions.BaseError, TimeoutError) as error:
            raise self._unavailable(error, key, doing) from None

    def _unavailable(self, error: Exception, key: str, doing: str) -> StorageUnavailable:
        text = str(error)
        said = " ".join(match.group(1) for match in (_STATUS.search(text), _CODE.search(text)) if match)
        code = ErrorCode.STORAGE_AWAY
        if said.startswith(("401", "403")):
            why = f"may not {doing} there; check the credentials and their rights"
            code = ErrorCode.STORAGE_READ_ONLY if doing == "write" else code
        elif any(word in text for word in _FULL) or "status code: 507" in text:
            why, code = "is full", ErrorCode.STORAGE_FULL
        elif "NoSuchBucket" in text:
            why = "does not exist: there is no such bucket"
        elif "timed out" in text or "timeout" in text.partition("retry_timeout")[0]:
            why = "did not answer in time"
        else:
            why = "refused" if said else "does not answer"
        return StorageUnavailable(f"{self._name} {why}{f' ({said})' if said else ''} [{doing} {key}]", code=code)


def _refuse_missing_bucket(error: Exception) -> None:
    """Raise `error` where not the object is missing but the bucket."""
    if "NoSuchBucket" in str(error):
        raise error


def _open(url: str, *, settings: ObjectStoreSettings, timeout_s: float, retries: int) -> S3Store:
    bucket, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
    given = {
        "endpoint": settings.object_store_endpoint,
        "region": settings.object_store_region,
        "access_key_id": _reveal(settings.object_store_access_key),
        "secret_access_key": _reveal(settings.object_store_secret_key),
        "session_token": _reveal(settings.object_store_session_token),
        "virtual_hosted_style_request": not settings.object_store_path_style,
    }
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=min(PROBE_S, timeout_s)),
        "timeout": timedelta(seconds=timeout_s),
        "allow_http": settings.object_store_allow_http,
    }
    if settings.object_store_ca is not None:
        client["root_certificate"] = settings.object_store_ca.read_bytes()
    return S3Store(
        bucket,
        prefix=prefix or None,
        config={name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]  # its keys
        client_options=client,
        retry_config={
            "max_retries": retries,
            "backoff": {
                "init_backoff": timedelta(seconds=0.2),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
            "retry_timeout": timedelta(seconds=timeout_s),
        },
    )


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
