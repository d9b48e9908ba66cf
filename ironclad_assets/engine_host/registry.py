"""Which engines are installed: their manifests, folders and interpreters. Nothing here starts one.

An engine is a folder with an `engine.toml`: one of the folders in the engines' path, or the folder of an
installed package that names itself in the entry-point group ``ironclad.engines``.
"""

import importlib.util
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from pydantic import ValidationError

from ironclad_assets.contracts.v1.engine import CPU, DEFAULT_ENVIRONMENT, EngineManifest, EngineModel, EnvironmentSpec
from ironclad_assets.contracts.v1.options import ALL_STEMS, INSTRUMENTAL
from ironclad_assets.errors import ErrorCode, IroncladError, failure

MANIFEST_NAME = "engine.toml"
HARNESS_NAME = "_harness"
ENTRY_POINT_GROUP = "ironclad.engines"
BUILDING_MARKER = ".building"
"""File in an environment's folder as long as it is not whole."""

_TAKEN_STEM_NAMES = frozenset({*ALL_STEMS, "none", "residual", INSTRUMENTAL})


@dataclass(frozen=True, slots=True)
class InstalledEngine:
    """An engine's manifest and where it lies.

    `environments` is the folder with the environments of engines that need their own. `harness` is the
    folder of the harness; None: beside the engine's.
    """

    manifest: EngineManifest
    folder: Path
    environments: Path | None = None
    harness: Path | None = None

    def python(self, model: str | None = None) -> Path:
        """Return the interpreter that runs the workers of `model`, or of the default model for None.

        Raises:
            IroncladError: ``ENGINE_UNAVAILABLE``: its environment has not been built; ``UNKNOWN_MODEL``.
        """
        chosen = self.model(model)
        if self.manifest.environment == "core":
            return Path(sys.executable)
        return self.environment_python(chosen.environment)

    def environment_python(self, environment: str) -> Path:
        """Return the interpreter of one of the engine's own environments.

        Raises:
            IroncladError: ``ENGINE_UNAVAILABLE``: it has not been built, or only in part.
        """
        name = self.manifest.name
        folder = self.environment_folder(environment)
        command = f"install it with `pipelinectl engines install {name}`"
        if (folder / BUILDING_MARKER).exists():
            raise failure(
                ErrorCode.ENGINE_UNAVAILABLE, f"{name}: the environment {folder} was not built to its end; {command}"
            )
        python = folder / "bin" / "python"
        if not python.exists():
            raise failure(
                ErrorCode.ENGINE_UNAVAILABLE, f"{name} has no environment yet: {python} is missing; {command}"
            )
        return python

    def environment_folder(self, environment: str) -> Path:
        """Return where the environment called `environment` is, or is to be.

        Raises:
            IroncladError: ``ENGINE_UNAVAILABLE``: nobody said where environments are.
        """
        name = self.manifest.name
        if self.environments is None:
            raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"{name} needs an environment of its own; none is configured")
        return self.environments / (name if environment == DEFAULT_ENVIRONMENT else f"{name}-{environment}")

    def environment_specs(self) -> Mapping[str, EnvironmentSpec]:
        """Return the environments of the engine's own by name, none for an engine that runs in the core's."""
        if self.manifest.environment == "core":
            return {}
        return {DEFAULT_ENVIRONMENT: EnvironmentSpec()} | self.manifest.environments

    def entry(self, model: str | None = None) -> str:
        """Return ``module:Class`` of what runs `model`.

        Raises:
            IroncladError: ``UNKNOWN_MODEL``.
        """
        return self.model(model).entry or self.manifest.entry

    def variables(self, model: str | None = None) -> Mapping[str, str]:
        """Return the environment variables that the workers of `model` need beyond the host's own.

        Raises:
            IroncladError: ``UNKNOWN_MODEL``.
        """
        chosen = self.model(model)
        spec = self.environment_specs().get(chosen.environment)
        return {} if spec is None else spec.variables

    def model(self, name: str | None) -> EngineModel:
        """Return the model called `name`, or the default one for None.

        Raises:
            IroncladError: ``UNKNOWN_MODEL``, naming what there is.
        """
        try:
            return self.manifest.model(name)
        except KeyError:
            known = ", ".join(model.name for model in self.manifest.models)
            detail = f"{self.manifest.name} has no model {name!r}, only {known}"
            raise failure(ErrorCode.UNKNOWN_MODEL, detail) from None

    def device_for(self, wanted: str) -> str:
        """Return the device that the engine computes on: the one wanted, or the CPU if it knows no other.

        Raises:
            IroncladError: ``DEVICE_UNAVAILABLE``: it knows others, but not the one wanted.
        """
        known = self.manifest.devices
        if device_kind(wanted) in known:
            return wanted
        if known == (CPU,):
            return CPU
        detail = f"{self.manifest.name} computes on {', '.join(known)}, not on {wanted}, which is set"
        raise failure(ErrorCode.DEVICE_UNAVAILABLE, detail)

    def import_path(self) -> tuple[Path, ...]:
        """Return the folders a worker imports from: the harness and the engine."""
        return (self.harness or self.folder.parent / HARNESS_NAME, self.folder)


def device_kind(device: str) -> str:
    """Return a device without its number: which of several equal GPUs it is changes nothing."""
    return device.partition(":")[0]


def find_engines(
    path: Path, *, environments: Path | None = None, include_private: bool = False
) -> dict[str, InstalledEngine]:
    """Return the engines in the folders of `path` and in installed packages, by name.

    One whose manifest is wrong is left out, so that it stops no other; `find_engine_problems` tells which.
    Of two with one name the first is taken: folders before packages, each in alphabetical order.

    Args:
        path: folder with one folder per engine.
        environments: folder with the environments of engines.
        include_private: also look in folders whose name starts with ``_`` (the template).
    """
    found, _ = _look(path, environments=environments, include_private=include_private)
    return found


def find_engine_problems(path: Path) -> tuple[IroncladError, ...]:
    """Return why engines are left out: ``ENGINE_UNAVAILABLE``, naming the file and what is wrong with it."""
    _, problems = _look(path, environments=None, include_private=False)
    return tuple(problems)


def _look(
    path: Path, *, environments: Path | None, include_private: bool
) -> tuple[dict[str, InstalledEngine], list[IroncladError]]:
    found: dict[str, InstalledEngine] = {}
    problems: list[IroncladError] = []
    if not path.is_dir():
        problems.append(failure(ErrorCode.ENGINE_UNAVAILABLE, f"the folder of engines {path} is not there"))
    places = [(folder, None) for folder in _in_folders(path, include_private=include_private)]
    packaged, problems_of_packages = _in_packages()
    problems.extend(problems_of_packages)
    for folder, harness in [*places, *((folder, path / HARNESS_NAME) for folder in packaged)]:
        try:
            manifest = read_manifest(folder / MANIFEST_NAME)
        except IroncladError as error:
            problems.append(error)
            continue
        if manifest.name in found:
            detail = f"{manifest.name} is defined in {found[manifest.name].folder} and again in {folder}; remove one"
            problems.append(failure(ErrorCode.ENGINE_UNAVAILABLE, detail))
            continue
        found[manifest.name] = InstalledEngine(
            manifest=manifest, folder=folder, environments=environments, harness=harness
        )
    return found, problems


def _in_folders(path: Path, *, include_private: bool) -> Iterator[Path]:
    for manifest_path in sorted(path.glob(f"*/{MANIFEST_NAME}")):
        if include_private or not manifest_path.parent.name.startswith("_"):
            yield manifest_path.parent


def _in_packages() -> tuple[list[Path], list[IroncladError]]:
    folders: list[Path] = []
    problems: list[IroncladError] = []
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        try:
            folders.append(_package_folder(point))
        except IroncladError as error:
            problems.append(error)
    return folders, problems


def _package_folder(point: EntryPoint) -> Path:
    """Return the folder of the package that an entry point names, without importing it."""
    try:
        spec = importlib.util.find_spec(point.value)
    except (ImportError, ValueError) as error:
        raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"the engine {point.name} cannot be found: {error}") from error
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (Path(location) / MANIFEST_NAME).is_file():
            return Path(location)
    raise failure(
        ErrorCode.ENGINE_UNAVAILABLE, f"the engine {point.name} names {point.value}, which has no {MANIFEST_NAME}"
    )


def read_manifest(path: Path) -> EngineManifest:
    """Return the manifest in the file `path`.

    Raises:
        PermanentFailure: ``ENGINE_UNAVAILABLE``, naming what is wrong with it.
    """
    try:
        manifest = EngineManifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"{path} is not a valid engine manifest: {error}") from error
    if problem := _find_contradiction(manifest):
        raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"{path}: {problem}")
    return manifest


def _find_contradiction(manifest: EngineManifest) -> str | None:
    """Return what in the manifest names something that is not in it."""
    models = {model.name for model in manifest.models}
    if len(models) < len(manifest.models):
        return "two of its models have one name"
    for model in manifest.models:
        if len(set(model.stems)) < len(model.stems):
            return f"model {model.name}: two of its stems have one name"
        if taken := sorted({*model.stems} & _TAKEN_STEM_NAMES):
            return f"model {model.name}: no stem can be called {taken[0]!r}, which means something in a job's options"
    if manifest.default_model not in models:
        return f"default_model {manifest.default_model!r} is not one of its models"
    environments = {DEFAULT_ENVIRONMENT, *manifest.environments}
    for model in manifest.models:
        if model.environment not in environments:
            return f"model {model.name}: environment {model.environment!r} is not one of its environments"
        if model.smaller is not None and model.smaller not in models:
            return f"model {model.name}: smaller {model.smaller!r} is not one of its models"
    for preset, values in manifest.presets.items():
        if unknown := sorted(set(values) - {"model", *manifest.parameters}):
            return f"preset {preset}: {unknown[0]!r} is not one of its parameters"
        if values.get("model", manifest.default_model) not in models:
            return f"preset {preset}: model {values['model']!r} is not one of its models"
    return None
