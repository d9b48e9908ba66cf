"""Output of the stage `stems`: what the engine made of the mixture, measured."""

from pydantic import Field

from ironclad_assets.contracts.v1.base import Contract, Levels, StagedAudio
from ironclad_assets.contracts.v1.staged_chunks import EngineChoice


class Stem(Contract):
    """One separated source, raw float32 at the engine's rate."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    audio: StagedAudio
    levels: Levels


class Stems(Contract):
    """All stems of a song.

    `residual_db` is the energy of mixture minus the sum of stems, relative to the mixture's energy, in
    dB; None where the mixture is silent.
    """

    engine: EngineChoice
    device: str
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
