"""A store in a bucket: its sentinel, its originals and small files, and what happens when it is away or wrong."""

import hashlib
import threading

import pytest

from ironclad_assets.errors import ErrorCode, PermanentFailure, Refusal, StorageUnavailable
from ironclad_assets.settings import Settings
from ironclad_assets.storage.mirror import PRESENT_S
from ironclad_assets.storage.opening import open_store

SONG = b"an original" * 100
SHA256 = hashlib.sha256(SONG).hexdigest()
RELATIVE = f"archive/{SHA256[:2]}/{SHA256}"


@pytest.fixture
def kind():
    """Only stores in a bucket."""
    return "s3"


@pytest.fixture
def clock(monkeypatch):
    """Seconds on the clock by which the store's presence is believed."""
    now = [1000.0]
    monkeypatch.setattr("ironclad_assets.storage.mirror.time.monotonic", lambda: now[0])
    return now


def publish(store, tmp_path, content=SONG):
    path = tmp_path / "source"
    path.write_bytes(content)
    store.mirror.publish_original(path, relative=RELATIVE, sha256=SHA256)


def code_of(work):
    with pytest.raises(StorageUnavailable) as caught:
        work()
    return caught.value.code


def test_machines_agree_on_one_store(make_store):
    stores = [make_store(f"machine-{number}") for number in range(3)]
    assert len({store.sentinel.read_text() for store in stores}) == 1
    for store in stores:
        store.require_ready()


def test_machines_that_begin_at_once_agree_on_one_store(make_store, s3):
    stores = []
    threads = [threading.Thread(target=lambda n=n: stores.append(make_store(f"machine-{n}"))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({store.sentinel.read_text() for store in stores}) == 1
    assert s3.keys() == ["store/.store-id"]


def test_missing_sentinel_in_the_bucket_means_storage_away_and_is_not_papered_over(make_store, s3):
    """Promise 14: a bucket that was emptied, or is another one, is not taken for the store."""
    store = make_store()
    s3.remove("store/.store-id")
    assert code_of(store.require_ready) is ErrorCode.STORAGE_AWAY
    assert code_of(store.create) is ErrorCode.STORAGE_AWAY
    assert s3.keys() == []


def test_bucket_of_another_store_is_left_alone(make_store, s3):
    store = make_store()
    s3.replace("store/.store-id", b"somebody else's\n")
    for work in (store.require_ready, store.create, lambda: store.discard("archive/ab/x")):
        assert code_of(work) is ErrorCode.STORAGE_AWAY
    assert s3.content("store/.store-id") == b"somebody else's\n"


def test_prefix_with_strangers_objects_is_not_made_a_store(make_store, s3):
    s3.replace("store/holiday.jpg", b"x")
    assert code_of(make_store) is ErrorCode.STORAGE_AWAY
    assert s3.keys() == ["store/holiday.jpg"]


def test_root_that_was_a_store_before_brings_its_id(make_store, s3, tmp_path):
    lone = open_store(Settings(home=tmp_path / "machine", disk_reserve_bytes=1))
    lone.create()
    store = make_store("machine")
    assert s3.content("store/.store-id") == lone.sentinel.read_bytes()
    store.require_ready()


def test_presence_is_asked_for_again_after_some_seconds(make_store, s3, clock):
    store = make_store()
    store.require_ready()
    s3.away = True
    store.require_ready()
    clock[0] += PRESENT_S + 1
    assert code_of(store.require_ready) is ErrorCode.STORAGE_AWAY
    s3.away = False
    store.require_ready()


def test_wrong_credentials_are_told_clearly_and_without_any_secret(make_store, s3):
    s3.fault = lambda number, request: "403"
    with pytest.raises(StorageUnavailable, match="check the credentials") as caught:
        make_store()
    assert "test-secret" not in caught.value.describe()
    assert "AKIA" not in caught.value.describe()


def test_settings_hide_their_secrets(s3):
    settings = Settings(**s3.environment())
    assert "test-secret" not in repr(settings)
    assert "test-secret" not in repr(open_store(settings))
    assert settings.as_environment()["IRONCLAD_OBJECT_STORE_SECRET_KEY"].startswith("test-secret")


@pytest.mark.parametrize(
    "wrong", [{"object_store_ca": "/nowhere/ca.pem"}, {"object_store_ca": __file__}], ids=["missing", "no certificate"]
)
def test_setting_that_is_wrong_is_named(s3, wrong):
    with pytest.raises(Refusal, match="IRONCLAD_OBJECT_STORE") as caught:
        open_store(Settings(**{**s3.environment(), **wrong}))
    assert caught.value.code is ErrorCode.BAD_OPTION


@pytest.mark.parametrize("url", ["http://bucket/x", "s3://", "s3://B/x", "s3://bucket/../x?y", "s3://bucket//x"])
def test_url_that_names_no_bucket_is_refused(url):
    with pytest.raises(ValueError, match="object_store_url"):
        Settings(object_store_url=url)


def test_missing_client_is_named_with_its_remedy(s3, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="obstore")

    monkeypatch.setattr("ironclad_assets.storage.opening.importlib.import_module", missing)
    with pytest.raises(Refusal, match=r"obstore is not installed: pip install -r constraints/s3.txt"):
        open_store(Settings(**s3.environment()))


def test_original_is_fetched_whole_or_not_at_all(make_store, s3, tmp_path):
    here, there = make_store("here"), make_store("there")
    publish(here, tmp_path)
    path = there.original(RELATIVE)
    assert path.read_bytes() == SONG
    assert path.stat().st_mode & 0o777 == 0o444
    done = len(s3.requests)
    assert there.original(RELATIVE) == path
    assert len(s3.requests) == done


@pytest.mark.parametrize("content", [b"?" * len(SONG), SONG[:-1], b""])
def test_original_that_is_damaged_in_the_bucket_never_gets_its_name_here(make_store, s3, tmp_path, content):
    here = make_store("here")
    publish(here, tmp_path)
    s3.replace(f"store/{RELATIVE}", content)
    with pytest.raises(PermanentFailure) as caught:
        here.original(RELATIVE)
    assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED
    assert [path for path in here.archive.rglob("*") if path.is_file()] == []


def test_damage_on_the_way_is_mended_by_fetching_again(make_store, s3, tmp_path):
    here = make_store("here")
    publish(here, tmp_path)
    spoilt = []

    def spoil_once(number, request):
        if request.method == "GET" and "archive" in request.path and not spoilt:
            spoilt.append(number)
            return "flip"
        return None

    s3.fault = spoil_once
    assert here.original(RELATIVE).read_bytes() == SONG
    assert spoilt


def test_same_original_twice_is_stored_once_and_another_is_refused(make_store, s3, tmp_path):
    here = make_store("here")
    publish(here, tmp_path)
    publish(here, tmp_path)
    s3.replace(f"store/{RELATIVE}", b"something else")
    with pytest.raises(PermanentFailure, match="is something else"):
        publish(here, tmp_path)


def test_small_files_come_from_the_bucket_where_they_are_missing(make_store):
    here, there = make_store("here"), make_store("there")
    (here.root / "sidecars/s1").mkdir(parents=True)
    (here.root / "sidecars/s1/lyrics.lrc").write_text("la")
    here.publish("sidecars/s1/lyrics.lrc")
    there.fetch_folder("sidecars/s1")
    assert (there.root / "sidecars/s1/lyrics.lrc").read_text() == "la"
    (there.root / "sidecars/s1/lyrics.lrc").write_text("newer here")
    there.fetch_folder("sidecars/s1")
    assert (there.root / "sidecars/s1/lyrics.lrc").read_text() == "newer here"


def test_manifest_is_removed_before_the_files_that_it_names(make_store, s3):
    store = make_store()
    for name in ("a.bin", "manifest.json", "z.bin"):
        s3.replace(f"store/stages/stems/s1/{name}", b"x")
    done = len(s3.requests)
    s3.fault = lambda number, request: "drop" if number >= done + 4 else None
    assert code_of(lambda: store.discard("stages/stems/s1")) is ErrorCode.STORAGE_AWAY
    assert s3.keys("store/stages") == ["store/stages/stems/s1/a.bin", "store/stages/stems/s1/z.bin"]
    s3.fault = lambda number, request: None
    store.discard("stages/stems/s1")
    assert s3.keys("store/stages") == []
