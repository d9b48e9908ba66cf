"""Making files from fetched weights by the engine's own code, in one of the engine's environments."""

import os
import subprocess
import tempfile
from pathlib import Path

from ironclad_assets.contracts.v1.models import CatalogueWeights, Derivation
from ironclad_assets.engine_host.catalogue import Shelf
from ironclad_assets.engine_host.environment import pass_on
from ironclad_assets.engine_host.listening import Listener
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.errors import ErrorCode, failure

TIMEOUT_S = 1800.0


def find_interpreter(engine: InstalledEngine, *, derivation: Derivation) -> Path:
    """Return the interpreter that makes `derivation`.

    Raises:
        IroncladError: ``ENGINE_UNAVAILABLE``: its environment is missing, with what to do.
    """
    if engine.manifest.environment == "core":
        return engine.python()
    return engine.environment_python(derivation.environment)


def derive(
    engine: InstalledEngine,
    *,
    weights: CatalogueWeights,
    derivation: Derivation,
    shelf: Shelf,
    work: Path,
    listener: Listener,
) -> Path:
    """Return the file that `derivation` makes from the files on the shelf, still under a temporary name.

    Raises:
        IroncladError: ``ENGINE_UNAVAILABLE``: its environment is missing; ``ENGINE_FAILED``: it did not make
            the file, with its last words.
    """
    python = find_interpreter(engine, derivation=derivation)
    listener.step(f"making {derivation.name} with {derivation.module}")
    output = Path(tempfile.mkdtemp(dir=work)) / Path(derivation.name).name
    command = [str(python), "-m", derivation.module]
    command += ["--source", str(shelf.folder.absolute()), "--weights", weights.name, "--output", str(output)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            cwd=output.parent,
            env=_environment(engine, derivation=derivation),
        )
    except subprocess.TimeoutExpired as error:
        raise failure(ErrorCode.ENGINE_FAILED, f"{derivation.module} took longer than {TIMEOUT_S:.0f} s") from error
    if done.returncode != 0 or not output.is_file():
        lines = done.stdout.strip().splitlines() or ["it printed nothing"]
        detail = f"{derivation.module} ended with status {done.returncode}: {lines[-1][:500]}"
        raise failure(ErrorCode.ENGINE_FAILED, detail)
    return output


def _environment(engine: InstalledEngine, *, derivation: Derivation) -> dict[str, str]:
    spec = engine.environment_specs().get(derivation.environment)
    return {
        **pass_on(os.environ),
        **({} if spec is None else spec.variables),
        "PYTHONPATH": os.pathsep.join(str(folder.resolve()) for folder in engine.import_path()),
        "PYTHONNOUSERSITE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "LC_ALL": "C.UTF-8",
    }
