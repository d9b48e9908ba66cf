"""Whether a job for an engine and model could start here: its environment and its weights, looked at, not loaded."""

from pathlib import Path

from ironclad_assets.engine_host.models import resolve_weights
from ironclad_assets.engine_host.registry import InstalledEngine


def check_ready(engine: InstalledEngine, *, model: str | None, models_dir: Path) -> None:
    """Return if `model` of `engine` can be used now.

    Raises:
        IroncladError: ``ENGINE_UNAVAILABLE``, ``MODEL_MISSING``, ``MODEL_DAMAGED`` or ``MODEL_LICENCE``, naming
            the command that mends it; ``UNKNOWN_MODEL``.
    """
    engine.python(model)
    resolve_weights(engine, model, models_dir=models_dir)
