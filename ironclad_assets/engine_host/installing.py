"""Building an engine's environment: check the machine, make a virtual environment, let pip fill it, prove it.

Virtual environments cannot be moved, so one is built where it will stay, under a marker that is removed
last. An interrupted build is seen by its marker and done again; a failed one leaves what was there before.
"""

import os
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ironclad_assets.contracts.v1.engine import EnvironmentSpec
from ironclad_assets.contracts.v1.environments import EnvironmentRecord
from ironclad_assets.engine_host.environments import (
    RECORD_NAME,
    EnvironmentState,
    constraints_path,
    find_environment,
    hash_recipe,
)
from ironclad_assets.engine_host.interpreters import Interpreter, choose_interpreter
from ironclad_assets.engine_host.listening import Listener
from ironclad_assets.engine_host.locks import hold_lock
from ironclad_assets.engine_host.machine import Machine, free_bytes
from ironclad_assets.engine_host.probe import Contents, ProbeError, read_contents
from ironclad_assets.engine_host.registry import BUILDING_MARKER, InstalledEngine
from ironclad_assets.errors import ErrorCode, IroncladError, failure
from ironclad_assets.storage import atomic

MEBIBYTE = 1024**2
UNPACKED_RATIO = 4
"""Disk that an environment takes while it is built, per byte downloaded: wheels, their content, compiled modules."""

SMALLEST_MIB = 100
_DROPPED = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT")
_UNLOGGED = ("Looking in indexes:", "Looking in links:")
"""Lines of pip that name where this machine gets its packages from, which is nobody else's business."""


@dataclass(frozen=True, slots=True)
class InstallPlan:
    """What building one environment takes, known before anything is changed."""

    engine: InstalledEngine
    environment: str
    interpreter: Interpreter
    folder: Path
    notes: tuple[str, ...]

    @property
    def spec(self) -> EnvironmentSpec:
        return self.engine.environment_specs()[self.environment]

    @property
    def label(self) -> str:
        return self.folder.name


def plan_install(
    engine: InstalledEngine, *, environment: str, machine: Machine, interpreters: Iterable[Interpreter]
) -> InstallPlan:
    """Return the plan for one environment.

    Raises:
        IroncladError: ``INSTALL_FAILED``: the machine lacks a fitting Python, a processor feature or disk
            space; ``ENGINE_UNAVAILABLE``: the manifest is wrong.
    """
    spec = engine.environment_specs()[environment]
    folder = engine.environment_folder(environment)
    constraints_path(engine, environment=environment)
    if folder.is_symlink():
        raise failure(ErrorCode.INSTALL_FAILED, f"{folder} is a link to another environment; remove the link first")
    _check_processor(spec, label=folder.name, machine=machine)
    interpreter = choose_interpreter(spec.python, interpreters=interpreters, who=folder.name)
    needed_mib = max(SMALLEST_MIB, spec.download_mib * UNPACKED_RATIO)
    free_mib = free_bytes(folder) // MEBIBYTE
    if free_mib < needed_mib:
        detail = f"{folder.name} needs {needed_mib} MiB of disk in {folder.parent}, which has {free_mib} MiB"
        raise failure(ErrorCode.INSTALL_FAILED, detail)
    download = f"{spec.download_mib} MiB" if spec.download_mib else "a few MiB"
    notes = (
        f"downloads about {download} from pip's configured index",
        f"builds {folder} with Python {interpreter.version} (up to {needed_mib} MiB of disk)",
        _gpu_note(engine, machine=machine),
    )
    return InstallPlan(engine, environment, interpreter, folder, notes=tuple(note for note in notes if note))


def _check_processor(spec: EnvironmentSpec, *, label: str, machine: Machine) -> None:
    if machine.cpu_features is None:  # the kernel does not tell: the import at the end will
        return
    if lacking := sorted(set(spec.cpu_features) - machine.cpu_features):
        raise failure(
            ErrorCode.INSTALL_FAILED,
            f"{label} needs a processor with {', '.join(lacking)}, which {machine.cpu_model} has not; "
            "use another engine on this machine",
        )


def _gpu_note(engine: InstalledEngine, *, machine: Machine) -> str:
    if "cuda" not in engine.manifest.devices:
        return ""
    if machine.gpus:
        return f"sees {', '.join(gpu.name for gpu in machine.gpus)}: use it with IRONCLAD_ENGINE_DEVICE=cuda"
    return f"sees no GPU ({machine.gpu_problem}): it computes on the processor"


def install(plan: InstallPlan, *, log_path: Path, listener: Listener, again: bool = False) -> EnvironmentState:
    """Build the environment of `plan`, unless it is there and built from the same recipe; return its state.

    Args:
        plan: from `plan_install`.
        log_path: file that gets what pip prints.
        listener: is told every step.
        again: build it anew even so.

    Raises:
        IroncladError: ``BUSY``; ``INSTALL_FAILED``, with the last words of pip and the log; what was there before is
            there again.
    """
    folder = plan.folder
    busy = failure(ErrorCode.BUSY, f"{plan.label} is being installed by another command")
    with hold_lock(folder.parent / f".{folder.name}.lock", busy=busy) as lock:
        before = find_environment(plan.engine, environment=plan.environment)
        if before.state == "installed" and not again:
            return before
        old = folder.parent / f".{folder.name}.old"
        _set_aside(folder, old=old)
        try:
            atomic.make_folder(folder)
            (folder / BUILDING_MARKER).touch()
            _build(plan, log=_Log(log_path, listener=listener), lock=lock)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
        return find_environment(plan.engine, environment=plan.environment)


def _set_aside(folder: Path, *, old: Path) -> None:
    """Move what is in the way to `old`, from where a failed build takes it back; drop what is not whole."""
    if (folder / BUILDING_MARKER).exists():
        shutil.rmtree(folder)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)


def _build(plan: InstallPlan, *, log: "_Log", lock: int) -> None:
    started = time.monotonic()
    spec, folder = plan.spec, plan.folder
    python = folder / "bin" / "python"
    log.say(f"{plan.label}: making the environment")
    _run([str(plan.interpreter.path), "-m", "venv", str(folder)], log=log, lock=lock, label=plan.label)
    for packages in (spec.first, spec.requirements):
        if packages:
            log.say(f"{plan.label}: pip installs {', '.join(packages)}")
            _run(pip_command(python, plan=plan, packages=packages), log=log, lock=lock, label=plan.label)
    log.say(f"{plan.label}: importing {', '.join(modules_of(spec))}")
    contents = _prove(plan, python=python, log=log)
    record = EnvironmentRecord(
        engine=plan.engine.manifest.name,
        environment=plan.environment,
        recipe_sha256=hash_recipe(plan.engine, environment=plan.environment),
        python=contents.python,
        packages=dict(sorted(contents.packages.items())),
        built_at=datetime.now(UTC),
        seconds=round(time.monotonic() - started, 1),
    )
    atomic.write_bytes(folder / RECORD_NAME, record.model_dump_json(indent=1).encode() + b"\n")
    (folder / BUILDING_MARKER).unlink()
    atomic.sync_folder(folder)


def modules_of(spec: EnvironmentSpec) -> tuple[str, ...]:
    """Return the modules that prove an environment: those the manifest names, and what the harness needs."""
    return tuple(dict.fromkeys((*spec.modules, "numpy")))


def pip_command(python: Path, *, plan: InstallPlan, packages: Sequence[str]) -> list[str]:
    """Return the command that installs `packages` under the plan's constraints."""
    command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--only-binary", ":all:"]
    for name in plan.spec.from_source:
        command += ["--no-binary", name]
    constraints = constraints_path(plan.engine, environment=plan.environment)
    if constraints is not None:
        command += ["--constraint", str(constraints)]
    return [*command, "--", *packages]


def _prove(plan: InstallPlan, *, python: Path, log: "_Log") -> Contents:
    try:
        contents = read_contents(python, modules=modules_of(plan.spec), variables=plan.spec.variables)
    except ProbeError as error:
        raise _failed(plan.label, f"its interpreter {error}", log=log) from error
    if contents.failed:
        name, why = next(iter(contents.failed.items()))
        raise _failed(plan.label, f"{name} cannot be imported: {why}", log=log)
    return contents


class _Log:
    """What pip prints: all of it to a file, the last lines in memory, the newest to whoever watches."""

    def __init__(self, path: Path, *, listener: Listener) -> None:
        atomic.make_folder(path.parent)
        self.path = path
        self.tail: deque[str] = deque(maxlen=50)
        self._listener = listener
        path.write_text("", encoding="utf-8")

    def say(self, text: str) -> None:
        self.take(f"== {text}")
        self._listener.step(text)

    def take(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def hear(self, line: str) -> None:
        """Take a line that a command printed."""
        if not line.strip() or line.startswith(_UNLOGGED):
            return
        self.tail.append(line)
        self.take(line)
        if line.startswith(("Collecting", "  Downloading", "Building", "Installing", "Successfully")):
            self._listener.detail(line.strip())


def _run(command: Sequence[str], *, log: _Log, lock: int, label: str) -> None:
    """Run `command` to its end; its output goes to the log, and it holds the lock as long as it lives."""
    log.tail.clear()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(lock,),
        env=_environment(os.environ),
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.hear(line.rstrip())
        status = process.wait()
    if status != 0:
        errors = [line for line in log.tail if line.startswith("ERROR")] or list(log.tail) or [f"status {status}"]
        raise _failed(label, errors[-1], log=log)


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return pip's environment: its configuration and proxies stay, what would lead it elsewhere goes."""
    kept = {name: value for name, value in inherited.items() if name not in _DROPPED}
    return {**kept, "PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1"}


def _failed(label: str, why: str, *, log: _Log) -> IroncladError:
    return failure(ErrorCode.INSTALL_FAILED, f"{label}: {why} (all of it is in {log.path})")


def remove_environments(engine: InstalledEngine) -> tuple[Path, ...]:
    """Delete the environments of `engine`, also interrupted ones; return those that were there."""
    removed = []
    for name in engine.environment_specs():
        folder = engine.environment_folder(name)
        busy = failure(ErrorCode.BUSY, f"{folder.name} is being installed by another command")
        if not folder.is_symlink() and not folder.exists():
            continue
        with hold_lock(folder.parent / f".{folder.name}.lock", busy=busy):
            if folder.is_symlink():
                folder.unlink()
            else:
                _set_aside(folder, old=(old := folder.parent / f".{folder.name}.old"))
                shutil.rmtree(old, ignore_errors=True)
        removed.append(folder)
    return tuple(removed)
