"""Quotas at the doors: what is refused is not lost, and comes in by itself when there is room."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ironclad_assets.contracts.v1.limits import LimitScope, Role
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import Refusal
from ironclad_assets.intake import archive as archive_module
from ironclad_assets.intake import inbox as inbox_module
from ironclad_assets.intake import upload as upload_module
from ironclad_assets.intake.admission import expected_s
from ironclad_assets.intake.inbox import Inbox
from ironclad_assets.intake.upload import Delivery, Upload, take_file
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.recount import recount

ROOT = Path(__file__).resolve().parents[3]
PROCESSES, EACH = 5, 10


def limit(ledger: Ledger, name: str, value: int | None, *, user_id: str = "local") -> None:
    ledger.limits.set(LimitScope.USER, user_id, name, value, actor="test")


def archived(store: Store) -> list[Path]:
    return [path for path in store.archive.rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("name", ["songs_per_day", "stored_bytes"])
def test_of_fifty_parallel_uploads_ten_are_stored_and_forty_stay_with_their_owner(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, name: str
) -> None:
    """Promise 13: by several processes; nothing of a refused upload is left in the store, and no file is lost."""
    url = str(request.getfixturevalue("postgres_url")) if kind == "postgres" else f"sqlite:///{tmp_path / 'ledger.db'}"
    settings = Settings(home=tmp_path / "home", database_url=url)
    store, ledger = Store(settings.store_root, reserve_bytes=1), Ledger(settings.ledger_url)
    store.create()
    ledger.migrate()
    limit(ledger, name, 10 if name == "songs_per_day" else 10 * 20_000, user_id="ada")
    files = [store.input / f"{number:02}.mp3" for number in range(PROCESSES * EACH)]
    for number, file in enumerate(files):
        file.write_bytes(b"%020d" % number * 1000)
    batches = [files[at::PROCESSES] for at in range(PROCESSES)]
    command = [sys.executable, "-m", "tests.unit.intake.uploading", str(settings.home), url]
    started = [
        subprocess.Popen([*command, *map(str, batch)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for batch in batches
    ]
    told = Counter(line for process in started for line in process.communicate(timeout=120)[0].split())
    refusal = "daily_limit" if name == "songs_per_day" else "quota_exceeded"
    assert told == {"taken": 10, refusal: 40}
    assert len([file for file in files if file.exists()]) == 40
    assert len(ledger.jobs(limit=99)) == len(archived(store)) == 10
    assert ledger.usage.of("ada").stored_bytes == sum(path.stat().st_size for path in archived(store)) == 200_000


def test_a_dropped_file_over_the_quota_waits_where_it_is_and_comes_in_when_there_is_room(
    inbox: Inbox, store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ORG-003: a quota is not the file's fault: nothing is quarantined, the tick names the reason."""
    monkeypatch.setattr(inbox_module, "RETRY_S", 0.0)
    limit(ledger, "stored_bytes", 10)
    (store.input / "large.mp3").write_bytes(b"x" * 11)
    (store.input / "small.mp3").write_bytes(b"small")
    done = inbox.collect(budget_s=5.0)
    assert [one.job.original_name for one in done.taken] == ["small.mp3"]
    assert [name for name, _ in done.waiting] == ["large.mp3"]
    assert "quota_exceeded: user 'local' stores" in done.waiting[0][1]
    assert done.ignored == []
    assert not list((store.root / "error").iterdir())
    limit(ledger, "stored_bytes", None)
    assert [one.job.original_name for one in inbox.collect(budget_s=5.0).taken] == ["large.mp3"]


@pytest.mark.parametrize("why", ["daily_limit", "rate_limited", "user_disabled"])
def test_all_files_of_a_user_who_may_hand_in_no_more_wait_and_others_files_do_not(
    inbox: Inbox, store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """GLOBAL-001; a user who is disabled loses no file either."""
    ledger.users.add("ada", role=Role.MEMBER, actor="test")
    if why == "user_disabled":
        ledger.users.set_disabled("ada", True, actor="test")
    else:
        name = "songs_per_day" if why == "daily_limit" else "submissions_per_minute"
        limit(ledger, name, 0, user_id="ada")
    for user in ("ada", "bob"):
        (store.input / user).mkdir()
    inbox.collect(budget_s=1.0)
    for number in range(3):
        (store.input / "ada" / f"{number}.mp3").write_bytes(b"%d" % number)
    (store.input / "bob" / "b.mp3").write_bytes(b"b")
    checks: list[str] = []
    real = upload_module.start_upload

    def count(source: Path, **rest: Any) -> Any:
        checks.append(source.name)
        return real(source, **rest)

    monkeypatch.setattr(inbox_module, "start_upload", count)
    done = inbox.collect(budget_s=5.0)
    assert [one.job.user_id for one in done.taken] == ["bob"]
    assert sorted(name for name, _ in done.waiting) == ["0.mp3", "1.mp3", "2.mp3"]
    assert all(said.startswith(f"{why}: ") for _, said in done.waiting)
    assert not any("try again in" in said for _, said in done.waiting), "a limit of none is for ever"
    assert sorted(checks) == ["0.mp3", "b.mp3"], "the others are not even opened"


def test_files_refused_unread_wait_beyond_their_users_rate_and_keep_nobody_else_out(
    inbox: Inbox, store: Store, ledger: Ledger
) -> None:
    limit(ledger, "max_upload_bytes", 10, user_id="eve")
    limit(ledger, "submissions_per_minute", 2, user_id="eve")
    ledger.limits.set(LimitScope.SYSTEM, "", "submissions_per_minute", 1, actor="test")
    (store.input / "eve").mkdir()
    (store.input / "ada").mkdir()
    inbox.collect(budget_s=1.0)
    for number in range(5):
        (store.input / "eve" / f"{number}.wav").write_bytes(b"x" * 11)
    done = inbox.collect(budget_s=5.0)
    assert [one.job.error.code for one in done.taken if one.job.error] == ["too_large", "too_large"]
    assert len(done.waiting) == len(list((store.input / "eve").iterdir())) == 3
    assert all(said.startswith("rate_limited: user 'eve'") for _, said in done.waiting)
    assert len(list((store.root / "error").iterdir())) == 2
    (store.input / "ada" / "a.mp3").write_bytes(b"a")
    assert [one.job.user_id for one in inbox.collect(budget_s=5.0).taken] == ["ada"]


def test_files_refused_unread_are_kept_within_their_users_quota(inbox: Inbox, store: Store, ledger: Ledger) -> None:
    """GLOBAL-001: the quarantine is no room beside the quota; what does not fit stays where its user put it."""
    limit(ledger, "max_upload_bytes", 10, user_id="eve")
    limit(ledger, "stored_bytes", 2 * 2**20, user_id="eve")
    (store.input / "eve").mkdir()
    inbox.collect(budget_s=1.0)
    for number in range(5):
        (store.input / "eve" / f"{number}.wav").write_bytes(b"x" * 2**20)
    done = inbox.collect(budget_s=5.0)
    assert [one.job.error.code for one in done.taken if one.job.error] == ["too_large", "too_large"]
    assert all(said.startswith("quota_exceeded: user 'eve' stores 2097152 bytes") for _, said in done.waiting)
    assert len(done.waiting) == len(list((store.input / "eve").iterdir())) == 3
    assert sum(path.stat().st_size for path in store.root.glob("error/*/original")) == 2 * 2**20
    assert ledger.usage.of("eve").stored_bytes == 2 * 2**20
    assert (recount(ledger, store=store), ledger.usage.of("eve").stored_bytes) == (0, 2 * 2**20)
    deletion = ledger.deletions.request_song(done.taken[0].job.song, actor="test")
    assert ledger.usage.of("eve").stored_bytes == 2**20, deletion


def test_the_installations_room_holds_for_refused_files_too(inbox: Inbox, store: Store, ledger: Ledger) -> None:
    limit(ledger, "max_upload_bytes", 10, user_id="eve")
    ledger.limits.set(LimitScope.SYSTEM, "", "stored_bytes", 2**20, actor="test")
    (store.input / "eve").mkdir()
    inbox.collect(budget_s=1.0)
    for number in range(2):
        (store.input / "eve" / f"{number}.wav").write_bytes(b"x" * 2**20)
    done = inbox.collect(budget_s=5.0)
    assert len(done.taken) == 1
    assert [said.partition(" stores")[0] for _, said in done.waiting] == ["quota_exceeded: the installation"]


def test_a_refused_file_that_was_gone_before_it_was_moved_is_not_counted(
    inbox: Inbox, store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(ledger, "max_upload_bytes", 10)
    inbox.collect(budget_s=1.0)
    file = store.input / "a.wav"
    file.write_bytes(b"x" * 2**20)
    register = ledger.register

    def register_late(*args: Any, **rest: Any) -> Any:
        registration = register(*args, **rest)
        file.unlink()
        return registration

    monkeypatch.setattr(ledger, "register", register_late)
    assert len(inbox.collect(budget_s=5.0).taken) == 1
    assert ledger.usage.system().stored_bytes == 0


def test_a_stranger_at_a_closed_door_leaves_nothing_but_the_file(store: Store, settings: Settings) -> None:
    ledger = Ledger(settings.ledger_url, rules=Rules(closed=True))
    ledger.migrate()
    inbox = Inbox(ledger=ledger, store=store, settings=settings)
    (store.input / "eve").mkdir()
    inbox.collect(budget_s=1.0)
    (store.input / "eve" / "x.mp3").write_bytes(b"")
    (store.input / "eve" / "y.mp3").write_bytes(b"y")
    inbox.collect(budget_s=1.0)
    done = inbox.collect(budget_s=5.0)
    inbox.close()
    assert done.taken == []
    assert "unknown_user" in dict(done.waiting)["y.mp3"]
    assert (ledger.users.list(), ledger.jobs(), archived(store)) == ([], [], [])


def test_a_copy_that_others_outran_leaves_no_original_behind_unless_it_is_theirs(
    store: Store, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    limit(ledger, "songs_per_day", 1, user_id="ada")
    first, second = tmp_path / "1.mp3", tmp_path / "2.mp3"
    first.write_bytes(b"1")
    second.write_bytes(b"2")

    def begin(file: Path, user_id: str) -> Upload:
        delivery = Delivery(user_id=user_id, options=JobOptions(), door="t", actor="t", keep_source=True)
        return Upload(file, delivery=delivery, ledger=ledger, store=store, settings=settings)

    uploads = [begin(first, "ada"), begin(second, "ada"), begin(second, "bob")]
    for upload in uploads:
        upload.advance()
    uploads[0].finish()
    uploads[2].finish()
    uploads[1]._require_admission = lambda: None  # type: ignore[method-assign]  # as if they came at one moment
    with pytest.raises(Refusal):
        uploads[1].finish()
    assert len(archived(store)) == 2, "bob's original is bob's"
    for upload in uploads:
        upload.close()
    third = tmp_path / "3.mp3"
    third.write_bytes(b"3")
    limit(ledger, "songs_per_day", 2, user_id="ada")
    late = begin(third, "ada")
    late.advance()
    limit(ledger, "songs_per_day", 1, user_id="ada")
    late._require_admission = lambda: None  # type: ignore[method-assign]
    with pytest.raises(Refusal):
        late.finish()
    late.close()
    assert len(archived(store)) == 2


def test_an_original_that_is_just_being_registered_is_not_removed(
    store: Store, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "a.mp3"
    file.write_bytes(b"a")
    taken = take_file(
        file, ledger=ledger, store=store, settings=settings, user_id="ada", options=JobOptions(), door="t", actor="t"
    )
    path = ledger.song(taken.job.song).archive_path
    archive_module.drop_unregistered(store, archive_path=path, is_registered=ledger.admission.is_registered)
    assert archived(store) == [store.path(path)]


@pytest.mark.parametrize(
    ("name", "size_bytes", "seconds"),
    [("a.wav", 1_764_000, 10.0), ("A.MP3", 280_000, 10.0), ("no ending", 400_000, 10.0), ("empty.flac", 0, 0.0)],
)
def test_lengths_are_guessed_from_size_and_ending(name: str, size_bytes: int, seconds: float) -> None:
    assert expected_s(name, size_bytes=size_bytes) == seconds


def test_a_warning_near_the_limit_comes_with_the_registration(
    store: Store, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    limit(ledger, "songs_per_day", 1, user_id="ada")
    file = tmp_path / "a.mp3"
    file.write_bytes(b"a")
    taken = take_file(
        file, ledger=ledger, store=store, settings=settings, user_id="ada", options=JobOptions(), door="t", actor="t"
    )
    assert taken.warnings == ("user 'ada' uses 100% of songs_per_day: 1 of 1",)
