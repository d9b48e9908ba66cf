"""Verifying the archive: every original against its name, which is its SHA-256, and against the ledger.

Every byte is read. That each song's original is there is `song`'s.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ironclad_assets.ledger.store import Ledger
from ironclad_assets.storage.hashing import carry_on, hash_file
from ironclad_assets.storage.sealed import check_seal
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.findings import Finding, FindingCode, found
from ironclad_assets.upkeep.prune.orphans import batches
from ironclad_assets.upkeep.prune.plan import names_in
from ironclad_assets.upkeep.prune.songs import HIDDEN

_NAME = re.compile(r"[0-9a-f]{64}")
_NOTE = re.compile(r"[0-9a-f]{64}\.pruned\.json")


def check_archive(
    store: Store, ledger: Ledger, *, chosen: Callable[[str], bool], heed: Callable[[], None] = carry_on
) -> Iterator[Finding]:
    """Yield what is wrong in the archive.

    Args:
        store: whose archive.
        ledger: which knows whose originals those are.
        chosen: whether an original of this name is to be read.
        heed: called between blocks of bytes; what it raises ends the work.
    """
    for prefix in sorted(names_in(store.archive), key=lambda entry: entry.name):
        if not prefix.is_dir(follow_symlinks=False):
            if not HIDDEN.fullmatch(prefix.name):
                yield found(FindingCode.ORIGINAL_UNEXPECTED, f"archive/{prefix.name}", "no original is called so")
            continue
        try:
            entries = names_in(Path(prefix.path))
        except OSError as error:
            detail = f"it cannot be read: {error.strerror}"
            yield found(FindingCode.ORIGINAL_DAMAGED, f"archive/{prefix.name}", detail)
            continue
        for batch in batches(entries):
            # Other names are nobody's originals, and may be in no spelling that a database knows.
            named = [entry.name for entry in batch if _NAME.fullmatch(entry.name) and entry.name[:2] == prefix.name]
            known = ledger.sweeps.referenced(f"archive/{prefix.name}/{name}" for name in named)
            for entry in batch:
                path = f"archive/{prefix.name}/{entry.name}"
                if chosen(entry.name[:64]) and not HIDDEN.fullmatch(entry.name):
                    yield from _check_one(Path(entry.path), path, known=path in known, heed=heed)


def _check_one(file: Path, path: str, *, known: bool, heed: Callable[[], None]) -> Iterator[Finding]:
    if _NOTE.fullmatch(file.name):
        try:
            wrong = check_seal(file.read_bytes())
        except OSError as error:
            wrong = f"it cannot be read: {error.strerror}"
        if wrong:
            yield found(FindingCode.NOTE_DAMAGED, path, wrong)
        return
    if not _NAME.fullmatch(file.name) or file.parent.name != file.name[:2] or not file.is_file():
        yield found(FindingCode.ORIGINAL_UNEXPECTED, path, "no original is called so")
        return
    try:
        digest = hash_file(file, heed=heed)
    except FileNotFoundError:
        return  # a deletion was faster
    except OSError as error:
        yield found(FindingCode.ORIGINAL_DAMAGED, path, f"it cannot be read: {error.strerror}")
        return
    if digest != file.name:
        yield found(FindingCode.ORIGINAL_DAMAGED, path, f"its bytes have the SHA-256 {digest}")
    elif not known:
        yield found(FindingCode.ORPHANED, path, "no song of the ledger has this original")
