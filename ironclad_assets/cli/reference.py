"""The reference pages that are made from the code: error codes and commands.

`python -m ironclad_assets.cli.reference docs` writes them; tests keep the files equal to what this makes.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from ironclad_assets.cli.exits import MEANINGS
from ironclad_assets.cli.main import build_app
from ironclad_assets.errors import ErrorCode
from ironclad_assets.storage import atomic

_MADE = "<!-- Made by `python -m ironclad_assets.cli.reference docs`; change the code, not this file. -->"


def make_errors_page() -> str:
    """Return `docs/errors.md`: every published error code."""
    lines = [
        "# Error codes",
        "",
        _MADE,
        "",
        "What a refused or failed job says, in the CLI, in the Dagster UI and in `error.json`. A code never changes",
        "its name. *Again* says whether the same song with the same settings may succeed at another time.",
        "",
        "| code | reason | remedy | HTTP | again |",
        "|---|---|---|---|---|",
    ]
    for code in ErrorCode:
        facts = code.facts
        again = "no" if facts.permanent else "yes"
        lines.append(f"| `{code.code}` | {facts.reason} | {facts.remedy} | {facts.http_status} | {again} |")
    return "\n".join(lines) + "\n"


def make_commands_page() -> str:
    """Return `docs/commands.md`: every command with its arguments, options and examples, and the exit codes."""
    lines = ["# Commands", "", _MADE, "", *_exit_lines()]
    for path, help_text, parameters in _commands():
        summary, _, examples = help_text.partition("\b")
        lines += ["", f"## `{path}`", "", " ".join(summary.split())]
        shown = [line for line in examples.splitlines() if line.strip() and not line.startswith("Example")]
        if shown:
            lines += ["", "```", *(line.strip() for line in shown), "```"]
        lines += ["", "| parameter | meaning |", "|---|---|", *parameters]
    return "\n".join(lines) + "\n"


def _exit_lines() -> list[str]:
    rows = [f"| {int(code)} | {meaning} |" for code, meaning in MEANINGS.items()]
    return [
        "Every command knows `--json` and ends with one of these codes:",
        "",
        "| code | meaning |",
        "|---|---|",
        *rows,
    ]


def _commands() -> Iterator[tuple[str, str, list[str]]]:
    """Yield each command's path, help and parameter rows."""
    root = typer.main.get_command(build_app())
    pending: list[tuple[tuple[str, ...], object]] = [(("pipelinectl",), root)]
    while pending:
        path, command = pending.pop(0)
        if isinstance(command, TyperGroup):
            pending += [((*path, name), command.commands[name]) for name in command.commands]
        elif isinstance(command, TyperCommand):
            yield " ".join(path), command.help or "", [_parameter_row(parameter) for parameter in command.params]


def _parameter_row(parameter: object) -> str:
    spelled = parameter.metavar if isinstance(parameter, TyperArgument) else ", ".join(getattr(parameter, "opts", ()))
    meaning = str(getattr(parameter, "help", None) or "").replace("|", "\\|")
    return f"| `{spelled}` | {meaning} |"


def main() -> None:
    """Write both pages into the folder named on the command line."""
    folder = Path(sys.argv[1])
    for name, content in (("errors.md", make_errors_page()), ("commands.md", make_commands_page())):
        atomic.write_bytes(folder / name, content.encode("utf-8"))


if __name__ == "__main__":
    main()
