"""The commands about backups: create, list, verify, remove, prune, keygen; and restore."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.filesize import decimal

from ironclad_assets.cli.arguments import AsJson
from ironclad_assets.cli.backup_show import (
    backups_table,
    made_document,
    manifest_document,
    restored_document,
    say_made,
    say_restored,
    say_verified,
    tell,
    verified_document,
)
from ironclad_assets.cli.exits import Exit, door, end
from ironclad_assets.cli.installation import open_installation, read_settings
from ironclad_assets.cli.show import open_console, print_json
from ironclad_assets.errors import ErrorCode, IroncladError, Refusal, failure
from ironclad_assets.settings import Settings
from ironclad_assets.upkeep.backup.create import (
    BackupWish,
    backup_folder,
    choose_expired,
    create_backup,
    on_the_same_disk,
    require_passphrase,
    split_recipients,
)
from ironclad_assets.upkeep.backup.manifest import Extra
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.backup.restore import ALL_PARTS, Part, RestoreWish, restore_backup
from ironclad_assets.upkeep.backup.seal import Keys, make_identity, read_identities
from ironclad_assets.upkeep.backup.verify import Verified, parse_subset, verify_backup

Folder = Annotated[
    Path | None,
    typer.Option(
        "--to", "--from", help="Folder of the backups; default: IRONCLAD_BACKUP_PATH, else the store's own.",
        metavar="FOLDER", show_default=False,
    ),
]  # fmt: skip
BackupName = Annotated[
    str | None,
    typer.Argument(help="Id of a backup, or the beginning of one; default: the newest.", metavar="[ID]"),
]
IdentityFile = Annotated[
    Path | None,
    typer.Option("--identity", help="File with the key of encrypted backups.", metavar="FILE", show_default=False),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", help="File whose first line is the passphrase.", metavar="FILE", show_default=False
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def create_backup_command(
    folder: Folder = None,
    recipients: Annotated[
        list[str] | None,
        typer.Option(
            "--encrypt-to",
            help="Public key of age (age1...) that may open it; give it again for more. Default: "
            "IRONCLAD_BACKUP_RECIPIENTS.",
            metavar="RECIPIENT",
            show_default=False,
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    extras: Annotated[
        list[str] | None,
        typer.Option("--with", help="Also copy: library, stages; give it again for both.", show_default=False),
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="The folder's disk was replaced or emptied: begin there anew.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a backup while everything runs: ledger, Dagster's databases, originals, what is known of each song.

    What is in the folder already is not copied again. Library and stages can be made again and are copied on request
    alone. Ends with 5 where something could not be copied; the backup is there all the same, and names it.

    \b
    Examples:
      pipelinectl backup create
      pipelinectl backup create --to /mnt/usb/ironclad --with library
      pipelinectl backup create --to /mnt/nas/ironclad --encrypt-to age1...
    """
    with door(as_json=as_json):
        installation = open_installation()
        settings = installation.settings
        wish = BackupWish(
            folder=folder,
            recipients=recipients or split_recipients(settings),
            passphrase=require_passphrase(passphrase_file),
            extras=_read_extras(extras or []),
            by_hand=True,
            anew=anew,
        )
        made = create_backup(settings, wish=wish, actor=installation.actor, report=tell(as_json=as_json))
        same_disk = on_the_same_disk(settings, folder=made.folder)
        if as_json:
            print_json({"backup": made_document(made), "same_disk": same_disk})
        else:
            say_made(made, same_disk=same_disk)
        end(Exit.UNHEALTHY if made.warnings else Exit.OK)


def list_backups(folder: Folder = None, as_json: AsJson = False) -> None:
    """List the backups, oldest first.

    \b
    Example:
      pipelinectl backup list --from /mnt/usb/ironclad
    """
    with door(as_json=as_json):
        repository = _repository(read_settings(), folder)
        if folder is not None and not repository.is_there():
            raise failure(ErrorCode.UNKNOWN_BACKUP, f"{repository.folder} is no folder of backups")
        shown: list[dict[str, Any]] = []
        damaged = False
        for backup in repository.ids():
            try:
                shown.append(manifest_document(repository.manifest(backup)))
            except IroncladError as error:
                damaged = True
                shown.append({"id": backup, "damaged": error.detail})
        if as_json:
            print_json({"folder": str(repository.folder), "backups": shown})
        else:
            open_console().print(
                backups_table(shown) if shown else f"no backups in {repository.folder}", highlight=False
            )
        end(Exit.UNHEALTHY if damaged else Exit.OK)


def verify_backups(
    backup: BackupName = None,
    folder: Folder = None,
    every: Annotated[bool, typer.Option("--all", help="All backups.")] = False,
    subset: Annotated[
        str | None,
        typer.Option(
            help="Read one of T parts of the bytes, such as 1/7; what it says holds for that part.",
            metavar="N/T", show_default=False,
        ),
    ] = None,
    identity: IdentityFile = None,
    passphrase_file: PassphraseFile = None,
    mend: Annotated[
        bool, typer.Option("--mend", help="Put damaged objects aside, so that the next backup copies them again.")
    ] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Read every byte of a backup and compare it with what it was. Ends with 5 where one differs.

    Encrypted backups are read as they lie; with a key, their contents too.

    \b
    Examples:
      pipelinectl backup verify
      pipelinectl backup verify --all --subset 1/7
      pipelinectl backup verify 20261121t0330 --identity key.txt --json
    """
    with door(as_json=as_json):
        repository = _repository(read_settings(), folder)
        chosen = repository.ids() if every and backup is None else [repository.find(backup)]
        part = parse_subset(subset)
        found: list[Verified] = []
        for one in chosen:
            keys = _keys(repository, one, identity=identity, passphrase_file=passphrase_file)
            with repository.writing() if mend else nullcontext():
                report = tell(as_json=as_json)
                found.append(verify_backup(repository, one, identities=keys, subset=part, mend=mend, report=report))
        if as_json:
            print_json({"verified": [verified_document(one) for one in found]})
        else:
            for each in found:
                say_verified(each)
        end(Exit.OK if all(each.whole for each in found) else Exit.UNHEALTHY)


def remove_backup(
    backups: Annotated[list[str], typer.Argument(help="Ids of backups, or their beginnings.", metavar="ID...")],
    folder: Folder = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove backups, and what no other backup needs.

    \b
    Example:
      pipelinectl backup remove 20261121t0330
    """
    with door(as_json=as_json):
        repository = _repository(read_settings(), folder)
        _remove(repository, sorted({repository.find(one) for one in backups}), yes=yes, as_json=as_json)


def prune_backups(
    folder: Folder = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Keep the newest N.", metavar="N", show_default=False)] = None,
    keep_days: Annotated[
        float | None, typer.Option(min=0, help="Keep those of the last D days.", metavar="D", show_default=False)
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove all but the backups that a rule keeps; the newest stays in any case.

    \b
    Examples:
      pipelinectl backup prune --keep 7
      pipelinectl backup prune --keep 3 --keep-days 30 --yes
    """
    with door(as_json=as_json):
        if keep is None and keep_days is None:
            raise Refusal("say what to keep, with --keep or --keep-days", code=ErrorCode.BAD_OPTION)
        repository = _repository(read_settings(), folder)
        _remove(repository, choose_expired(repository, keep=keep, keep_days=keep_days), yes=yes, as_json=as_json)


def make_backup_key(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not be there.", metavar="FILE")],
    as_json: AsJson = False,
) -> None:
    """Make a key for encrypted backups, and print the public key that they are encrypted to.

    Keep the file where the backups are not, and not on this machine alone: without it they are lost.

    \b
    Example:
      pipelinectl backup keygen ironclad-key.txt
    """
    with door(as_json=as_json):
        public = make_identity(file)
        if as_json:
            print_json({"file": str(file.absolute()), "recipient": public})
        else:
            print(public)


def restore(
    backup: BackupName = None,
    folder: Folder = None,
    identity: IdentityFile = None,
    passphrase_file: PassphraseFile = None,
    home: Annotated[
        Path | None, typer.Option(help="Restore into this home; default: IRONCLAD_HOME.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Restore the store here; default: IRONCLAD_DATA.", show_default=False)
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="Restore one alone: home (ledger and Dagster; the store is there), or store (the ledger is there).",
            metavar="PART", show_default=False,
        ),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild/--no-rebuild", help="Queue complete songs whose library files were not in the backup."),
    ] = True,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Bring a backup back, on an empty machine, with one command. Then start it with `pipelinectl up`.

    Home and store must be empty, but for engines and models; nothing is ever overwritten. Killed, it goes on when the
    same command is given again. The ledger may be in another database than it was: IRONCLAD_DATABASE_URL decides.
    Songs that were deleted since the backup do not come back.

    \b
    Examples:
      pipelinectl restore --from /mnt/usb/ironclad
      pipelinectl restore 20261121t0330 --from /mnt/nas/ironclad --identity ironclad-key.txt
      pipelinectl restore --from /mnt/usb/ironclad --only home
    """
    with door(as_json=as_json):
        settings = _elsewhere(read_settings(), home=home, data=data)
        actor = open_installation(require_ledger=False).actor
        repository = _repository(settings, folder)
        chosen = repository.find(backup)
        wish = RestoreWish(
            repository=repository,
            backup=chosen,
            identities=_keys(repository, chosen, identity=identity, passphrase_file=passphrase_file),
            parts=_read_parts(only),
            rebuild=rebuild,
        )
        restored = restore_backup(settings, wish=wish, actor=actor, report=tell(as_json=as_json))
        if as_json:
            print_json({"restored": restored_document(restored)})
        else:
            say_restored(restored)


def _repository(settings: Settings, folder: Path | None) -> Repository:
    return Repository(backup_folder(settings, folder=folder))


def _elsewhere(settings: Settings, *, home: Path | None, data: Path | None) -> Settings:
    changes = {name: value for name, value in (("home", home), ("data", data)) if value is not None}
    return Settings(**{**settings.model_dump(exclude_unset=True), **changes}) if changes else settings


def _keys(repository: Repository, backup: str, *, identity: Path | None, passphrase_file: Path | None) -> Keys:
    """Return the keys that were named; none where none were."""
    passphrase = require_passphrase(passphrase_file)
    if identity is None and passphrase is None:
        return ()
    sealed = repository.manifest(backup).sealed_identity
    return read_identities(identity, passphrase=passphrase, sealed=sealed)


def _read_extras(texts: list[str]) -> list[Extra]:
    known = get_args(Extra)
    for text in texts:
        if text not in known:
            raise Refusal(f"--with {text!r} is not one of {', '.join(known)}", code=ErrorCode.BAD_OPTION)
    return [extra for extra in known if extra in texts]


def _read_parts(text: str | None) -> tuple[Part, ...]:
    chosen = tuple(part for part in ALL_PARTS if text in (None, part))
    if not chosen:
        raise Refusal(f"--only {text!r} is not one of {', '.join(ALL_PARTS)}", code=ErrorCode.BAD_OPTION)
    return chosen


def _remove(repository: Repository, backups: list[str], *, yes: bool, as_json: bool) -> None:
    if backups and not yes:
        typer.confirm(f"Remove {len(backups)} backups: {', '.join(backups)}?", abort=True, err=True)
    with repository.removing():
        freed = repository.remove(backups) if backups else 0
    if as_json:
        print_json({"removed": backups, "freed_bytes": freed, "kept": repository.ids()})
    else:
        print(f"removed {len(backups)} backups, {decimal(freed)} freed; {len(repository.ids())} kept")
