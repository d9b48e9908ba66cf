"""The audit: who did what, in order, with the request that asked for it."""

from ironclad_assets.ledger.store import Ledger
from ironclad_assets.telemetry.request import bind_request
from tests.unit.ledger.conftest import add_song


def test_a_line_says_who_did_what_to_what_and_for_which_request(ledger: Ledger) -> None:
    with bind_request("r1"):
        ledger.audit.write("pause", "all", actor="root", detail="disk")
    ledger.audit.write("resume", "all", actor="root")
    first, second = ledger.audit.lines()
    assert (first.actor, first.action, first.object, first.detail, first.request_id) == (
        "root", "pause", "all", "disk", "r1",
    )  # fmt: skip
    assert second.request_id is None
    assert second.monotonic_ns >= first.monotonic_ns
    assert ledger.audit.lines(after=first.sequence) == [second]


def test_a_job_and_its_history_name_the_request_that_made_them(ledger: Ledger) -> None:
    with bind_request() as request_id:
        job_uuid = add_song(ledger)
    assert ledger.job(job_uuid).request_id == request_id
    assert [line.request_id for line in ledger.history(job_uuid)] == [request_id]
    ledger.request_cancel(job_uuid, actor="ada")
    assert [line.request_id for line in ledger.history(job_uuid)] == [request_id, request_id]
