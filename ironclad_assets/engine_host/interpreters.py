"""Which Python interpreters this machine has, and which one fits an engine."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from ironclad_assets.errors import ErrorCode, failure

ASK_TIMEOUT_S = 20.0
NEWEST_MINOR = 20
"""Minor versions of Python 3 that are looked for on the PATH, up to this one."""

WIDELY_HAD_MINOR = 13
"""The newest minor version that most systems and packages have."""

_QUESTION = (
    "import json, platform, sys, venv, ensurepip; "
    "print(json.dumps([platform.python_version(), getattr(sys, '_base_executable', '') or sys.executable]))"
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that can make virtual environments."""

    path: Path
    version: Version


def find_interpreters(inherited: Mapping[str, str] = os.environ) -> tuple[Interpreter, ...]:
    """Return the interpreters that can make environments: the running one first, then the newest.

    Looks at the running one, ``python3.N`` and ``python3`` on the PATH, and the versions of pyenv.
    """
    found: dict[Path, Interpreter] = {}
    for candidate in _candidates(inherited):
        interpreter = _ask(candidate)
        if interpreter is not None:
            found.setdefault(interpreter.path.resolve(), interpreter)
    running, *others = found.values() if found else (None,)
    if running is None:
        return ()
    return (running, *sorted(others, key=lambda one: one.version, reverse=True))


def _candidates(inherited: Mapping[str, str]) -> Iterator[Path]:
    yield Path(sys.executable)
    path = inherited.get("PATH")
    for name in (*(f"python3.{minor}" for minor in range(NEWEST_MINOR, 7, -1)), "python3"):
        if (there := shutil.which(name, path=path)) is not None:
            yield Path(there)
    pyenv = Path(inherited.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    yield from sorted(pyenv.glob("versions/3.*/bin/python3"), reverse=True)


def _ask(python: Path) -> Interpreter | None:
    """Return what `python` says of itself, None if it does not run or cannot make environments."""
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", _QUESTION], capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=True
        )
        version, base = json.loads(done.stdout)
        return Interpreter(path=Path(base), version=Version(version))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def choose_interpreter(wanted: str, *, interpreters: Iterable[Interpreter], who: str) -> Interpreter:
    """Return the first of `interpreters` whose version is in `wanted`.

    Args:
        wanted: a PEP 440 range such as ``>=3.8,<3.12``.
        interpreters: in order of preference.
        who: whose environment it is for, for the error.

    Raises:
        IroncladError: ``INSTALL_FAILED``, naming what there is and how to get what is wanted;
            ``ENGINE_UNAVAILABLE``: `wanted` is not a range.
    """
    try:
        allowed = SpecifierSet(wanted)
    except InvalidSpecifier as error:
        raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"{who}: python = {wanted!r} is not a range: {error}") from error
    there = tuple(interpreters)
    for interpreter in there:
        if interpreter.version in allowed:
            return interpreter
    example = suggest_minor(allowed)
    listed = ", ".join(str(interpreter.version) for interpreter in there) or "none"
    raise failure(
        ErrorCode.INSTALL_FAILED,
        f"{who} needs Python {wanted}; this machine has {listed}. Install python{example} with its venv module "
        f"(apt install python{example}-venv, or pyenv install {example}) and see that it is on the PATH",
    )


def suggest_minor(allowed: SpecifierSet) -> str:
    """Return the ``3.N`` to advise for `allowed`: the newest that is widely had, else the next; ``3`` for none."""
    had, later = range(WIDELY_HAD_MINOR, 5, -1), range(WIDELY_HAD_MINOR + 1, NEWEST_MINOR + 1)
    minors = (f"3.{minor}" for minor in (*had, *later))
    return next((minor for minor in minors if any(f"{minor}.{patch}" in allowed for patch in (0, 8, 15))), "3")
