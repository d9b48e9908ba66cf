"""Counting again what is stored, from the manifests and originals that are there.

The ledger counts as things are written and discarded. What changes the store behind its back, such as a restore
by hand, is found by this; nothing is changed but the count.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress

from pydantic import ValidationError

from ironclad_assets.contracts.v1.job import STAGES, SongIdentity
from ironclad_assets.errors import PermanentFailure
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.usage import ORIGINAL, QUARANTINE
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.sizes import occupied_bytes, stored_size
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.prune.songs import lasts_elsewhere

COUNTED = (*STAGES, "song_analysis")


def recount(ledger: Ledger, *, store: Store, progress: Callable[[int], None] = lambda done: None) -> int:
    """Make the ledger's count what the store holds; return how many entries were wrong.

    Best while no song is being worked on: what is written meanwhile may be counted as it was a moment before.

    Args:
        ledger: whose count it is.
        store: what is counted.
        progress: called with the number of songs looked at.

    Raises:
        StorageUnavailable: the store is away; songs that were looked at before may be corrected.
    """
    return ledger.usage.replace(_measure_all(ledger, store=store, progress=progress))


def _measure_all(
    ledger: Ledger, *, store: Store, progress: Callable[[int], None]
) -> Iterator[tuple[str, dict[str, int]]]:
    for done, song in enumerate(ledger.usage.songs()):
        with suppress(OSError):  # a disk that does not give one song's manifest: what was counted stays
            measured = dict(_measure(song, store=store))
            store.require_present()  # a store that went away meanwhile looked empty
            yield song.song, measured
        progress(done + 1)


def _measure(song: SongIdentity, *, store: Store) -> Iterator[tuple[str, int]]:
    """Yield what is stored of a song: a stage, `ORIGINAL` or `QUARANTINE`, and its bytes."""
    here = store.path(song.archive_path).is_file()
    if song.sha256 and (here or lasts_elsewhere(store, song.archive_path)):
        yield ORIGINAL, song.size_bytes
    if song.archive_path.startswith("error/") and store.path(song.archive_path).is_file():
        yield QUARANTINE, occupied_bytes(store.path(song.archive_path).stat())
    for stage in COUNTED:
        try:
            yield stage, stored_size(read_manifest(store.stage(stage, song.song)))
        except (PermanentFailure, ValidationError):
            continue  # missing, damaged, or another release's: nothing that a user could use
