"""Setting an engine up: each of its environments, the one it cannot do without first.

An engine may have further environments for some of its models. Where one of those cannot be built, the
others are still of use, so that is told at the end and stops nothing.
"""

from collections.abc import Sequence
from pathlib import Path

from ironclad_assets.contracts.v1.engine import DEFAULT_ENVIRONMENT
from ironclad_assets.engine_host.environments import find_environment
from ironclad_assets.engine_host.installing import InstallPlan, install, plan_install
from ironclad_assets.engine_host.interpreters import Interpreter
from ironclad_assets.engine_host.listening import Listener
from ironclad_assets.engine_host.machine import Machine
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.errors import ErrorCode, IroncladError, failure


def choose_environments(engine: InstalledEngine, *, only: Sequence[str]) -> tuple[str, ...]:
    """Return which environments of `engine` to set up, the default one first.

    Raises:
        IroncladError: ``BAD_OPTION``: `only` names one that there is not.
    """
    there = engine.environment_specs()
    for name in only:
        if name not in there:
            known = ", ".join(there) or "none of its own"
            detail = f"{engine.manifest.name} has no environment {name!r}, only {known}"
            raise failure(ErrorCode.BAD_OPTION, detail)
    return tuple(name for name in there if not only or name in only)


def set_up(
    engine: InstalledEngine,
    *,
    environments: Sequence[str],
    machine: Machine,
    interpreters: Sequence[Interpreter],
    logs: Path,
    listener: Listener,
    again: bool = False,
) -> tuple[IroncladError, ...]:
    """Build the environments that are not there yet or no longer fit; return what stopped further ones.

    Args:
        engine: whose environments they are.
        environments: from `choose_environments`.
        machine: what they will run on.
        interpreters: what they may be made with.
        logs: folder for pip's output, a file per environment.
        listener: is told what happens.
        again: build those anew that are there and fit.

    Raises:
        IroncladError: ``INSTALL_FAILED`` or ``ENGINE_UNAVAILABLE``: the engine's default environment, or the
            only one that was asked for, cannot be built.
    """
    if not environments:
        listener.step(f"{engine.manifest.name}: runs in the core's own environment; nothing to install")
    plans: list[InstallPlan] = []
    problems: list[IroncladError] = []
    for name in environments:
        state = find_environment(engine, environment=name)
        if state.state == "installed" and not again:
            listener.step(f"{engine.environment_folder(name).name}: is installed and up to date")
            continue
        try:
            plans.append(plan_install(engine, environment=name, machine=machine, interpreters=interpreters))
        except IroncladError as error:
            problems.append(_excuse(error, environment=name, environments=environments, listener=listener))
    for plan in plans:
        try:
            _install(plan, log_path=logs / f"install-{plan.label}.log", listener=listener, again=again)
        except IroncladError as error:
            problems.append(_excuse(error, environment=plan.environment, environments=environments, listener=listener))
    return tuple(problems)


def _excuse(
    error: IroncladError, *, environment: str, environments: Sequence[str], listener: Listener
) -> IroncladError:
    """Return `error` where the rest goes on without that environment; else raise it."""
    if environment == DEFAULT_ENVIRONMENT or len(environments) == 1:
        raise error
    listener.step(f"{error.detail}; going on without it")
    return error


def _install(plan: InstallPlan, *, log_path: Path, listener: Listener, again: bool) -> None:
    for note in plan.notes:
        listener.step(f"{plan.label}: {note}")
    state = install(plan, log_path=log_path, listener=listener, again=again)
    if state.record is not None:
        listener.step(f"{plan.label}: installed in {state.record.seconds:.0f} s, {len(state.record.packages)} packages")
