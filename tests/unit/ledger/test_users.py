"""Users, their limits, and the terms they accept."""

import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.contracts.v1.limits import EffectiveLimits, LimitScope, Role
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError, Refusal
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.telemetry.request import bind_request
from tests.unit.ledger.conftest import add_song, make_song


def actions(ledger: Ledger) -> list[tuple[str, str, str]]:
    return [(line.action, line.object, line.detail) for line in ledger.audit.lines()]


def test_a_user_is_made_by_the_first_song_with_the_role_of_unknown_users(url: str) -> None:
    ledger = Ledger(url, rules=Rules(unknown_role=Role.GUEST))
    ledger.migrate()
    add_song(ledger, 1)
    add_song(ledger, 2)
    assert [(user.user_id, user.role, user.stored_bytes) for user in ledger.users.list()] == [("ada", "guest", 203)]


def test_a_closed_installation_takes_songs_of_known_users_only(url: str) -> None:
    ledger = Ledger(url, rules=Rules.from_settings(Settings(unknown_users="closed")))
    ledger.migrate()
    with pytest.raises(Refusal) as caught:
        add_song(ledger)
    assert caught.value.code is ErrorCode.UNKNOWN_USER
    assert ledger.users.list() == []
    ledger.users.add("ada", role=Role.MEMBER, actor="op")
    assert add_song(ledger)


def test_a_disabled_user_brings_nothing_in_until_enabled_and_jobs_go_on(ledger: Ledger) -> None:
    job = add_song(ledger, 1)
    ledger.users.set_disabled("ada", True, actor="op")
    with pytest.raises(Refusal) as caught:
        add_song(ledger, 2)
    assert caught.value.code is ErrorCode.USER_DISABLED
    assert [one.job_uuid for one in ledger.dispatchable(limit=9)] == [job]
    ledger.users.set_disabled("ada", False, actor="op")
    assert add_song(ledger, 2)


def test_what_is_done_to_users_is_audited_once(ledger: Ledger) -> None:
    """Promise 22: each admin action is one line with actor, object and request."""
    with bind_request("r1"):
        for _ in range(2):
            ledger.users.add("ada", role=Role.MEMBER, actor="op")
            ledger.users.set_role("ada", Role.ADMIN, actor="op")
            ledger.users.set_disabled("ada", True, actor="op")
            ledger.users.add("ada", role=Role.ADMIN, actor="op")
    lines = ledger.audit.lines()
    assert [(line.action, line.object, line.detail, line.actor, line.request_id) for line in lines] == [
        ("user_added", "ada", "member", "op", "r1"),
        ("user_role", "ada", "member to admin", "op", "r1"),
        ("user_disabled", "ada", "", "op", "r1"),
        ("user_role", "ada", "admin to member", "op", "r1"),
        ("user_role", "ada", "member to admin", "op", "r1"),
    ]


def test_nothing_is_changed_about_somebody_unknown(ledger: Ledger) -> None:
    with pytest.raises(IroncladError) as role:
        ledger.users.set_role("ada", Role.ADMIN, actor="op")
    with pytest.raises(IroncladError) as disable:
        ledger.users.set_disabled("ada", True, actor="op")
    assert role.value.code is disable.value.code is ErrorCode.UNKNOWN_USER


def test_a_users_limit_overrules_the_roles_which_overrules_the_settings(url: str) -> None:
    """GLOBAL-001: limits per user; none is a limit too."""
    ledger = Ledger(url, rules=Rules.from_settings(Settings(user_quota_bytes=1000, max_upload_bytes=77)))
    ledger.migrate()

    def quota() -> int | None:
        return ledger.limits.effective("ada").stored_bytes

    assert (quota(), ledger.limits.effective("ada").max_upload_bytes) == (1000, 77)
    ledger.limits.set(LimitScope.ROLE, "member", "stored_bytes", 500, actor="op")
    assert quota() == 500
    ledger.limits.set(LimitScope.USER, "ada", "stored_bytes", None, actor="op")
    assert quota() is None
    role, limits, sources = ledger.limits.explain("ada")
    assert (role, limits.stored_bytes, sources) == (Role.MEMBER, None, {"stored_bytes": LimitScope.USER})
    assert ledger.limits.clear(LimitScope.USER, "ada", actor="op") == 1
    assert quota() == 500
    assert ledger.limits.clear(LimitScope.ROLE, "member", "stored_bytes", actor="op") == 1
    assert quota() == 1000
    assert [action for action, _, _ in actions(ledger)] == ["limit_set", "limit_set", "limit_cleared", "limit_cleared"]


def test_guests_get_less_than_members_and_never_more_than_the_settings(url: str) -> None:
    ledger = Ledger(url, rules=Rules(limits=EffectiveLimits(max_upload_bytes=5)))
    guest, member = ledger_limits(ledger, Role.GUEST), ledger_limits(ledger, Role.MEMBER)
    assert (guest.max_upload_bytes, member.max_upload_bytes) == (5, 5)
    assert (guest.concurrent_jobs, member.concurrent_jobs) == (1, None)
    assert guest.keep_errors_days == member.keep_errors_days


def ledger_limits(ledger: Ledger, role: Role) -> EffectiveLimits:
    ledger.migrate()
    return ledger.limits.of_role(role)


def test_retention_of_the_system_holds_for_everybody_who_has_no_other(ledger: Ledger) -> None:
    ledger.limits.set(LimitScope.SYSTEM, "", "keep_stems_days", 30, actor="op")
    ledger.limits.set(LimitScope.USER, "bob", "keep_stems_days", 2, actor="op")
    ledger.limits.set(LimitScope.SYSTEM, "", "stored_bytes", 9, actor="op")
    assert ledger.limits.effective("ada").keep_stems_days == 30
    assert ledger.limits.effective("bob").keep_stems_days == 2
    assert ledger.limits.effective("ada").stored_bytes != 9, "that of the system is about all together"
    assert ledger.limits.system().stored_bytes == 9


@pytest.mark.parametrize(
    ("scope", "subject", "name", "value"),
    [
        (LimitScope.USER, "ada", "nonsense", 1),
        (LimitScope.SYSTEM, "", "songs_per_day", 1),
        (LimitScope.ROLE, "king", "songs_per_day", 1),
        (LimitScope.SYSTEM, "ada", "stored_bytes", 1),
        (LimitScope.USER, "", "stored_bytes", 1),
        (LimitScope.USER, "ada", "stored_bytes", -1),
        (LimitScope.USER, "ada", "keep_logs_days", float("nan")),
        (LimitScope.USER, "ada", "types", ("FLAC file",)),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(
    ledger: Ledger, scope: LimitScope, subject: str, name: str, value: float | tuple[str, ...]
) -> None:
    with pytest.raises(Refusal) as caught:
        ledger.limits.set(scope, subject, name, value, actor="op")
    assert caught.value.code is ErrorCode.BAD_OPTION
    assert ledger.limits.rows() == []
    assert actions(ledger) == []


def test_lists_of_types_come_back_as_they_were_set(ledger: Ledger) -> None:
    ledger.limits.set(LimitScope.ROLE, "guest", "types", ("flac", "wav"), actor="op")
    ledger.users.add("eve", role=Role.GUEST, actor="op")
    assert ledger.limits.effective("eve").types == ("flac", "wav")
    assert ledger.limits.rows()[0].value == ("flac", "wav")


@pytest.fixture
def strict(url: str) -> Ledger:
    ledger = Ledger(url, rules=Rules(terms_version="v2"))
    ledger.migrate()
    return ledger


def test_a_song_is_held_until_its_user_accepts_the_current_terms(strict: Ledger) -> None:
    """EULA-001: the acceptance is recorded with version, time, actor and request, and holds for that version only."""
    held = strict.job(add_song(strict, 1))
    assert (held.state, held.error and held.error.code) == (JobState.HELD, "terms_required")
    strict.terms.accept("ada", "v1", actor="op")
    assert not strict.terms.accepted("ada")
    with pytest.raises(IroncladError) as caught:
        strict.terms.require("ada")
    assert caught.value.code is ErrorCode.TERMS_REQUIRED
    with bind_request("r7"):
        strict.terms.accept("ada", "v2", actor="op")
    strict.terms.require("ada")
    again = strict.terms.accept("ada", "v2", actor="somebody else")
    assert (again.actor, again.request_id, again.version) == ("op", "r7", "v2"), "the first acceptance stands"
    assert [one.version for one in strict.terms.acceptances("ada")] == ["v2", "v1"]
    assert strict.job(add_song(strict, 2)).state is JobState.QUEUED
    assert actions(strict) == [("terms_accepted", "ada", "v1"), ("terms_accepted", "ada", "v2")]


def test_another_attempt_is_held_for_the_terms_too(strict: Ledger) -> None:
    job = add_song(strict)
    strict.request_cancel(job, actor="op")
    assert strict.retry(job, actor="op").state is JobState.HELD


def test_without_terms_everybody_has_accepted_them(ledger: Ledger) -> None:
    ledger.terms.require("nobody")
    assert ledger.register(make_song(), JobOptions(), actor="t").job.state is JobState.QUEUED


def test_the_closed_door_takes_no_acceptance_of_strangers(url: str) -> None:
    ledger = Ledger(url, rules=Rules(closed=True, terms_version="v1"))
    ledger.migrate()
    with pytest.raises(Refusal):
        ledger.terms.accept("eve", "v1", actor="eve")
    assert ledger.users.list() == []
