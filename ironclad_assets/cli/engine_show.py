"""How engines, their environments and their self-tests look on a terminal, and in JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ironclad_assets.contracts.v1.environments import Verification
from ironclad_assets.engine_host.catalogue import find_shelf, find_weights
from ironclad_assets.engine_host.doctor import Finding
from ironclad_assets.engine_host.environments import EnvironmentState, find_environments
from ironclad_assets.engine_host.models import find_state
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.engine_host.selftest import read_verification
from ironclad_assets.errors import IroncladError
from ironclad_assets.intake.names import printable
from ironclad_assets.settings import Settings

_STYLES = {
    "ok": "green", "note": "yellow", "problem": "red",
    "passed": "green", "skipped": "yellow", "failed": "red",
    "verified": "green", "unverified": "yellow", "missing": "dim", "damaged": "red",
}  # fmt: skip


def styled(word: str) -> Text:
    """Return a word of the product's in its colour."""
    return Text(word, style=_STYLES.get(word, ""))


def weights_state(engine: InstalledEngine, *, model: str, settings: Settings) -> str:
    """Return how the weights of `model` are; nothing for a model without."""
    weights = find_weights(engine, model=model)
    if weights is None:
        return ""
    return find_state(weights, shelf=find_shelf(engine, models_dir=settings.models_dir)).state


def environment_problem(engine: InstalledEngine) -> str:
    """Return why no worker of the default model could be started, or nothing."""
    try:
        engine.python()
    except IroncladError as error:
        return error.describe()
    return ""


def environment_document(state: EnvironmentState) -> dict[str, Any]:
    """Return an environment as JSON shows it."""
    return {
        "environment": state.environment,
        "state": state.state,
        "folder": None if state.folder is None else str(state.folder),
        "detail": state.detail,
        "record": None if state.record is None else state.record.model_dump(mode="json"),
    }


def engine_documents(engines: Mapping[str, InstalledEngine], *, settings: Settings) -> list[dict[str, Any]]:
    """Return engines as JSON shows them."""
    documents = []
    for name, engine in engines.items():
        verification = read_verification(engine, settings=settings)
        documents.append(
            {
                **engine.manifest.model_dump(mode="json"),
                "default": name == settings.default_engine,
                "problem": environment_problem(engine),
                "folder": str(engine.folder),
                "installed": [environment_document(state) for state in find_environments(engine)],
                "weights": {
                    model.name: weights_state(engine, model=model.name, settings=settings)
                    for model in engine.manifest.models
                },
                "verified": None if verification is None else verification.passed,
            }
        )
    return documents


def print_engines(console: Console, engines: Mapping[str, InstalledEngine], *, settings: Settings) -> None:
    """Print a line for each engine, then a line for each model."""
    about = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("engine", "version", "environment", "about"):
        about.add_column(heading, overflow="fold")
    models = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("engine", "model", "weights", "stems"):
        models.add_column(heading, overflow="fold")
    for name, engine in engines.items():
        manifest = engine.manifest
        label = f"{name} (default)" if name == settings.default_engine else name
        said = environment_problem(engine) or manifest.description
        about.add_row(label, manifest.version, _environment_text(engine), Text(printable(said)))
        for model in manifest.models:
            models.add_row(
                name,
                f"{model.name}{' (default)' if model.name == manifest.default_model else ''}",
                styled(weights_state(engine, model=model.name, settings=settings) or "none needed"),
                ", ".join(model.stems),
            )
    console.print(about)
    console.print()
    console.print(models)


def _environment_text(engine: InstalledEngine) -> Text:
    """Return the state of the environments, in one word where all are alike."""
    states = find_environments(engine)
    if len({state.state for state in states}) == 1:
        return styled(states[0].state)
    return Text(", ".join(f"{state.environment}: {state.state}" for state in states))


def verification_table(verification: Verification) -> Table:
    """Return a line for each promise of each model."""
    title = f"{verification.engine} {verification.engine_version} on {verification.device}"
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for heading in ("model", "promise", "", "detail"):
        table.add_column(heading, overflow="fold")
    for test in verification.tests:
        if not test.promises:
            table.add_row(test.model, "", styled(test.outcome), Text(printable(test.detail)))
        for promise in test.promises:
            mark = styled("passed" if promise.kept else "failed")
            table.add_row(test.model, promise.name, mark, Text(printable(promise.detail)))
    return table


def finding_document(finding: Finding) -> dict[str, str]:
    """Return a finding as JSON shows it."""
    return {"part": finding.part, "level": finding.level, "detail": finding.detail, "remedy": finding.remedy}


def finding_table(findings: Iterable[Finding]) -> Table:
    """Return a line for each finding, its remedy behind it."""
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        said = f"{finding.detail}; {finding.remedy}" if finding.remedy else finding.detail
        table.add_row(Text(finding.part, style="bold"), styled(finding.level), Text(printable(said)))
    return table
