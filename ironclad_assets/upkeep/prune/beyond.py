"""The other half of a removal, where the store lasts in an object store; nothing where it lasts in its root.

What an object store is slow at is asked before the ledger is held, and removed after it. While it is held there is one
short request for a removal, so that others wait for seconds at most: a deletion has no condition in S3, so nothing but
the ledger keeps an upload of the same bytes, or a run, from coming in between.
"""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ironclad_assets.errors import ErrorCode, IroncladError, StorageUnavailable
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.mirror import ORIGINALS, Parting
from ironclad_assets.storage.notes import drop_note, publish_note
from ironclad_assets.storage.publication import Publication
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.prune.plan import NOT_HERE, How, Kind, Removal


@dataclass(slots=True)
class Beyond:
    """What of one group of removals is beyond this machine."""

    store: Store
    _partings: dict[str, list[Parting]] = field(default_factory=dict)
    _stays: dict[str, Publication] = field(default_factory=dict)

    def look_up(self, group: Sequence[Removal]) -> None:
        """Find what is to go there, and fetch what is only there and to be kept for some days.

        Raises:
            StorageUnavailable: the object store does not answer, or there is no room here; nothing was touched.
        """
        mirror = self.store.mirror
        if mirror is None:
            return
        for one in group:
            if one.base != "store":
                continue
            if one.kind is Kind.CORRUPT:
                publication = self.store.stage(one.path.split("/")[1], one.song).publication
                if publication is not None and publication.is_whole():
                    self._stays[one.path] = publication
                    continue
            if one.how is How.MOVE and one.inode == NOT_HERE:
                self._fetch(one)
            self._partings[one.path] = [mirror.look_up(path) for path in one.paths if "/" in path]

    def _fetch(self, one: Removal) -> None:
        """Bring an original here, unless the space that is left is what everything else needs."""
        free = shutil.disk_usage(self.store.root).free
        if free - one.size_bytes < self.store.reserve_bytes:
            detail = f"{free / 1e9:.2f} GB are free; {one.size_bytes / 1e9:.2f} GB more would break into the reserve"
            raise StorageUnavailable(detail, code=ErrorCode.STORAGE_FULL)
        self.store.original(one.path)

    def stays(self, one: Removal) -> bool:
        """Return whether only the copy here is damaged, so that the good one there stays and still counts."""
        return one.path in self._stays

    def hide(self, one: Removal) -> None:
        """Let nobody see it there any more, in seconds.

        Raises:
            StorageUnavailable: that cannot be done now, or it is not known whether it was.
        """
        for parting in self._partings.get(one.path, ()):
            if self.store.mirror is not None and parting.seen_by:
                self.store.mirror.hide(parting)

    def finish(self, removed: Sequence[Removal]) -> None:
        """Remove what is not seen any more, and let the good copy there take the place of a damaged one here."""
        for one in removed:
            for parting in self._partings.get(one.path, ()):
                if self.store.mirror is not None:
                    self.store.mirror.forget(parting)
            if self.store.mirror is not None and one.path.startswith(ORIGINALS) and one.kind is Kind.OLD:
                with suppress(IroncladError):  # else another machine takes it for lost until it is published
                    publish_note(self.store, one.path)
                    if self.store.mirror.objects.head(one.path) is not None:  # somebody took it in since
                        drop_note(self.store, one.path)
            if self.stays(one):
                with suppress(IroncladError):  # else whoever reads it fetches it
                    self._stays[one.path].refresh()

    def restore(self, group: Sequence[Removal]) -> None:
        """Put originals there again that are here: of a failure it is not known what it did."""
        mirror = self.store.mirror
        if mirror is None:
            return
        for one in group:
            path = self.store.root / one.path
            if one.path.startswith(ORIGINALS) and path.is_file():
                with suppress(IroncladError, OSError):
                    if mirror.objects.head(one.path) is None and hash_file(path) == path.name:
                        mirror.publish_original(path, relative=one.path, sha256=path.name)
