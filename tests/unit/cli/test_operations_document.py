"""docs/operations.md names only commands and options that exist."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

from ironclad_assets.cli.main import build_app

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "operations.md"


@cache
def app() -> typer.Typer:
    return build_app()


@cache
def tree() -> object:
    return typer.main.get_command(app())


@cache
def shown(*path: str) -> str:
    """Return a command's help, each asked for once."""
    done = CliRunner().invoke(app(), [*path, "--help"])
    assert done.exit_code == 0
    return done.stdout


def lines() -> list[str]:
    """Return every command line in the document, in blocks and in sentences, each once."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.findall(r"(?:^|[ `])(pipelinectl(?: [^`\n]+)?)(?=`|$)", text, flags=re.MULTILINE)
    return sorted({line.strip() for line in found if " " in line.strip()})


@pytest.mark.parametrize("line", lines())
def test_command_exists_with_its_options(line: str) -> None:
    """OPS-001: each command that shows and each that cures."""
    words = shlex.split(line.split(" (")[0])[1:]
    command = tree()
    path: list[str] = []
    while isinstance(command, TyperGroup):
        assert words, f"{line}: which of {sorted(command.commands)}?"
        assert words[0] in command.commands, f"{line}: no command {words[0]}"
        path.append(words[0])
        command = command.commands[words.pop(0)]
    assert isinstance(command, TyperCommand)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in known, f"{line}: no option {word}"
    assert "Usage" in shown(*path)


def test_every_incident_names_a_command() -> None:
    """OPS-001."""
    text = DOCUMENT.read_text(encoding="utf-8").partition("## When something is wrong")[2]
    incidents = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    assert len(incidents) >= 10
    for incident in incidents:
        assert "pipelinectl" in incident, incident.splitlines()[0]
