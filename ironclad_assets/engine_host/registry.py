"""Which engines are installed: their manifests, folders and interpreters. Nothing here starts one."""

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ironclad_assets.contracts.v1.engine import EngineManifest
from ironclad_assets.errors import ErrorCode, failure

MANIFEST_NAME = "engine.toml"


@dataclass(frozen=True, slots=True)
class InstalledEngine:
    """An engine's manifest and where it lies.

    `environments` is the folder with one environment per engine, for engines that need their own.
    """

    manifest: EngineManifest
    folder: Path
    environments: Path | None = None

    def python(self) -> Path:
        """Return the interpreter that runs the engine's worker.

        Raises:
            PermanentFailure: ``ENGINE_UNAVAILABLE``: its environment has not been built.
        """
        if self.manifest.environment == "core":
            return Path(sys.executable)
        name = self.manifest.name
        if self.environments is None:
            raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"{name} needs an environment of its own; none is configured")
        python = self.environments / name / "bin" / "python"
        if not python.exists():
            raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"{name} has no environment yet: {python} is missing")
        return python

    def import_path(self) -> tuple[Path, ...]:
        """Return the folders a worker imports from: the harness and the engine."""
        return (self.folder.parent / "_harness", self.folder)


def find_engines(
    path: Path, *, environments: Path | None = None, include_private: bool = False
) -> dict[str, InstalledEngine]:
    """Return the engines in the folders of `path`, by name.

    Args:
        path: folder with one folder per engine.
        environments: folder with one environment per engine.
        include_private: also look in folders whose name starts with ``_`` (the template).

    Raises:
        PermanentFailure: ``ENGINE_UNAVAILABLE``: a manifest is invalid, or a name is used twice.
    """
    found: dict[str, InstalledEngine] = {}
    for manifest_path in sorted(path.glob(f"*/{MANIFEST_NAME}")):
        folder = manifest_path.parent
        if folder.name.startswith("_") and not include_private:
            continue
        manifest = read_manifest(manifest_path)
        if manifest.name in found:
            raise failure(
                ErrorCode.ENGINE_UNAVAILABLE,
                f"{manifest.name} is defined in {found[manifest.name].folder} and again in {folder}; remove one",
            )
        found[manifest.name] = InstalledEngine(manifest=manifest, folder=folder, environments=environments)
    return found


def read_manifest(path: Path) -> EngineManifest:
    """Return the manifest in the file `path`.

    Raises:
        PermanentFailure: ``ENGINE_UNAVAILABLE``, naming what is wrong with it.
    """
    try:
        manifest = EngineManifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"{path} is not a valid engine manifest: {error}") from error
    if manifest.default_model not in {model.name for model in manifest.models}:
        raise failure(
            ErrorCode.ENGINE_UNAVAILABLE, f"{path}: default_model {manifest.default_model!r} is not one of its models"
        )
    return manifest
