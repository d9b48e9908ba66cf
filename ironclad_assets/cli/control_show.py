"""How pauses, the queue, ways back and the audit look on a terminal, and in JSON."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ironclad_assets.cli.show import SHORT_ID, WHOLE, duration, job_document, waits_text
from ironclad_assets.contracts.v1.job import HistoryEntry
from ironclad_assets.intake.names import printable
from ironclad_assets.ledger.again import WayBack
from ironclad_assets.ledger.audit import AuditLine
from ironclad_assets.ledger.pauses import Pause
from ironclad_assets.ledger.queue import Place, Wait

SECONDS = 19
"""Characters of a time down to its seconds."""

WIDEST_ACTOR = 16
"""Characters of who did it on a terminal; the id of a run is longer, and whole elsewhere."""

_WHY = {
    Wait.DISPATCHED: "next: a run was asked for",
    Wait.TURN: "",
    Wait.LIMIT: "as many jobs as may run at once do",
    Wait.PAUSED: "paused",
}


def pause_document(pause: Pause) -> dict[str, str | None]:
    """Return a pause as JSON shows it."""
    return {
        "kind": pause.kind.value,
        "subject": pause.subject,
        "since": pause.since,
        "actor": pause.actor,
        "request_id": pause.request_id,
        "reason": pause.reason,
    }


def place_document(place: Place) -> dict[str, Any]:
    """Return a waiting job as JSON shows it, with its place and why it waits."""
    return {
        "position": place.position,
        "seconds_of_audio": round(place.seconds, 3),
        "wait": place.wait.value,
        "not_before": place.job.not_before if place.wait is Wait.LATER else None,
        "job": job_document(place.job),
    }


def way_document(way: WayBack) -> dict[str, Any]:
    """Return one song's way back as JSON shows it."""
    return {
        "song": way.newest.song,
        "newest_job": way.newest.job_uuid,
        "earlier_job": None if way.earlier is None else way.earlier.job_uuid,
        "options": None if way.earlier is None else way.options.model_dump(mode="json"),
        "left_alone": way.reason or None,
    }


def audit_document(line: AuditLine) -> dict[str, Any]:
    """Return one line of the audit as JSON shows it."""
    return {name: getattr(line, name) for name in AuditLine.__slots__}


def print_pauses(console: Console, pauses: Iterable[Pause]) -> None:
    """Print each pause on a line."""
    for pause in pauses:
        console.print(Text(f"paused: {printable(pause.describe())}", style="yellow"))


def print_queue(console: Console, places: Sequence[Place], *, waiting: int, pauses: Sequence[Pause]) -> None:
    """Print the queue, then what is paused."""
    table = _table("#", "job", "user", "song", "length", "priority", "waits")
    for place in places:
        job = place.job
        why = _WHY.get(place.wait)
        table.add_row(
            str(place.position),
            job.job_uuid[:SHORT_ID],
            job.user_id,
            Text(printable(job.original_name)),
            duration(place.seconds),
            str(job.priority),
            Text(waits_text(job) if why is None else why),
        )
    console.print(table)
    print_pauses(console, pauses)
    if waiting != len(places):
        console.print(f"{waiting} jobs wait in all")


def print_history(console: Console, lines: Iterable[tuple[str, HistoryEntry]]) -> None:
    """Print lines of history, each with the id of its job; the ids of requests are in the JSON alone."""
    table = _table("at", "job", "state", "by", "what", whole=console.width >= WHOLE)
    for job_uuid, line in lines:
        table.add_row(
            line.at[:SECONDS],
            job_uuid[:SHORT_ID],
            line.to_state,
            Text(printable(line.actor)),
            Text(printable(line.detail)),
        )
    console.print(table)


def print_audit(console: Console, lines: Iterable[AuditLine]) -> None:
    """Print lines of the audit."""
    table = _table("at", "by", "did", "to", "request", "what", whole=console.width >= WHOLE)
    for line in lines:
        table.add_row(
            line.at[:SECONDS],
            Text(printable(line.actor)),
            line.action,
            Text(printable(line.object)),
            (line.request_id or "")[:SHORT_ID],
            Text(printable(line.detail)),
        )
    console.print(table)


def _table(*headings: str, whole: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        numeric, short = heading in ("#", "length", "priority"), heading in ("at", "job", "state", "did", "request")
        table.add_column(
            heading,
            justify="right" if numeric else "left",
            no_wrap=numeric or short or heading == "by",
            overflow="ellipsis" if heading == "by" else "fold",
            min_width={"at": SECONDS, "job": SHORT_ID, "request": SHORT_ID}.get(heading),
            max_width=WIDEST_ACTOR if heading == "by" and not whole else None,
        )
    return table
