"""What weights an engine has: its catalogue, and the records of one installation. Nothing here fetches or hashes.

The catalogue (`models.toml` in the engine's folder) is published with the engine. The models folder has one
folder per engine with the files, a record per set of weights that pins them, and the operator's consents.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ironclad_assets.contracts.v1.engine import DEFAULT_ENVIRONMENT
from ironclad_assets.contracts.v1.models import CatalogueWeights, Consent, Consents, ModelCatalogue, StoredWeights
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.storage import atomic

CATALOGUE_NAME = "models.toml"
CONSENTS_NAME = "consents.json"


@dataclass(frozen=True, slots=True)
class Shelf:
    """The place of one engine's weights in the models folder."""

    engine: str
    folder: Path

    def path(self, name: str) -> Path:
        """Return where the file called `name` in the catalogue lies."""
        return self.folder / name

    def record_path(self, weights: str) -> Path:
        return self.folder / f"{weights}.json"

    def record(self, weights: str) -> StoredWeights | None:
        """Return what is pinned of `weights`, None before the first fetch or import.

        Raises:
            IroncladError: ``MODEL_DAMAGED``: the record cannot be read.
        """
        path = self.record_path(weights)
        try:
            return StoredWeights.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise failure(ErrorCode.MODEL_DAMAGED, f"the record {path} cannot be read: {error}") from error

    def write_record(self, record: StoredWeights) -> None:
        """Write a record durably, after the files it names."""
        atomic.make_folder(self.folder)
        atomic.write_bytes(self.record_path(record.weights), record.model_dump_json(indent=1).encode() + b"\n")

    def consents(self) -> tuple[Consent, ...]:
        """Return the licences the operator has agreed to.

        Raises:
            IroncladError: ``MODEL_LICENCE``: the file of consents cannot be read.
        """
        path = self.folder / CONSENTS_NAME
        try:
            return Consents.model_validate_json(path.read_bytes()).consents
        except FileNotFoundError:
            return ()
        except (OSError, ValidationError) as error:
            raise failure(ErrorCode.MODEL_LICENCE, f"{path} cannot be read: {error}") from error

    def has_consent(self, weights: CatalogueWeights) -> bool:
        """Return whether nobody need be asked: no consent is needed, or it was given to this very licence."""
        wanted = (weights.licence, weights.licence_url)
        return not weights.consent or any((one.licence, one.licence_url) == wanted for one in self.consents())

    def add_consent(self, consent: Consent) -> None:
        """Record that the operator agreed."""
        atomic.make_folder(self.folder)
        content = Consents(consents=(*self.consents(), consent)).model_dump_json(indent=1)
        atomic.write_bytes(self.folder / CONSENTS_NAME, content.encode() + b"\n")


def find_shelf(engine: InstalledEngine, *, models_dir: Path) -> Shelf:
    """Return the place of `engine`'s weights."""
    return Shelf(engine=engine.manifest.name, folder=models_dir / engine.manifest.name)


def read_catalogue(engine: InstalledEngine) -> ModelCatalogue:
    """Return the engine's catalogue, empty where it needs no weights.

    Raises:
        IroncladError: ``ENGINE_UNAVAILABLE``: it is not valid, or lacks weights that a model names.
    """
    path = engine.folder / CATALOGUE_NAME
    try:
        catalogue = ModelCatalogue.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        catalogue = ModelCatalogue(weights=())
    except (OSError, ValueError) as error:
        raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"{path} is not a valid catalogue: {error}") from error
    known = {weights.name for weights in catalogue.weights}
    for model in engine.manifest.models:
        if model.weights is not None and model.weights not in known:
            raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"{path} lacks the weights {model.weights} of {model.name}")
    environments = {DEFAULT_ENVIRONMENT, *engine.environment_specs()}
    for weights in catalogue.weights:
        for derivation in weights.derived:
            if derivation.environment not in environments:
                detail = f"{path}: {derivation.name}: environment {derivation.environment!r} is not one of the engine's"
                raise failure(ErrorCode.ENGINE_UNAVAILABLE, detail)
    return catalogue


def find_weights(engine: InstalledEngine, *, model: str | None) -> CatalogueWeights | None:
    """Return the weights of `model` (or those called so), None for a model without.

    Raises:
        IroncladError: ``UNKNOWN_MODEL``; ``ENGINE_UNAVAILABLE``: the catalogue is not valid.
    """
    by_name = {weights.name: weights for weights in read_catalogue(engine).weights}
    if model in by_name and model not in {known.name for known in engine.manifest.models}:
        return by_name[model]
    name = engine.model(model).weights
    return None if name is None else by_name[name]


def file_names(weights: CatalogueWeights) -> Iterator[str]:
    """Yield the names of all files a model is loaded from: text, fetched, unpacked and derived."""
    yield from weights.text
    for file in weights.files:
        if file.unpack is None:
            yield file.name
        else:
            yield from (f"{file.unpack}/{member}" for member in file.members)
    for derivation in weights.derived:
        yield derivation.name
