"""The options that several commands share, each spelled and explained once."""

from pathlib import Path
from typing import Annotated

import typer

from ironclad_assets.contracts.v1.options import OutputFormat

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Follow = Annotated[
    bool,
    typer.Option("--follow", "-f", help="Show progress until the job has ended; with --json, a document a line."),
]
Files = Annotated[list[Path], typer.Argument(help="Audio files; they are copied.", metavar="FILE...")]
JobName = Annotated[
    str, typer.Argument(help="A job id, the first characters of one, or a song id.", metavar="JOB", show_default=False)
]
AnyJobName = Annotated[
    str | None,
    typer.Argument(
        help="A job id, the first characters of one, or a song id; default: the latest jobs.", metavar="[JOB]"
    ),
]
Engine = Annotated[str | None, typer.Option(help="Engine; see `pipelinectl engines list`.", show_default=False)]
Model = Annotated[str | None, typer.Option(help="Model of the engine.", show_default=False)]
Targets = Annotated[
    str | None,
    typer.Option(
        help="What to make, separated by commas: instrumental, a stem, or stems joined by +.",
        metavar="TARGET,...",
        show_default=False,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(help=f"File format: {', '.join(OutputFormat)}.", metavar="FORMAT", show_default=False),
]
User = Annotated[str | None, typer.Option(help="Owner; default: the default user.", show_default=False)]


def split_targets(text: str | None) -> tuple[str, ...] | None:
    """Return the targets in a list with commas."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())
