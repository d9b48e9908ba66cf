"""`pipelinectl`: the table of all commands and its help. What a command does is in the modules beside."""

import typer

from ironclad_assets.cli.exits import EXIT_HELP
from ironclad_assets.cli.job_commands import cancel, retry, status, submit
from ironclad_assets.cli.system_commands import demo, health, list_engines, up


def build_app() -> typer.Typer:
    """Return the command line with all its commands."""
    app = typer.Typer(
        name="pipelinectl",
        help="Drop a song, get it back separated, tagged and filed in your media library.",
        epilog=EXIT_HELP,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for command in (up, demo, submit, status, retry, cancel, health):
        app.command(epilog=EXIT_HELP)(command)
    engines = typer.Typer(
        help="Engines: what separates a song into stems.", no_args_is_help=True, rich_markup_mode=None
    )
    engines.command("list", epilog=EXIT_HELP)(list_engines)
    app.add_typer(engines, name="engines")
    return app


def main() -> None:
    """Run the command line of this process."""
    build_app()()
