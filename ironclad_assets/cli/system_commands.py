"""The commands about the system itself: up, demo, health."""

import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ironclad_assets.cli.arguments import AsJson
from ironclad_assets.cli.exits import Exit, door, end
from ironclad_assets.cli.health import Finding, examine
from ironclad_assets.cli.installation import open_installation, read_settings
from ironclad_assets.cli.show import open_console, print_json, print_json_line
from ironclad_assets.intake.names import printable
from ironclad_assets.supervisor.demo import run_demo
from ironclad_assets.supervisor.system import run_system


def up(as_json: AsJson = False) -> None:
    """Start the whole system and keep it running until Ctrl-C.

    Prepares the store and the ledger, then runs the code server, the daemon and the Dagster UI.

    \b
    Examples:
      pipelinectl up
      IRONCLAD_HOME=/srv/ironclad IRONCLAD_WEB_PORT=8080 pipelinectl up
    """
    with door(as_json=as_json):
        report = (lambda text: print_json_line({"event": text})) if as_json else (lambda text: print(text, flush=True))
        code = run_system(read_settings(), report=report)
        end(Exit(code))


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the system running afterwards.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a song, send it through everything, and show what happened.

    Uses a home of its own, so that nothing of yours is touched. With --json the picture goes to standard error.

    \b
    Example:
      pipelinectl demo
    """
    with door(as_json=as_json):
        if not as_json:
            end(Exit(run_demo(read_settings(), keep=keep)))
            return
        with redirect_stdout(sys.stderr):
            code = run_demo(read_settings(), keep=keep)
        print_json({"completed": code == Exit.OK, "exit_code": code})
        end(Exit(code))


def health(as_json: AsJson = False) -> None:
    """Say whether every part is well, and what to do where it is not.

    \b
    Examples:
      pipelinectl health
      pipelinectl health --json
    """
    with door(as_json=as_json):
        findings = examine(open_installation(require_ledger=False))
        well = all(finding.well for finding in findings)
        if as_json:
            parts = {one.part: {"well": one.well, "detail": one.detail, "remedy": one.remedy} for one in findings}
            print_json({"well": well, "parts": parts})
        else:
            open_console().print(_finding_table(findings))
        end(Exit.OK if well else Exit.UNHEALTHY)


def _finding_table(findings: list[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        said = finding.detail if finding.well else f"{finding.detail}; {finding.remedy}"
        mark = Text("ok", style="green") if finding.well else Text("not ok", style="red")
        table.add_row(Text(finding.part, style="bold"), mark, Text(printable(said)))
    return table
