"""The commands about engines: list, install, verify, remove, doctor. What they show is in `engine_show`."""

from typing import Annotated

import typer
from rich.console import Console

from ironclad_assets.cli.arguments import AsJson
from ironclad_assets.cli.engine_show import (
    engine_documents,
    environment_document,
    finding_document,
    finding_table,
    print_engines,
    verification_table,
)
from ironclad_assets.cli.exits import Exit, door, end, error_document
from ironclad_assets.cli.installation import open_installation
from ironclad_assets.cli.installed_engines import engine_of, engines_of
from ironclad_assets.cli.listener import TerminalListener
from ironclad_assets.cli.show import open_console, print_json
from ironclad_assets.contracts.v1.environments import Verification
from ironclad_assets.engine_host.doctor import examine_engines
from ironclad_assets.engine_host.environments import EnvironmentState, find_environments
from ironclad_assets.engine_host.installing import remove_environments
from ironclad_assets.engine_host.interpreters import find_interpreters
from ironclad_assets.engine_host.machine import read_machine
from ironclad_assets.engine_host.registry import find_engine_problems
from ironclad_assets.engine_host.selftest import verify_engine
from ironclad_assets.engine_host.setting_up import choose_environments, set_up
from ironclad_assets.errors import IroncladError

Names = Annotated[
    list[str], typer.Argument(help="Engines; see `pipelinectl engines list`.", metavar="NAME...", show_default=False)
]
Name = Annotated[
    str, typer.Argument(help="An engine; see `pipelinectl engines list`.", metavar="NAME", show_default=False)
]


def list_engines(as_json: AsJson = False) -> None:
    """List the engines, their models and stems, and whether they could run now.

    \b
    Examples:
      pipelinectl engines list
      pipelinectl engines list --json
    """
    with door(as_json=as_json):
        installation = open_installation(require_ledger=False)
        engines = engines_of(installation.settings)
        if as_json:
            print_json({"engines": engine_documents(engines, settings=installation.settings)})
        else:
            print_engines(open_console(), engines, settings=installation.settings)
            for error in find_engine_problems(installation.settings.engines_path):
                Console(stderr=True).print(f"left out: {error.detail}", style="yellow", markup=False, soft_wrap=True)


def install_engines(
    names: Names,
    environment: Annotated[
        list[str] | None,
        typer.Option("--environment", help="Only this one of its environments; may be repeated.", show_default=False),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Build environments anew that are there already.")] = False,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Leave out the self-test at the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build the environments of engines with pip, each from its own pinned requirements.

    Looks first whether the machine can run them, says what it will download and where to, and tries every
    model at the end whose weights are there. Weights are fetched by `pipelinectl models fetch`. What is
    there already is left alone, so it can be run again at any time.

    \b
    Examples:
      pipelinectl engines install demucs
      pipelinectl engines install spleeter --environment default
      PIP_INDEX_URL=https://pypi.example.org/simple pipelinectl engines install demucs spleeter
    """
    with door(as_json=as_json):
        installation = open_installation(require_ledger=False)
        settings = installation.settings
        engines = {name: engine_of(installation.settings, name) for name in names}
        chosen = {name: choose_environments(one, only=environment or ()) for name, one in engines.items()}
        machine, interpreters = read_machine(), find_interpreters()
        problems: list[IroncladError] = []
        with TerminalListener(quiet=as_json) as listener:
            for name, one in engines.items():
                problems += set_up(
                    one,
                    environments=chosen[name],
                    machine=machine,
                    interpreters=interpreters,
                    logs=settings.home_dir / "logs",
                    listener=listener,
                    again=again,
                )
            tried = () if no_verify else engines.values()
            verified = [verify_engine(one, settings=settings, listener=listener) for one in tried]
        if as_json:
            states = [state for one in engines.values() for state in find_environments(one)]
            _print_install(states, problems=problems, verified=verified)
        else:
            _print_verified(verified)
        for problem in problems:
            raise problem
        end(Exit.OK if all(_unbroken(one) for one in verified) else Exit.UNHEALTHY)


def _print_install(
    states: list[EnvironmentState], *, problems: list[IroncladError], verified: list[Verification]
) -> None:
    print_json(
        {
            "environments": [environment_document(state) for state in states],
            "problems": [error_document(problem) for problem in problems],
            "verified": [one.model_dump(mode="json") for one in verified],
        }
    )


def verify_engines(
    names: Names,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Only this model; may be repeated.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take a short song through the real workers of engines, and see whether every promise is kept.

    Tries each model whose weights are there: whole, finite and differing stems of the right length, on the
    device that was asked for; the same bytes after the worker was killed; a clear refusal of a bad request.

    \b
    Examples:
      pipelinectl engines verify spectral
      pipelinectl engines verify demucs --model htdemucs --json
    """
    with door(as_json=as_json):
        installation = open_installation(require_ledger=False)
        engines = [engine_of(installation.settings, name) for name in names]
        wanted = tuple(model or ())
        for name in wanted:
            for engine in engines:
                engine.model(name)
        with TerminalListener(quiet=as_json) as listener:
            verified = [
                verify_engine(engine, settings=installation.settings, listener=listener, models=wanted)
                for engine in engines
            ]
        if as_json:
            print_json({"verified": [{**one.model_dump(mode="json"), "passed": one.passed} for one in verified]})
        else:
            _print_verified(verified)
        end(Exit.OK if all(one.passed for one in verified) else Exit.UNHEALTHY)


def _print_verified(verified: list[Verification]) -> None:
    for one in verified:
        open_console().print(verification_table(one))


def _unbroken(verification: Verification) -> bool:
    """Return whether no model failed; after an installation there may be none to try yet."""
    return not any(test.outcome == "failed" for test in verification.tests)


def remove_engine(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete the environments of an engine. Its models and everybody's stems stay.

    \b
    Examples:
      pipelinectl engines remove demucs
      pipelinectl engines remove demucs --yes
    """
    with door(as_json=as_json):
        engine = engine_of(open_installation(require_ledger=False).settings, name)
        there = [
            state.folder for state in find_environments(engine) if state.folder is not None and state.folder.exists()
        ]
        if there and not yes:
            listed = ", ".join(str(folder) for folder in there)
            typer.confirm(f"Delete {listed}?", abort=True, err=True)
        removed = [str(folder) for folder in remove_environments(engine)]
        if as_json:
            print_json({"removed": removed})
        else:
            print("\n".join(f"removed {folder}" for folder in removed) or f"{name} has no environments here")


def doctor(as_json: AsJson = False) -> None:
    """Say what this machine offers to engines, what each engine lacks, and what to do about it.

    Needs no engine to be installed, and changes nothing. Ends with 5 where something stands in the way.

    \b
    Examples:
      pipelinectl engines doctor
      pipelinectl engines doctor --json
    """
    with door(as_json=as_json):
        installation = open_installation(require_ledger=False)
        findings = list(examine_engines(engines_of(installation.settings), settings=installation.settings))
        well = not any(finding.level == "problem" for finding in findings)
        if as_json:
            print_json({"well": well, "findings": [finding_document(finding) for finding in findings]})
        else:
            open_console().print(finding_table(findings))
        end(Exit.OK if well else Exit.UNHEALTHY)
