"""What commands print where it goes into a file or another program: whole, whatever the width of a terminal."""

import pytest

from ironclad_assets.cli.exits import Exit
from ironclad_assets.contracts.v1.job import JobError
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.ledger.pauses import PauseKind
from ironclad_assets.ledger.store import Ledger
from tests.unit.cli.conftest import Run
from tests.unit.ledger.conftest import add_song, make_song

USER = "u" * 64
NAME = f"{'a long name ' * 15}.flac"
REASON = "a long reason " * 15


@pytest.fixture
def full(ledger: Ledger) -> Ledger:
    """A ledger whose every table has a row that is wider than a terminal."""
    song = make_song(user_id=USER).model_copy(update={"original_name": NAME})
    job = ledger.register(song, JobOptions(), actor=USER).job
    ledger.pauses.set(PauseKind.USER, USER, reason=REASON, actor=USER)
    error = JobError(code="storage_away", detail=REASON, remedy=REASON, stage="stems")
    ledger.hold(job.job_uuid, error, actor=USER)
    add_song(ledger, 2, user_id=USER)
    ledger.deletions.request_song("s2", actor=USER)
    ledger.terms.accept(USER, version="1", actor=USER)
    return ledger


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "status s1",
        "queue",
        "history s1",
        "audit",
        "pauses",
        "receipts",
        "users list",
        "terms list",
        "usage",
        "limits show",
        f"limits show --user {USER}",
        f"defaults show --user {USER}",
        "engines list",
        "engines doctor",
        "models list",
        "store show",
        "health",
        "verify",
        "library preview",
    ],
)
def test_no_column_is_cut_or_wrapped_where_nobody_looks_at_a_terminal(
    run: Run, full: Ledger, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """CLI-001: `pipelinectl receipts | grep ...` finds what is there."""
    monkeypatch.delenv("COLUMNS", raising=False)
    shown = run(*command.split())
    assert shown.exit_code in (Exit.OK, Exit.UNHEALTHY), shown.output
    assert "\u2026" not in shown.output
    monkeypatch.setenv("COLUMNS", "5000")
    assert shown.output.count("\n") == run(*command.split()).output.count("\n")


def test_who_says_how_wide_it_shall_be_is_heard(run: Run, full: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert max(map(len, run("queue").output.splitlines())) <= 100
