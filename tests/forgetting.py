"""Looks for what should have been forgotten: in the bytes and names of every file, in every spelling."""

import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from ironclad_assets.pipeline.ownership import read_mark


def spelled(name: str) -> set[bytes]:
    """Return a name in every form in which a file could hold it."""
    texts = {name, json.dumps(name)[1:-1], repr(name)[1:-1], quote(name)}
    return {text.encode(code) for text in texts for code in ("utf-8", "utf-16-le", "utf-16-be")}


def places_of(folder: Path, names: Iterable[str]) -> list[str]:
    """Return what below `folder` holds, is called, or is marked with one of `names`; databases and logs too."""
    found = []
    wanted = {name: spelled(name) for name in names}
    for path in sorted(folder.rglob("*")):
        label = str(path.relative_to(folder))
        found += [f"{label} is called {name}" for name in wanted if name in path.name]
        if path.is_symlink() or not path.is_file():
            continue
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # a running system writes and removes files
            continue
        found += [f"{label} holds {name}" for name, forms in wanted.items() if any(form in content for form in forms)]
        found += [f"{label} is marked {name}" for name in wanted if read_mark(path) == name]
    return found
