"""The engines of an installation, and whether what somebody wishes can be met by them now.

Apart from `installation`, since commands that only read the ledger need none and start faster without.
"""

from ironclad_assets.cli.installation import Installation
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.engine_host import readiness
from ironclad_assets.engine_host.models import resolve_weights
from ironclad_assets.engine_host.registry import InstalledEngine, find_engine_problems, find_engines
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.intake.choice import choose, system_defaults
from ironclad_assets.settings import Settings


def engines_of(settings: Settings) -> dict[str, InstalledEngine]:
    """Return the installed engines by name."""
    return find_engines(settings.engines_path, environments=settings.environments_dir)


def engine_of(settings: Settings, name: str) -> InstalledEngine:
    """Return the engine called `name`.

    Raises:
        Refusal: `UNKNOWN_ENGINE`, naming what there is.
    """
    engines = engines_of(settings)
    if name not in engines:
        known = ", ".join(sorted(engines)) or "none"
        wrong = "".join(f"; {error.detail}" for error in find_engine_problems(settings.engines_path))
        raise Refusal(f"engine {name!r} is not one of {known}{wrong}", code=ErrorCode.UNKNOWN_ENGINE)
    return engines[name]


def check_ready(settings: Settings, *, engine: str | None, model: str | None) -> None:
    """Refuse an engine whose environment, or a model whose weights, are not here; None is the default.

    Raises:
        IroncladError: `ENGINE_UNAVAILABLE`, `MODEL_MISSING`, `MODEL_DAMAGED` or `MODEL_LICENCE`.
    """
    chosen = engine_of(settings, engine or settings.default_engine)
    readiness.check_ready(chosen, model=model, models_dir=settings.models_dir)


def check_options(installation: Installation, options: JobOptions, *, user_id: str) -> None:
    """Refuse options that, over the defaults of the user and of the system, no engine here can meet now."""
    settings = installation.settings
    manifests = {name: engine.manifest for name, engine in engines_of(settings).items()}
    user, system = installation.ledger.user_defaults(user_id), system_defaults(settings)
    choice = choose(options, engines=manifests, user=user, system=system)
    if settings.executor == "kubernetes":  # the environment is in the pods' image
        resolve_weights(engine_of(settings, choice.engine.engine), choice.model.name, models_dir=settings.models_dir)
    else:
        check_ready(settings, engine=choice.engine.engine, model=choice.model.name)
