"""How backups look on a terminal, and in JSON. What is done with them is in `backup_commands`."""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import JustifyMethod
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from ironclad_assets.intake.names import printable
from ironclad_assets.upkeep.backup.create import Made
from ironclad_assets.upkeep.backup.manifest import BackupManifest
from ironclad_assets.upkeep.backup.restore import Restored
from ironclad_assets.upkeep.backup.verify import Verified

ID_WIDTH = len("20261121t033000000000z")
"""Ids are shown whole where the terminal is narrow: they are what the other commands are given."""

MOST_SHOWN = 20
"""Warnings that a terminal gets; JSON has all."""


def tell(*, as_json: bool) -> Callable[[str], None]:
    """Return what tells people of progress, on standard error; with JSON nothing does."""
    if as_json:
        return lambda text: None
    return lambda text: print(printable(text), file=sys.stderr, flush=True)


def manifest_document(manifest: BackupManifest) -> dict[str, Any]:
    """Return what JSON says of a backup."""
    document = manifest.model_dump(mode="json", exclude={"objects", "contents", "sealed_identity", "format"})
    return {**document, "stored_bytes": sum(one.size_bytes for one in (manifest.contents, *manifest.objects))}


def made_document(made: Made) -> dict[str, Any]:
    """Return what JSON says of a backup that was just made."""
    return {
        **manifest_document(made.manifest),
        "folder": str(made.folder),
        "copied_bytes": made.copied_bytes,
        "warnings": list(made.warnings),
    }


def verified_document(found: Verified) -> dict[str, Any]:
    """Return what JSON says of a backup that was read."""
    return {
        "id": found.backup,
        "whole": found.whole,
        "objects": found.objects,
        "read_bytes": found.read_bytes,
        "contents": found.contents,
        "damage": found.damage,
        "put_aside": found.put_aside,
    }


def restored_document(restored: Restored) -> dict[str, Any]:
    """Return what JSON says of a restore."""
    return {
        "id": restored.backup,
        "songs": restored.songs,
        "files": restored.files,
        "size_bytes": restored.size_bytes,
        "left_out": restored.left_out,
        "requeued": restored.requeued,
        "rebuilt": restored.rebuilt,
        "deleted_again": restored.deleted_again,
        "other_settings": restored.other_settings,
        "warnings": restored.warnings,
    }


def backups_table(documents: Iterable[Mapping[str, Any]]) -> Table:
    """Return the backups, a row each. Ids have the time of day."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("id", no_wrap=True, min_width=ID_WIDTH)
    table.add_column("made", no_wrap=True)
    for heading in ("songs", "files", "size", "stored", "encrypted", "also"):
        justify: JustifyMethod = "right" if heading in ("songs", "files", "size", "stored") else "left"
        table.add_column(heading, justify=justify, overflow="fold")
    for one in documents:
        if "damaged" in one:
            table.add_row(one["id"], Text(printable(one["damaged"]), style="red"))
            continue
        table.add_row(
            one["id"],
            one["created_at"][:10],
            str(one["songs"]),
            str(one["files"]),
            decimal(one["size_bytes"]),
            decimal(one["stored_bytes"]),
            "yes" if one["encryption"] != "none" else "no",
            ", ".join(one["extras"]),
        )
    return table


def say_made(made: Made, *, same_disk: bool) -> None:
    """Print what was made, and what its owner should know."""
    manifest = made.manifest
    print(
        f"made backup {manifest.id}: {manifest.songs} songs, {manifest.files} files of {decimal(manifest.size_bytes)}, "
        f"{decimal(made.copied_bytes)} new in {made.folder}"
    )
    _say_warnings(made.warnings)
    if same_disk:
        print(
            "warning: it is on the same disk as the store, and lost with it; set IRONCLAD_BACKUP_PATH to another",
            file=sys.stderr,
        )


def say_verified(found: Verified) -> None:
    """Print what reading a backup found."""
    if found.whole:
        sealed = "; whether it opens was not tried, for want of a key" if found.contents == "sealed" else ""
        print(f"backup {found.backup} is whole: {found.objects} objects, {decimal(found.read_bytes)} read{sealed}")
        return
    print(f"backup {found.backup} is damaged:")
    for line in found.damage[:MOST_SHOWN]:
        print(f"  {printable(line)}")
    if len(found.damage) > MOST_SHOWN:
        print(f"  and {len(found.damage) - MOST_SHOWN} more")


def say_restored(restored: Restored) -> None:
    """Print what a restore came to, and what comes next."""
    print(
        f"restored backup {restored.backup}: {restored.songs} songs, {restored.files} files of "
        f"{decimal(restored.size_bytes)}"
    )
    if restored.requeued:
        print(f"{restored.requeued} jobs that were running wait again")
    if restored.rebuilt:
        print(f"{restored.rebuilt} songs are queued to be made again, as the backup has no library files of theirs")
    if restored.deleted_again:
        print(f"{restored.deleted_again} songs and users that were deleted since the backup will be deleted again")
    for name, value in restored.other_settings.items():
        print(f"when the backup was made IRONCLAD_{name.upper()} was {printable(str(value))}")
    _say_warnings(restored.warnings)
    print("start it with: pipelinectl up")


def _say_warnings(warnings: Iterable[str]) -> None:
    lines = list(warnings)
    for line in lines[:MOST_SHOWN]:
        print(f"warning: {printable(line)}", file=sys.stderr)
    if len(lines) > MOST_SHOWN:
        print(f"warning: and {len(lines) - MOST_SHOWN} more", file=sys.stderr)
