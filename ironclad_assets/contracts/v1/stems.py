"""Output of the stage `stems`: what the engine made of the mixture, measured."""

from typing import Literal

from pydantic import Field

from ironclad_assets.contracts.v1.base import Contract, Levels, Sha256, StagedAudio
from ironclad_assets.contracts.v1.staged_chunks import EngineChoice


class Stem(Contract):
    """One separated source, raw float32 at the engine's rate."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    audio: StagedAudio
    levels: Levels


class WeightsFile(Contract):
    """One file of the weights that made the stems, so that the stems of an old model can be found again."""

    name: str
    sha256: Sha256


class Rung(Contract):
    """One step down the out-of-memory ladder: what was changed, and why.

    `action` is what was made smaller; `value` its new value. Only ``batch`` leaves the result as it was.
    """

    action: Literal["batch", "precision", "device", "window", "model"]
    value: str
    reason: str


class Stems(Contract):
    """All stems of a song.

    `engine` is what really made them, which a ladder of `rungs` may have changed from what was staged.
    `residual_db` is the energy of mixture minus the sum of stems, relative to the mixture's energy, in
    dB; None where the mixture is silent.
    """

    engine: EngineChoice
    device: str
    precision: Literal["full", "half"] = "full"
    threads: int = Field(default=1, ge=1)
    window_s: float | None = None
    weights: tuple[WeightsFile, ...] = ()
    rungs: tuple[Rung, ...] = ()
    memory_bytes: int | None = None
    """The limit that did not suffice for what was asked for; None where no rung changed the result."""

    stems: tuple[Stem, ...]
    residual_db: float | None
    mixture_levels: Levels

    def named(self, name: str) -> Stem:
        """Return the stem called `name`.

        Raises:
            KeyError: there is no such stem.
        """
        for stem in self.stems:
            if stem.name == name:
                return stem
        raise KeyError(name)
