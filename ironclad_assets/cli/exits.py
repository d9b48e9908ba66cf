"""How a command ends: its exit code, and one line about what went wrong.

Every command does its work inside `door`, so that no error of this project reaches the terminal as a
traceback and every one has an exit code that a script can rely on. A command is one request: what it does to
jobs and to the installation carries one id, which `--json` tells where something went wrong.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import typer

from ironclad_assets.errors import ErrorCode, IroncladError, Refusal, StorageUnavailable
from ironclad_assets.intake.names import printable
from ironclad_assets.telemetry.request import bind_request, current_request


class Exit(IntEnum):
    """The published exit codes."""

    OK = 0
    JOB_FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNHEALTHY = 5
    INTERRUPTED = 130


MEANINGS = {
    Exit.OK: "ok",
    Exit.JOB_FAILED: "a job failed or was canceled",
    Exit.USAGE: "wrong usage",
    Exit.NOT_FOUND: "file, job or song not found",
    Exit.REFUSED: "refused or a duplicate",
    Exit.UNHEALTHY: "unhealthy or storage away",
    Exit.INTERRUPTED: "interrupted with Ctrl-C",
}
"""What each code tells, in every command's help and in `docs/commands.md`."""

EXIT_HELP = f"Exit codes: {'; '.join(f'{int(code)} {meaning}' for code, meaning in MEANINGS.items())}."

_BY_CODE = {
    ErrorCode.UNKNOWN_JOB: Exit.NOT_FOUND,
    ErrorCode.UNKNOWN_SONG: Exit.NOT_FOUND,
    ErrorCode.UNKNOWN_RECEIPT: Exit.NOT_FOUND,
    ErrorCode.UNKNOWN_BACKUP: Exit.NOT_FOUND,
    ErrorCode.BACKUP_DAMAGED: Exit.UNHEALTHY,
    ErrorCode.SCHEMA_MISMATCH: Exit.UNHEALTHY,
    ErrorCode.PORT_TAKEN: Exit.UNHEALTHY,
    ErrorCode.ALREADY_RUNNING: Exit.UNHEALTHY,
    ErrorCode.SERVICE_DOWN: Exit.UNHEALTHY,
    ErrorCode.INTERNAL: Exit.UNHEALTHY,
}


class MissingFile(Refusal):
    """A file named on the command line is not there."""

    code = ErrorCode.UNREADABLE


def exit_code(error: IroncladError) -> Exit:
    """Return the exit code that tells `error` to a script."""
    if isinstance(error, StorageUnavailable):
        return Exit.UNHEALTHY
    if isinstance(error, MissingFile):
        return Exit.NOT_FOUND
    return _BY_CODE.get(error.code, Exit.REFUSED)


def error_document(error: IroncladError) -> dict[str, str]:
    """Return `error` as JSON says it."""
    return {"code": error.code.code, "detail": error.detail, "remedy": error.code.facts.remedy}


def say_error(error: IroncladError, *, as_json: bool) -> None:
    """Write one line about `error` to standard error."""
    document = {"error": error_document(error), "request_id": current_request()}
    said = json.dumps(document) if as_json else printable(error.describe())
    print(said, file=sys.stderr)


@contextmanager
def door(*, as_json: bool) -> Iterator[None]:
    """Bind the command's request id, and turn what goes wrong inside into one line and an exit code."""
    with bind_request(), _shown(as_json=as_json):
        yield


@contextmanager
def _shown(*, as_json: bool) -> Iterator[None]:
    try:
        yield
    except IroncladError as error:
        say_error(error, as_json=as_json)
        raise typer.Exit(exit_code(error)) from error
    except KeyboardInterrupt as interrupt:
        print("interrupted", file=sys.stderr)
        raise typer.Exit(Exit.INTERRUPTED) from interrupt
    except typer.Abort as abort:
        print("nothing was done; with --yes nobody is asked", file=sys.stderr)
        raise typer.Exit(Exit.INTERRUPTED) from abort
    except typer.Exit:
        raise
    except Exception as error:  # the door: one line instead of a traceback
        say_error(IroncladError(f"{type(error).__name__}: {error}"), as_json=as_json)
        raise typer.Exit(Exit.UNHEALTHY) from error


def end(code: Exit) -> None:
    """End the command with `code`."""
    if code is not Exit.OK:
        raise typer.Exit(code)
