"""What the host writes down about the environments of engines: how one was built, and how a self-test went."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from ironclad_assets.contracts.v1.base import Contract, Sha256


class EnvironmentRecord(Contract):
    """`ironclad-environment.json`, written last into an environment: what it was built from, and what is in it.

    `recipe_sha256` is of everything the manifest says about how it is built, with the constraints; another
    recipe means that it must be built again.
    """

    contract_version: Literal[1] = 1
    engine: str
    environment: str
    recipe_sha256: Sha256
    python: str
    packages: dict[str, str]
    built_at: datetime
    seconds: float = Field(ge=0)


class Promise(Contract):
    """One thing the product promises of every engine, and whether it was kept."""

    name: str
    kept: bool
    detail: str = ""


class SelfTest(Contract):
    """How one model did in the self-test of `engines verify`."""

    model: str
    outcome: Literal["passed", "failed", "skipped"]
    detail: str = ""
    promises: tuple[Promise, ...] = ()
    seconds: float = Field(default=0.0, ge=0)


class Verification(Contract):
    """The last self-test of one engine: of which version, where, and how each model did."""

    contract_version: Literal[1] = 1
    engine: str
    engine_version: str
    environments: dict[str, Sha256] = Field(default_factory=dict)
    """The recipe of each environment that was tested."""

    device: str
    at: datetime
    tests: tuple[SelfTest, ...]

    @property
    def passed(self) -> bool:
        """Whether some model was tested and none failed."""
        outcomes = {test.outcome for test in self.tests}
        return "passed" in outcomes and "failed" not in outcomes
