"""`pipelinectl`: the table of all commands and its help. What a command does is in the modules beside."""

from collections.abc import Callable

import typer

from ironclad_assets.cli.attempt_commands import replay, retry, rollback
from ironclad_assets.cli.backup_commands import (
    create_backup_command,
    list_backups,
    make_backup_key,
    prune_backups,
    remove_backup,
    restore,
    verify_backups,
)
from ironclad_assets.cli.control_commands import pause, pauses, priority, queue, resume
from ironclad_assets.cli.default_commands import clear_defaults, set_defaults, show_defaults
from ironclad_assets.cli.delete_commands import delete_song, delete_user, receipts
from ironclad_assets.cli.engine_commands import doctor, install_engines, list_engines, remove_engine, verify_engines
from ironclad_assets.cli.exits import EXIT_HELP
from ironclad_assets.cli.job_commands import cancel, status, submit
from ironclad_assets.cli.ledger_commands import export_ledger_command, import_ledger_command, migrate
from ironclad_assets.cli.library_commands import organise, preview
from ironclad_assets.cli.limit_commands import clear_limit, set_limit, show_limits, usage
from ironclad_assets.cli.model_commands import (
    export_models,
    fetch_models,
    import_models,
    list_models,
    remove_models,
    verify_models,
)
from ironclad_assets.cli.record_commands import audit, history
from ironclad_assets.cli.store_commands import evict_store, publish_store, show_store
from ironclad_assets.cli.system_commands import demo, health, up
from ironclad_assets.cli.upkeep_commands import prune, verify
from ironclad_assets.cli.user_commands import (
    accept_terms,
    add_user,
    change_role,
    disable_user,
    enable_user,
    list_acceptances,
    list_users,
    show_terms,
)

_GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "engines": (
        "Engines: what separates a song into stems.",
        {
            "list": list_engines,
            "install": install_engines,
            "verify": verify_engines,
            "remove": remove_engine,
            "doctor": doctor,
        },
    ),
    "models": (
        "Models: the weights that engines load.",
        {
            "list": list_models,
            "fetch": fetch_models,
            "import": import_models,
            "export": export_models,
            "verify": verify_models,
            "remove": remove_models,
        },
    ),
    "library": (
        "Library: where songs are filed.",
        {"preview": preview, "organise": organise},
    ),
    "defaults": (
        "Defaults: what a user gets where a job names nothing else.",
        {"show": show_defaults, "set": set_defaults, "clear": clear_defaults},
    ),
    "users": (
        "Users: who may hand in songs, and as what.",
        {"list": list_users, "add": add_user, "role": change_role, "disable": disable_user, "enable": enable_user},
    ),
    "terms": (
        "Terms: what uploaders accept before their songs are worked on.",
        {"show": show_terms, "list": list_acceptances, "accept": accept_terms},
    ),
    "limits": (
        "Limits: what users, roles and the installation may use.",
        {"show": show_limits, "set": set_limit, "clear": clear_limit},
    ),
    "backup": (
        "Backups: copies of what cannot be made again.",
        {
            "create": create_backup_command,
            "list": list_backups,
            "verify": verify_backups,
            "remove": remove_backup,
            "prune": prune_backups,
            "keygen": make_backup_key,
        },
    ),
    "store": (
        "Store: where the data lasts, and what of it is here.",
        {"show": show_store, "publish": publish_store, "evict": evict_store},
    ),
    "ledger": (
        "Ledger: the database of songs and jobs, into a file and back.",
        {"export": export_ledger_command, "import": import_ledger_command},
    ),
}


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
    for command in (
        up,
        demo,
        submit,
        status,
        queue,
        history,
        retry,
        replay,
        rollback,
        cancel,
        priority,
        pause,
        resume,
        pauses,
        audit,
        health,
        restore,
        migrate,
        prune,
        verify,
        usage,
        delete_song,
        delete_user,
        receipts,
    ):
        app.command(epilog=EXIT_HELP)(command)
    for name, (help_text, commands) in _GROUPS.items():
        group = typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)
        for command_name, inner in commands.items():
            group.command(command_name, epilog=EXIT_HELP)(inner)
        app.add_typer(group, name=name)
    return app


def main() -> None:
    """Run the command line of this process."""
    build_app()()
