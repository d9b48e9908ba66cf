"""`pipelinectl`: the table of all commands. What a command does is in the modules beside.

Only the module of the command that is called is imported: the others would cost each call a second.
"""

import gc
import sys
from collections.abc import Callable, Iterable
from importlib import import_module

import typer

from ironclad_assets.cli.exits import EXIT_HELP
from ironclad_assets.cli.streams import outlive_readers

_COMMANDS = {
    "up": "system_commands:up",
    "demo": "system_commands:demo",
    "submit": "submit_commands:submit",
    "status": "job_commands:status",
    "queue": "job_commands:queue",
    "history": "record_commands:history",
    "retry": "attempt_commands:retry",
    "replay": "attempt_commands:replay",
    "rollback": "attempt_commands:rollback",
    "cancel": "job_commands:cancel",
    "priority": "control_commands:priority",
    "pause": "control_commands:pause",
    "resume": "control_commands:resume",
    "pauses": "control_commands:pauses",
    "audit": "record_commands:audit",
    "health": "system_commands:health",
    "restore": "backup_commands:restore",
    "migrate": "ledger_commands:migrate",
    "prune": "upkeep_commands:prune",
    "verify": "upkeep_commands:verify",
    "usage": "limit_commands:usage",
    "delete-song": "delete_commands:delete_song",
    "delete-user": "delete_commands:delete_user",
    "receipts": "delete_commands:receipts",
}
"""Commands in the order in which the help lists them, each with its module and function."""

_GROUPS: dict[str, tuple[str, dict[str, str]]] = {
    "engines": (
        "Engines: what separates a song into stems.",
        {
            "list": "engine_commands:list_engines",
            "install": "engine_commands:install_engines",
            "verify": "engine_commands:verify_engines",
            "remove": "engine_commands:remove_engine",
            "doctor": "engine_commands:doctor",
        },
    ),
    "models": (
        "Models: the weights that engines load.",
        {
            "list": "model_commands:list_models",
            "fetch": "model_commands:fetch_models",
            "import": "model_commands:import_models",
            "export": "model_commands:export_models",
            "verify": "model_commands:verify_models",
            "remove": "model_commands:remove_models",
        },
    ),
    "library": (
        "Library: where songs are filed.",
        {"preview": "library_commands:preview", "organise": "library_commands:organise"},
    ),
    "defaults": (
        "Defaults: what a user gets where a job names nothing else.",
        {
            "show": "default_commands:show_defaults",
            "set": "default_commands:set_defaults",
            "clear": "default_commands:clear_defaults",
        },
    ),
    "users": (
        "Users: who may hand in songs, and as what.",
        {
            "list": "user_commands:list_users",
            "add": "user_commands:add_user",
            "role": "user_commands:change_role",
            "disable": "user_commands:disable_user",
            "enable": "user_commands:enable_user",
        },
    ),
    "terms": (
        "Terms: what uploaders accept before their songs are worked on.",
        {
            "show": "user_commands:show_terms",
            "list": "user_commands:list_acceptances",
            "accept": "user_commands:accept_terms",
        },
    ),
    "limits": (
        "Limits: what users, roles and the installation may use.",
        {
            "show": "limit_commands:show_limits",
            "set": "limit_commands:set_limit",
            "clear": "limit_commands:clear_limit",
        },
    ),
    "backup": (
        "Backups: copies of what cannot be made again.",
        {
            "create": "backup_commands:create_backup_command",
            "list": "backup_commands:list_backups",
            "verify": "backup_commands:verify_backups",
            "remove": "backup_commands:remove_backup",
            "prune": "backup_commands:prune_backups",
            "keygen": "backup_commands:make_backup_key",
        },
    ),
    "store": (
        "Store: where the data lasts, and what of it is here.",
        {
            "show": "store_commands:show_store",
            "publish": "store_commands:publish_store",
            "evict": "store_commands:evict_store",
        },
    ),
    "ledger": (
        "Ledger: the database of songs and jobs, into a file and back.",
        {"export": "ledger_commands:export_ledger_command", "import": "ledger_commands:import_ledger_command"},
    ),
}


def build_app(names: Iterable[str] = ()) -> typer.Typer:
    """Return the command line with the commands and groups `names`, by default with all."""
    chosen = set(names) or {*_COMMANDS, *_GROUPS}
    app = typer.Typer(
        name="pipelinectl",
        help="Drop a song, get it back separated, tagged and filed in your media library.",
        epilog=EXIT_HELP,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def keep_the_name_of_a_single_command() -> None:
        """Drop a song, get it back separated, tagged and filed in your media library."""

    for name, place in _COMMANDS.items():
        if name in chosen:
            app.command(name, epilog=EXIT_HELP)(_load(place))
    for name, (help_text, commands) in _GROUPS.items():
        if name in chosen:
            group = typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)
            for inner, place in commands.items():
                group.command(inner, epilog=EXIT_HELP)(_load(place))
            app.add_typer(group, name=name)
    return app


def _load(place: str) -> Callable[..., None]:
    module, _, function = place.partition(":")
    command: Callable[..., None] = getattr(import_module(f"ironclad_assets.cli.{module}"), function)
    return command


def main() -> None:
    """Run the command line of this process."""
    outlive_readers()
    called = sys.argv[1] if len(sys.argv) > 1 else ""
    gc.disable()  # looking through what imports have made for garbage is a tenth of a short command's time
    app = build_app([called] if called in _COMMANDS or called in _GROUPS else ())
    gc.freeze()
    gc.enable()
    app()
