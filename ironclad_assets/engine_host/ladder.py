"""What to try next when an engine ran out of memory: pure decisions, from what costs least to what changes most.

A smaller batch leaves the result as it is, and work goes on at its checkpoint. Every other rung changes the
result, so the work begins again under another key. Climbing down (running, remembering, telling) is the
business of `resources.descent`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ironclad_assets.contracts.v1.base import Contract
from ironclad_assets.contracts.v1.engine import CPU, EngineManifest, EngineModel, ModelName
from ironclad_assets.storage.hashing import hash_json

Action = Literal["batch", "precision", "device", "window", "model"]


class Footing(Contract):
    """The conditions that decide how much memory an engine needs. `window_s` None is the model's own window."""

    model: ModelName
    device: str
    precision: Literal["full", "half"] = "full"
    batch: int = 1
    window_s: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One rung down: what is made smaller, its new value for people, and where that leads."""

    action: Action
    value: str
    footing: Footing


@dataclass(frozen=True, slots=True)
class Ladder:
    """All rungs of one engine.

    Attributes:
        manifest: says what the engine can do.
        fall_back_to_cpu: whether work may move from a GPU to the CPU.
        allow_smaller_model: whether the user lets a smaller model take over.
    """

    manifest: EngineManifest
    fall_back_to_cpu: bool = True
    allow_smaller_model: bool = False

    def steps(self, footing: Footing) -> Iterator[Step]:
        """Yield what could be tried below `footing`, the least change first; a later one where an earlier cannot be."""
        model = self.manifest.model(footing.model)
        if footing.batch > 1:
            half = footing.batch // 2
            yield Step("batch", str(half), footing.model_copy(update={"batch": half}))
        if footing.device.startswith("cuda") and footing.precision == "full" and "half" in self.manifest.precisions:
            yield Step("precision", "half", footing.model_copy(update={"precision": "half"}))
        if footing.device != CPU and self.fall_back_to_cpu and CPU in self.manifest.devices:
            changed = {"device": CPU, "precision": "full", "batch": 1}
            yield Step("device", CPU, footing.model_copy(update=changed))
        for window_s in sorted(model.smaller_windows_s, reverse=True):
            if footing.window_s is None or window_s < footing.window_s:
                yield Step("window", f"{window_s:g} s", footing.model_copy(update={"window_s": window_s}))
                break
        smaller = self._smaller(model)
        if smaller is not None:
            changed_model = {"model": smaller.name, "window_s": None}
            yield Step("model", smaller.name, footing.model_copy(update=changed_model))

    def _smaller(self, model: EngineModel) -> EngineModel | None:
        """Return the model that may take over; one with other stems, rate or channels could not."""
        if not self.allow_smaller_model or model.smaller is None:
            return None
        try:
            found = self.manifest.model(model.smaller)
        except KeyError:
            return None
        alike = (found.stems, found.sample_rate_hz, found.channels) == (
            model.stems, model.sample_rate_hz, model.channels,
        )  # fmt: skip
        return found if alike else None


def derive_key(key: str, *, start: Footing, now: Footing) -> str:
    """Return the identity of work that `key` names on the footing `start`, on the footing `now`.

    It is `key` itself where only the batch differs: that changes nothing but rounding.
    """
    changed = now.model_dump(mode="json", exclude={"batch"})
    if changed == start.model_dump(mode="json", exclude={"batch"}):
        return key
    return hash_json({"key": key, "footing": changed})
