"""What the folders of a library hold, each looked up once, kept in step with what is moved.

Whoever files one song gets a fresh one; whoever files many saves reading the same folders again and again. Names
are compared as any file system would; nothing here changes a file.
"""

import os
from pathlib import Path

from ironclad_assets.pipeline.naming import fold


class Listing:
    """The names in every folder that was asked about, by their folded form."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, list[str]]] = {}

    def find(self, path: Path) -> Path | None:
        """Return the entry that has `path`'s name on any file system: same spelling first, then any other."""
        names = self._names(path.parent).get(fold(path.name), ())
        if not names:
            return None
        return path if path.name in names else path.parent / names[0]

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder; none where it is missing."""
        return [name for names in self._names(folder).values() for name in names]

    def add(self, path: Path) -> None:
        """Note that `path` is there now, and so is every folder above it."""
        current = path
        while True:
            names = self._names(current.parent).setdefault(fold(current.name), [])
            if current.name in names:
                return
            names.append(current.name)
            current = current.parent

    def remove(self, path: Path, *, root: Path) -> None:
        """Note that `path` is gone, and every folder above it, up to `root`, that is empty then."""
        current = path
        while current != root:
            names = self._names(current.parent)
            rest = [name for name in names.get(fold(current.name), ()) if name != current.name]
            if rest:
                names[fold(current.name)] = rest
            else:
                names.pop(fold(current.name), None)
            current = current.parent
            if self._names(current):
                return

    def forget(self, folder: Path) -> None:
        """Look at `folder` and those above it afresh when asked again: somebody else changed it."""
        for known in (folder, *folder.parents):
            self._folders.pop(known, None)

    def _names(self, folder: Path) -> dict[str, list[str]]:
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = {}
            try:
                found = sorted(os.listdir(folder))
            except (FileNotFoundError, NotADirectoryError):
                found = []
            for name in found:
                known.setdefault(fold(name), []).append(name)
        return known
