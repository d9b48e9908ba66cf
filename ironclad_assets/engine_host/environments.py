"""How the environments of engines are: what each is to be built from, what it was built from, whether it is whole."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ironclad_assets.contracts.v1.environments import EnvironmentRecord
from ironclad_assets.engine_host.registry import BUILDING_MARKER, InstalledEngine
from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.storage.hashing import hash_json

RECORD_NAME = "ironclad-environment.json"

State = Literal["core", "missing", "incomplete", "outdated", "foreign", "installed"]


@dataclass(frozen=True, slots=True)
class EnvironmentState:
    """One environment of an engine, and what is wrong with it.

    ``foreign``: it was put there by other means than `engines install`; it is used as it is.
    """

    environment: str
    folder: Path | None
    state: State
    detail: str = ""
    record: EnvironmentRecord | None = None

    @property
    def usable(self) -> bool:
        """Whether workers can be started in it."""
        return self.state in ("core", "outdated", "foreign", "installed")


def find_environments(engine: InstalledEngine) -> tuple[EnvironmentState, ...]:
    """Return the state of each environment of `engine`; one called ``core`` for an engine in the core's own."""
    if engine.manifest.environment == "core":
        return (EnvironmentState("core", folder=None, state="core"),)
    return tuple(find_environment(engine, environment=name) for name in engine.environment_specs())


def find_environment(engine: InstalledEngine, *, environment: str) -> EnvironmentState:
    """Return the state of one environment of the engine's own."""
    folder = engine.environment_folder(environment)
    if (folder / BUILDING_MARKER).exists():
        return EnvironmentState(environment, folder, "incomplete", "its installation was interrupted")
    if not (folder / "bin" / "python").exists():
        return EnvironmentState(environment, folder, "missing", "it has not been built")
    record = read_record(folder)
    if record is None:
        return EnvironmentState(environment, folder, "foreign", "it was not made by `engines install`")
    if record.recipe_sha256 != hash_recipe(engine, environment=environment):
        return EnvironmentState(environment, folder, "outdated", "its requirements have changed since", record)
    return EnvironmentState(environment, folder, "installed", record=record)


def read_record(folder: Path) -> EnvironmentRecord | None:
    """Return how the environment in `folder` was built, None where nobody wrote that down."""
    try:
        return EnvironmentRecord.model_validate_json((folder / RECORD_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def constraints_path(engine: InstalledEngine, *, environment: str) -> Path | None:
    """Return the file with the pinned versions of an environment.

    Raises:
        IroncladError: ``ENGINE_UNAVAILABLE``: the manifest names one that is not there.
    """
    name = engine.environment_specs()[environment].constraints
    if name is None:
        return None
    path = (engine.folder / name).resolve()
    if not path.is_file():
        raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"{engine.manifest.name}: the constraints {path} are missing")
    return path


def hash_recipe(engine: InstalledEngine, *, environment: str) -> str:
    """Return the SHA-256 of all that decides what an environment is built from.

    Raises:
        IroncladError: as `constraints_path`.
    """
    spec = engine.environment_specs()[environment]
    constraints = constraints_path(engine, environment=environment)
    recipe = spec.model_dump(mode="json", include={"python", "first", "requirements", "from_source"})
    text = None if constraints is None else constraints.read_text(encoding="utf-8")
    return hash_json({**recipe, "constraints": text})
