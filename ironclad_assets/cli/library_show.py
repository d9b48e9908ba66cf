"""How the library looks on a terminal and in JSON: what moves, and the folders as they would be.

Paths are made of tags that anybody may have written, so they go through `printable` and into rich's `Text`.
"""

from collections.abc import Iterable
from typing import Any

from rich.console import Group
from rich.text import Text
from rich.tree import Tree

from ironclad_assets.intake.names import printable
from ironclad_assets.pipeline.rearrange import Rearranged


def entry_document(one: Rearranged) -> dict[str, Any]:
    """Return one song as JSON shows it."""
    return {
        "song": one.song,
        "user": one.user_id,
        "title": one.title,
        "reason": one.reason,
        "missing": list(one.missing),
        "files": [f"{item.root}/{item.file.path}" for item in one.files],
        "moves": [
            {
                "role": move.role,
                "name": move.name,
                "from": None if move.before is None else f"{move.root}/{move.before}",
                "to": None if move.after is None else f"{move.root}/{move.after}",
            }
            for move in one.moves
        ],
    }


def draw_moves(songs: Iterable[Rearranged]) -> Group:
    """Return each song with the files that move, from where to where, and why it is left alone."""
    lines: list[Text] = []
    for one in songs:
        lines.append(Text.assemble((printable(one.title), "bold"), f"  {one.song}"))
        if one.reason:
            lines.append(Text(f"  left alone: {printable(one.reason)}", style="yellow"))
        moving = {f"{move.root}/{move.after}" for move in one.moves}
        for move in one.moves:
            before = "(new)" if move.before is None else f"{move.root}/{move.before}"
            after = "(removed)" if move.after is None else f"{move.root}/{move.after}"
            lines.append(Text(f"  {printable(before)}", style="dim"))
            lines.append(Text(f"    -> {printable(after)}"))
        lines += [Text(f"  missing: {printable(path)}", style="red") for path in one.missing]
        staying = [f"{item.root}/{item.file.path}" for item in one.files]
        lines += [Text(f"  {printable(path)}", style="dim") for path in staying if not one.moves and path not in moving]
    return Group(*lines)


def draw_tree(songs: Iterable[Rearranged]) -> Group:
    """Return the folders and files of the songs as they would be."""
    roots: dict[str, Any] = {}  # folders within folders; a file has nothing in it
    for one in songs:
        for item in one.files:
            current = roots
            for name in (item.root, *item.file.path.split("/")):
                current = current.setdefault(name, {})
    return Group(*(_tree(name, inner) for name, inner in sorted(roots.items())))


def _tree(name: str, inner: dict[str, Any]) -> Tree:  # as above
    tree = Tree(Text(printable(name), style="bold" if inner else ""))
    for child, below in sorted(inner.items()):
        tree.children.append(_tree(child, below))
    return tree
