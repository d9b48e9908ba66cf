"""The options that several commands share, each spelled and explained once."""

from pathlib import Path
from typing import Annotated

import typer

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
User = Annotated[str | None, typer.Option(help="Owner; default: the default user.", show_default=False)]
OneUser = Annotated[
    str | None, typer.Option("--user", help="Only jobs of this user.", metavar="USER", show_default=False)
]
Priority = Annotated[int, typer.Option(help="-100 to 100; among waiting jobs larger goes first.", metavar="NUMBER")]
