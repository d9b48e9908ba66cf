"""Pictures for the Dagster UI: it has no image type, so a small PNG travels inside Markdown."""

import base64
from pathlib import Path

import dagster as dg


def inline_picture(path: Path, *, alt: str) -> dg.MarkdownMetadataValue:
    """Return the PNG at `path` as Markdown. Keep it below 20 kB: it is stored in the event's row."""
    picture = base64.b64encode(path.read_bytes()).decode()
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{picture})")
