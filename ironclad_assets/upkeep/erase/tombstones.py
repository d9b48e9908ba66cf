"""Tombstones that outlive the ledger: a copy in the store's ``backups/``, which a restore reads.

A backup is older than the deletions that came after it, so what it brings back is compared with this list and
deleted again. The file is small (about 200 bytes for each song deleted), only grows, and is rewritten in one step.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from ironclad_assets.errors import StorageUnavailable
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.tombstones import Tombstone, digest_of, newest
from ironclad_assets.storage import atomic
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.reachable import require_reachable

FILE_NAME = "tombstones.jsonl"


@dataclass(frozen=True, slots=True)
class Tombstones:
    """Everything that was ever deleted here, by digest."""

    by_digest: dict[str, Tombstone]

    def covers_song(self, song: str) -> bool:
        """Return whether the song of that id was deleted. Ids are never used again, so time plays no part."""
        return digest_of("song", song) in self.by_digest

    def covers_job(self, job_uuid: str) -> bool:
        """Return whether the job of that id was deleted."""
        return digest_of("job", job_uuid) in self.by_digest

    def covers_user(self, user_id: str, *, before: str) -> bool:
        """Return whether what the user had at the time `before` was deleted.

        Args:
            user_id: whose. A user may come back under the same name.
            before: when the thing in question was made, UTC in ISO 8601 as the ledger writes it.
        """
        stone = self.by_digest.get(digest_of("user", user_id))
        return stone is not None and before <= stone.at

    def receipt_of(self, digest: str) -> str | None:
        """Return the receipt of the deletion that set the tombstone."""
        stone = self.by_digest.get(digest)
        return None if stone is None else stone.receipt


def tombstone_file(store: Store) -> Path:
    """Return the file in which the store keeps its copy."""
    return store.path("backups") / FILE_NAME


def load(store: Store, ledger: Ledger | None) -> Tombstones:
    """Return the tombstones of the store's file and of the ledger together; either may be missing or older.

    Args:
        store: whose file is read; a line that is damaged is passed over, the others count.
        ledger: read too, where there is one.
    """
    stones = read_file(tombstone_file(store))
    if ledger is not None:
        stones += ledger.deletions.tombstones()
    return Tombstones(newest(stones))


def publish(store: Store, ledger: Ledger) -> int:
    """Bring the store's file up to date with the ledger; return how many tombstones it then has.

    What only the file has stays in it: the ledger may have been restored from an older time.

    Raises:
        StorageUnavailable: the store is read-only or away, or has no byte left.
    """
    require_reachable(store)
    return merge_file(tombstone_file(store), stones=ledger.deletions.tombstones())


def publish_beside(backups: Path, ledger: Ledger) -> None:
    """Bring the list beside backups that lie elsewhere up to date.

    A disk that is away, full or read-only keeps no deletion waiting: it gets them with its next backup.
    """
    with suppress(StorageUnavailable, OSError):
        if (backups / "snapshots").is_dir():
            merge_file(backups / FILE_NAME, stones=ledger.deletions.tombstones())


def merge_file(file: Path, *, stones: Iterable[Tombstone]) -> int:
    """Add `stones` to a list of tombstones, made if missing; return how many it then has.

    Raises:
        StorageUnavailable: its disk is full, read-only or away.
    """
    atomic.make_folder(file.parent)
    with FileLock(file.with_name(f".{FILE_NAME}.lock")):
        known = newest(read_file(file))
        merged = newest([*known.values(), *stones])
        if merged != known:
            lines = [json.dumps(asdict(stone)) for stone in sorted(merged.values(), key=lambda one: one.at)]
            atomic.write_bytes(file, ("\n".join(lines) + "\n").encode())
    return len(merged)


def adopt(store: Store, ledger: Ledger) -> int:
    """Delete again what a restore brought back; return how many songs and users that concerns.

    The ledger gets the tombstones that only the store's file has, and an open deletion, under its old receipt, for
    every song and user they cover. The eraser then does the rest as for any deletion.
    """
    found = load(store, ledger)
    return ledger.deletions.adopt(found.by_digest.values())


def adopt_missing(store: Store, ledger: Ledger) -> int:
    """Do as `adopt` does where the store's list tells of deletions that the ledger knows nothing of.

    Then the ledger is older than they are: filled from a copy, or a file that somebody put back.
    """
    known = newest(ledger.deletions.tombstones())
    listed = newest(read_file(tombstone_file(store)))
    if all(digest in known and known[digest].at >= stone.at for digest, stone in listed.items()):
        return 0
    return adopt(store, ledger)


def read_file(file: Path) -> list[Tombstone]:
    """Return the tombstones in a list, none where there is none; a line that is damaged is passed over."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            fields = json.loads(line)
            found.append(
                Tombstone(
                    digest=str(fields["digest"]),
                    kind=str(fields["kind"]),
                    at=str(fields["at"]),
                    receipt=str(fields["receipt"]),
                )
            )
        except (ValueError, KeyError, TypeError):
            continue
    return found
