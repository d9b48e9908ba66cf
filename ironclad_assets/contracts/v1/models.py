"""The catalogue of an engine's weights (`models.toml`), and the record of what was really fetched.

The catalogue is published with the engine and names where files come from and what they must be. The
record belongs to one installation: it pins the full hash of every file from its first fetch on.
"""

from datetime import datetime
from typing import Literal

from pydantic import Field, HttpUrl

from ironclad_assets.contracts.v1.base import Contract, RelativePath, Sha256
from ironclad_assets.contracts.v1.engine import ModelName


class CatalogueFile(Contract):
    """One file to fetch.

    `name` is its path below the engine's models folder. `sha256` is the published hash, None where nobody
    published a full one; `sha256_prefix` then is what is known of it. An archive (``unpack``) is unpacked
    into the folder of that name, and `members` are the files that must come out of it.
    """

    name: RelativePath
    urls: tuple[HttpUrl, ...] = Field(min_length=1)
    size_bytes: int | None = Field(default=None, ge=1)
    sha256: Sha256 | None = None
    sha256_prefix: str = Field(default="", pattern=r"^[0-9a-f]{0,64}$")
    unpack: RelativePath | None = None
    members: tuple[RelativePath, ...] = ()


class Derivation(Contract):
    """A file made from the fetched ones by the engine's own code, in one of its environments.

    `module` is run as ``python -m module --source MODELS_FOLDER --weights NAME --output FILE`` and must
    write the same bytes every time.
    """

    name: RelativePath
    environment: str
    module: str


class CatalogueWeights(Contract):
    """The weights of one or more models."""

    name: ModelName
    description: str = ""
    licence: str
    licence_url: HttpUrl | None = None
    consent: bool = False
    """Whether the operator must agree to the licence once before the weights are fetched or imported."""

    source: HttpUrl
    text: dict[RelativePath, str] = Field(default_factory=dict)
    """Small text files written beside the weights, such as the list of a bag's models."""

    files: tuple[CatalogueFile, ...] = Field(min_length=1)
    derived: tuple[Derivation, ...] = ()


class ModelCatalogue(Contract):
    """`models.toml`: all weights of an engine."""

    weights: tuple[CatalogueWeights, ...]


class StoredFile(Contract):
    """A file of weights as it was pinned: what it is and how that is known.

    `provenance` is ``published`` where the catalogue's full hash was met, ``first_fetch`` where only this
    installation knows the hash, ``imported`` from a bundle without a published hash, ``derived`` where it was
    made here.
    """

    name: RelativePath
    size_bytes: int = Field(ge=0)
    sha256: Sha256
    provenance: Literal["published", "first_fetch", "imported", "derived"]
    origin: str
    at: datetime


class StoredWeights(Contract):
    """What one installation has of one set of weights (`<weights>.json` in the models folder)."""

    contract_version: Literal[1] = 1
    engine: str
    weights: ModelName
    licence: str
    files: tuple[StoredFile, ...]
    archives: tuple[StoredFile, ...] = ()
    """Archives that files came out of; they are not kept, and what they must be is."""


class BundledWeights(Contract):
    """One set of weights in a bundle: what the catalogue said of it, and what was pinned."""

    engine: str
    engine_version: str
    catalogue: CatalogueWeights
    record: StoredWeights


class Bundle(Contract):
    """`bundle.json`, the first member of a bundle: what the files after it are."""

    contract_version: Literal[1] = 1
    weights: tuple[BundledWeights, ...] = Field(min_length=1)


class Consent(Contract):
    """That the operator agreed to a licence: who, when, and for which weights they were asked first."""

    licence: str
    licence_url: HttpUrl | None = None
    weights: ModelName
    by: str
    at: datetime


class Consents(Contract):
    """`consents.json` in the engine's models folder."""

    contract_version: Literal[1] = 1
    consents: tuple[Consent, ...] = ()
