"""The client of S3: conditions, checksums, errors in our words, and nothing secret in them."""

import io
import subprocess
import sys
import threading
import time

import pytest

from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.settings import Settings
from ironclad_assets.storage import s3 as client
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.objects import ANYTHING, Conflict
from ironclad_assets.storage.s3 import S3Objects

SINGLE_BYTES = 1024**2


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    """Let pieces be as small as S3 allows, so that few bytes are many pieces."""
    monkeypatch.setattr(client, "SINGLE_BYTES", SINGLE_BYTES)
    monkeypatch.setattr(client, "READ_BYTES", SINGLE_BYTES)
    monkeypatch.setattr(client, "PART_BYTES", 5 * SINGLE_BYTES)


@pytest.fixture
def objects(s3):
    settings = Settings(**s3.environment())
    return S3Objects(settings.object_store_url, settings=settings)


def write(tmp_path, size, *, seed=b"song"):
    path = tmp_path / f"{size}.bin"
    path.write_bytes((seed * (size // len(seed) + 1))[:size])
    return path


def fetch(objects, key, **options):
    into = io.BytesIO()
    assert objects.download(key, into, **options)
    return into.getvalue()


def test_object_is_made_only_where_nothing_is(objects):
    etag = objects.put("a", b"one", replaces=None)
    with pytest.raises(Conflict):
        objects.put("a", b"two", replaces=None)
    assert objects.read("a").data == b"one"
    assert objects.read("a").etag == etag


def test_object_is_replaced_only_where_it_is_the_known_one(objects):
    first = objects.put("a", b"one", replaces=None)
    second = objects.put("a", b"two", replaces=first)
    with pytest.raises(Conflict):
        objects.put("a", b"three", replaces=first)
    with pytest.raises(Conflict):
        objects.put("gone", b"three", replaces=second)
    assert objects.read("a").data == b"two"
    objects.put("a", b"four", replaces=ANYTHING)
    assert objects.read("a").data == b"four"


def test_known_object_is_not_read_again(objects):
    etag = objects.put("a", b"one", replaces=None)
    content = objects.read("a", known=etag)
    assert content.unchanged
    assert content.data == b""
    assert objects.read("nothing", known=etag) is None


@pytest.mark.parametrize("size", [0, 5, SINGLE_BYTES, SINGLE_BYTES + 1, 11 * SINGLE_BYTES])
def test_file_of_any_size_comes_back_equal(objects, tmp_path, size):
    path = write(tmp_path, size)
    objects.upload("f/x", path, sha256=hash_file(path))
    assert fetch(objects, "f/x") == path.read_bytes()
    assert fetch(objects, "f/x", size_bytes=size) == path.read_bytes()
    head = objects.head("f/x")
    assert (head.size_bytes, head.sha256) == (size, hash_file(path))


@pytest.mark.parametrize("size", [5, SINGLE_BYTES + 1])
def test_file_that_is_there_already_is_compared_never_replaced(objects, s3, tmp_path, size):
    path, other = write(tmp_path, size), write(tmp_path / "..", size, seed=b"noise")
    objects.upload("f", path, sha256=hash_file(path))
    sent = len(s3.requests)
    objects.upload("f", path, sha256=hash_file(path))
    assert len(s3.requests) - sent <= 2
    with pytest.raises(Conflict):
        objects.upload("f", other, sha256=hash_file(other))
    assert fetch(objects, "f") == path.read_bytes()


def test_file_that_an_operator_copied_there_is_read_and_recognised(objects, s3, tmp_path):
    path = write(tmp_path, 50)
    s3.replace("store/f", path.read_bytes())
    objects.upload("f", path, sha256=hash_file(path))
    s3.replace("store/f", b"?" * 50)
    with pytest.raises(Conflict):
        objects.upload("f", path, sha256=hash_file(path))


def test_upload_that_is_interrupted_leaves_nothing(objects, s3, tmp_path):
    path = write(tmp_path, 2 * SINGLE_BYTES)

    def stop():
        raise KeyError("canceled")

    with pytest.raises(KeyError, match="canceled"):
        objects.upload("f", path, sha256=hash_file(path), heed=stop)
    assert s3.keys() == []


@pytest.mark.parametrize("name", ["Öl & ümlaut.flac", "a+b=c.flac", "100%.flac", "#1 [x] {y}.flac", "日本.flac"])
def test_names_of_files_come_back_as_they_were(objects, tmp_path, name):
    path = write(tmp_path, 5)
    objects.upload(f"stages/{name}", path, sha256=hash_file(path))
    assert [stored.path for stored in objects.list("stages")] == [f"stages/{name}"]
    assert fetch(objects, f"stages/{name}") == path.read_bytes()
    objects.delete([f"stages/{name}"])
    assert list(objects.list("")) == []


def test_listing_names_what_is_below_the_prefix_alone(objects, s3):
    s3.replace("elsewhere/a", b"not ours")
    s3.replace("store-2/a", b"not ours")
    for key in ("a/1", "a/2", "ab/3"):
        objects.put(key, b"x", replaces=None)
    assert [stored.path for stored in objects.list("a")] == ["a/1", "a/2"]
    assert len(list(objects.list(""))) == 3
    assert next(iter(objects.list("a"))).size_bytes == 1


def test_what_somebody_waits_for_is_over_in_seconds(s3, monkeypatch):
    monkeypatch.setattr(client, "PROBE_S", 0.3)
    settings = Settings(**s3.environment())
    objects = S3Objects(settings.object_store_url, settings=settings)
    answer = threading.Event()
    s3.fault = lambda number, request: answer.wait(5) and None
    began = time.monotonic()
    try:
        with pytest.raises(StorageUnavailable):
            objects.delete(["a"], at_once=True)
        assert time.monotonic() - began < 2
    finally:
        answer.set()


def test_deleting_what_is_not_there_is_fine(objects):
    objects.put("a", b"x", replaces=None)
    objects.delete(["a", "b"])
    objects.delete([])
    assert objects.head("a") is None


CALLS = {
    "probe": lambda objects, path: objects.probe("k"),
    "head": lambda objects, path: objects.head("k"),
    "read": lambda objects, path: objects.read("k"),
    "put": lambda objects, path: objects.put("k", b"x", replaces=None),
    "replace": lambda objects, path: objects.put("k", b"x", replaces='"0"'),
    "upload": lambda objects, path: objects.upload("k", path, sha256="0" * 64),
    "download": lambda objects, path: objects.download("k", io.BytesIO(), size_bytes=5),
    "list": lambda objects, path: list(objects.list("k")),
    "delete": lambda objects, path: objects.delete(["k"]),
}
WRITES = ("put", "replace", "upload", "delete")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", ["drop", "403", "503", "507"])
def test_every_failure_has_a_published_code_and_repeats_nothing_of_the_request(objects, s3, tmp_path, call, fault):
    """STORE: errors of the object store are told with a published code; no part of a key is in them."""
    s3.fault = lambda number, request: fault
    with pytest.raises(StorageUnavailable) as caught:
        CALLS[call](objects, write(tmp_path, 5))
    told = f"{caught.value.describe()} {caught.value!r} {caught.value.__cause__} {caught.value.__suppress_context__}"
    refused = {"507": ErrorCode.STORAGE_FULL, "403": ErrorCode.STORAGE_READ_ONLY if call in WRITES else None}
    assert caught.value.code is (refused.get(fault) or ErrorCode.STORAGE_AWAY)
    assert s3.bucket in told
    for secret in ("AKIAEXAMPLE", "test-secret", "Signature=", "Credential"):
        assert secret not in told
    if fault == "403":
        assert "check the credentials" in told


@pytest.mark.parametrize("call", [name for name in CALLS if name != "head"])  # an answer to HEAD has no words
def test_missing_bucket_is_not_taken_for_a_missing_object(objects, s3, tmp_path, call):
    s3.fault = lambda number, request: "404"
    with pytest.raises(StorageUnavailable, match="no such bucket"):
        CALLS[call](objects, write(tmp_path, 5))


@pytest.mark.parametrize("fault", ["drop", "503", "half"])
def test_one_failure_is_tried_again(objects, s3, fault):
    objects.put("a", b"one two three", replaces=None)
    done = len(s3.requests)
    s3.fault = lambda number, request: fault if number == done + 1 else None
    assert fetch(objects, "a", size_bytes=13) == b"one two three"


def test_requests_are_signed_with_the_hash_of_their_body(objects, s3, tmp_path):
    path = write(tmp_path, 6 * SINGLE_BYTES)
    objects.upload("f", path, sha256=hash_file(path))
    puts = [request for request in s3.requests if request.method == "PUT"]
    assert len(puts) > 1
    assert all(len(request.headers["x-amz-content-sha256"]) == 64 for request in puts)


def test_nothing_of_s3_is_imported_where_no_bucket_is_set():
    """STORE: the core runs without the extra."""
    code = (
        "import sys; from ironclad_assets.settings import Settings; "
        "from ironclad_assets.storage.opening import open_store; "
        "from ironclad_assets.cli.main import build_app; build_app(); "
        "assert open_store(Settings()).mirror is None; "
        "print([name for name in sys.modules if 'obstore' in name or name.endswith('storage.s3')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
