"""Artifacts in a bucket: old or new for every reader, whatever goes wrong; one winner of two; healed when damaged."""

import json
import os
import threading

import pytest

from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.errors import ErrorCode, IroncladError, JobCanceled, PermanentFailure, StorageUnavailable
from ironclad_assets.storage.artifacts import find_reusable, load_artifact, read_manifest
from tests.unit.storage.publishing import NEW, OLD, OTHER, folder_of, persist, see

MANIFEST = "store/stages/song_metadata/s1/manifest.json"


@pytest.fixture
def kind():
    """Only stores in a bucket."""
    return "s3"


@pytest.fixture
def there(make_store):
    """The store of another machine."""
    return make_store("there")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr("ironclad_assets.storage.publication.PAUSE_S", 0.0)


def failure_of(work):
    """Return the code with which `work` fails, None for none."""
    try:
        work()
    except IroncladError as error:
        return error.code
    return None


def test_another_machine_reads_what_was_stored_here(store, there):
    assert see(there) is None
    persist(store, OLD)
    assert see(there) == OLD
    persist(store, NEW, attempt=2)
    assert see(there) == NEW
    assert see(store) == NEW


def test_manifest_is_put_after_every_file_and_on_condition(store, s3):
    persist(store, OLD)
    puts = [request for request in s3.requests if request.method == "PUT" and "stages" in request.path]
    assert puts[-1].path.endswith("manifest.json")
    assert [request.path.endswith("manifest.json") for request in puts].count(True) == 1
    assert puts[-1].headers["if-none-match"] == "*"
    persist(store, NEW, attempt=2)
    last = [request for request in s3.requests if request.method == "PUT"][-1]
    assert last.headers["if-match"]


def test_replaced_files_are_removed_from_the_bucket(store, s3):
    persist(store, OLD)
    persist(store, NEW, attempt=2)
    stages = s3.keys("store/stages")
    assert len(stages) == 3
    assert not [key for key in stages if OLD[:16] in key]


def test_unchanged_artifact_costs_one_question(store, s3):
    persist(store, OLD)
    done = len(s3.requests)
    assert see(store) == OLD
    assert find_reusable(folder_of(store), SongMetadata, key=OLD) is not None
    assert [request.method for request in s3.requests[done:]] == ["GET", "GET"]
    assert all("if-none-match" in request.headers for request in s3.requests[done:])


def test_only_what_is_needed_is_fetched(store, there, s3):
    persist(store, OLD)
    done = len(s3.requests)
    assert find_reusable(folder_of(there), SongMetadata, key=NEW) is None
    assert read_manifest(folder_of(there)).key == OLD
    assert len(s3.requests) - done == 1


HOLDING = (None, ErrorCode.STORAGE_AWAY, ErrorCode.STORAGE_FULL, ErrorCode.STORAGE_READ_ONLY)
"""What may come of a publication that goes wrong: nothing, or the job is held."""

LONG = (pytest.mark.chaos, pytest.mark.long)
FAULTS = [
    "drop",
    "lose",
    "409",
    *(pytest.param(fault, marks=LONG) for fault in ("half", "flip", "403", "412", "500", "503", "507")),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_whichever_request_fails_every_reader_sees_the_old_artifact_or_the_new_one(make_store, s3, fault):
    """Promise 2: no torn artifact is visible, whatever request of its publication is killed, lost or refused."""
    number, failed = 0, True
    while failed:
        number += 1
        store, there = make_store(f"here-{number}"), make_store(f"there-{number}")
        store.discard("stages/song_metadata/s1")
        persist(store, OLD)
        assert see(there) == OLD
        done, hits = len(s3.requests), []

        def go_wrong(at, request, *, first=done + number, hits=hits):
            wrong = at >= first if fault in ("drop", "500", "503") else at == first  # else the client mends it
            hits.extend([at] if wrong else [])
            return fault if wrong else None

        s3.fault = go_wrong
        assert failure_of(lambda: persist(store, NEW, attempt=2)) in HOLDING  # noqa: B023 - called at once
        failed = bool(hits)
        s3.fault = lambda at, request: None
        assert see(there) in (OLD, NEW)
        assert see(store) == see(there)
        persist(store, NEW, attempt=3)
        assert see(there) == see(store) == NEW
    assert number > 4


@pytest.mark.parametrize("fault", ["flip", *(pytest.param(fault, marks=LONG) for fault in ("drop", "half", "503"))])
def test_whichever_request_of_a_reader_fails_it_sees_nothing_half(make_store, s3, fault):
    persist(make_store("here"), OLD)
    number, failed = 0, True
    while failed:
        number += 1
        there = make_store(f"there-{number}")
        done, hits = len(s3.requests), []

        def go_wrong(at, request, *, first=done + number, hits=hits):
            hits.extend([at] if at >= first else [])
            return fault if at >= first else None

        s3.fault = go_wrong
        told = failure_of(lambda: see(there))  # noqa: B023 - called at once
        assert told in (None, ErrorCode.STORAGE_AWAY, ErrorCode.ARTIFACT_DAMAGED)
        failed = bool(hits)
        s3.fault = lambda at, request: None
        assert see(there) == OLD
        assert not [path for path in there.root.rglob("*.part") if path.is_file()]
    assert number > 2


def test_answer_that_is_lost_does_not_make_the_winner_a_loser(store, there, s3):
    persist(store, OLD)
    lost = []

    def lose_manifest(number, request):
        if request.method == "PUT" and request.path.endswith("manifest.json") and not lost:
            lost.append(number)
            return "lose"
        return None

    s3.fault = lose_manifest
    try:
        persist(store, NEW, attempt=2)
    except StorageUnavailable:  # the client may not dare to repeat it: then the next attempt finds it done
        assert find_reusable(folder_of(store), SongMetadata, key=NEW) is not None
    assert lost
    assert see(there) == see(store) == NEW


def test_late_finisher_of_an_earlier_attempt_loses_clearly_and_overwrites_nothing(store, there):
    """Section 1, rule 3: a late second finisher never overwrites."""
    persist(store, OLD)
    see(there)
    persist(there, NEW, attempt=3)
    with pytest.raises(PermanentFailure, match="attempt 3") as caught:
        persist(store, OTHER, attempt=2)
    assert caught.value.code is ErrorCode.SUPERSEDED
    assert see(store) == see(there) == NEW


def test_late_finisher_on_the_same_machine_loses_too(store):
    persist(store, NEW, attempt=3)
    with pytest.raises(PermanentFailure) as caught:
        persist(store, OTHER, attempt=2)
    assert caught.value.code is ErrorCode.SUPERSEDED
    assert see(store) == NEW


def test_loser_leaves_nothing_in_the_bucket(store, there, s3):
    persist(there, NEW, attempt=3)
    with pytest.raises(PermanentFailure):
        persist(store, OTHER, attempt=2)
    assert not [key for key in s3.keys("store") if OTHER[:16] in key]


def test_later_attempt_wins_over_a_late_finisher_who_came_in_between(store, there):
    persist(store, OLD)
    see(there)
    persist(store, OTHER, attempt=2)
    persist(there, NEW, attempt=3)
    assert see(store) == see(there) == NEW


def test_equal_work_of_two_is_shared(store, there):
    persist(store, NEW, attempt=1, content="first")
    kept = persist(there, NEW, attempt=1, content="second")
    assert kept.payload["title"].endswith("first")
    assert see(there) == see(store) == NEW


def test_of_two_who_finish_at_once_one_wins_and_all_see_it(make_store):
    stores = [make_store(f"machine-{number}") for number in range(4)]
    persist(stores[0], OLD)
    for store in stores:
        see(store)
    outcomes = {}

    def finish(number):
        try:
            outcomes[number] = persist(stores[number], str(number) * 64, attempt=2, content="race").key
        except PermanentFailure as error:
            outcomes[number] = error.code

    threads = [threading.Thread(target=finish, args=(number,)) for number in range(1, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    losers = [outcome for outcome in outcomes.values() if outcome is ErrorCode.SUPERSEDED]
    winners = [outcome for outcome in outcomes.values() if isinstance(outcome, str)]
    assert (len(winners), len(losers)) == (1, 2)
    assert {see(store) for store in stores} == set(winners)


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "manifest", "all"])
def test_what_is_damaged_here_is_fetched_again(store, damage):
    manifest = persist(store, OLD)
    path = folder_of(store).path / manifest.folder / "a.bin"
    if damage == "manifest":
        folder_of(store).manifest.write_text("{")
    elif damage == "all":
        for file in folder_of(store).path.rglob("*.bin"):
            file.unlink()
        folder_of(store).manifest.unlink()
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] if damage == "cut" else path.read_bytes()[:-1] + b"?")
    assert see(store) == OLD


def test_what_is_damaged_in_the_bucket_is_refused_and_made_anew(store, there, s3):
    persist(store, OLD)
    key = next(key for key in s3.keys("store/stages") if key.endswith("a.bin"))
    s3.replace(key, b"?" * len(s3.content(key)))
    with pytest.raises(PermanentFailure, match="differs from its checksum") as caught:
        see(there)
    assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED
    assert find_reusable(folder_of(there), SongMetadata, key=OLD) is None
    assert see(store) == OLD
    persist(there, OLD, attempt=2)
    assert see(there) == OLD


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_manifest_that_is_none_is_refused_and_replaced(store, there, s3, content):
    persist(store, OLD)
    s3.replace(MANIFEST, content)
    with pytest.raises(PermanentFailure) as caught:
        see(there)
    assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED
    persist(store, NEW, attempt=2)
    assert see(there) == NEW


def test_artifact_of_a_newer_release_is_neither_read_nor_replaced(store, s3):
    persist(store, OLD)
    document = json.loads(s3.content(MANIFEST))
    del document["document_sha256"]
    s3.replace(MANIFEST, json.dumps({**document, "contract_version": 2}).encode())
    for work in (lambda: see(store), lambda: persist(store, NEW, attempt=2)):
        with pytest.raises(PermanentFailure) as caught:
            work()
        assert caught.value.code is ErrorCode.ARTIFACT_NEWER


def test_artifact_that_was_removed_elsewhere_is_missing_here_and_stays_away(store, there):
    persist(store, OLD)
    assert see(there) == OLD
    store.discard("stages/song_metadata/s1")
    for _ in range(2):
        with pytest.raises(PermanentFailure) as caught:
            load_artifact(folder_of(there), SongMetadata)
        assert caught.value.code is ErrorCode.ARTIFACT_MISSING
    assert see(store) is None
    persist(there, NEW, attempt=2)
    assert see(store) == NEW


def test_removal_while_work_is_on_its_way_is_not_undone(store, there):
    persist(store, OLD)
    there.discard("stages/song_metadata/s1")
    with pytest.raises(PermanentFailure, match="removed meanwhile") as caught:
        persist(store, NEW, attempt=2)
    assert caught.value.code is ErrorCode.SUPERSEDED
    assert see(there) is None


def test_canceled_job_stops_publishing_and_leaves_nothing(store, s3):
    """JOB-002: cancel takes effect while files go to the bucket."""

    def cancel():
        if any(request.method == "PUT" and "a.bin" in request.path for request in s3.requests):
            raise JobCanceled("enough")

    with pytest.raises(JobCanceled):
        persist(store, OLD, heed=cancel)
    assert not s3.keys("store/stages")
    assert see(store) is None


def test_what_was_stored_before_there_was_a_bucket_is_published_when_it_is_used(make_store, there, s3):
    store = make_store()
    manifest = persist(store, OLD)
    for key in s3.keys("store/stages"):
        s3.remove(key)
    os.unlink(folder_of(store).path / ".published.json")  # noqa: PTH108 - as if it had never been
    assert see(store) == OLD
    assert see(there) == OLD
    assert read_manifest(folder_of(there)).files == manifest.files


def test_damaged_artifact_of_before_is_not_published(store, s3):
    manifest = persist(store, OLD)
    for key in s3.keys("store/stages"):
        s3.remove(key)
    (folder_of(store).path / ".published.json").unlink()
    (folder_of(store).path / manifest.folder / "a.bin").write_bytes(b"?")
    with pytest.raises(PermanentFailure):
        see(store)
    assert not s3.keys("store/stages")


def test_crash_between_the_bucket_and_the_record_costs_nothing(store, there, s3):
    persist(store, OLD)
    (folder_of(store).path / ".published.json").unlink()
    done = len(s3.requests)
    assert see(store) == OLD
    assert len(s3.requests) - done == 1
    persist(store, NEW, attempt=2)
    assert see(there) == NEW
