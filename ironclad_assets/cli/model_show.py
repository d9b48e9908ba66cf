"""How weights look on a terminal, and in JSON."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ironclad_assets.cli.engine_show import styled
from ironclad_assets.contracts.v1.models import CatalogueWeights, StoredWeights
from ironclad_assets.engine_host.catalogue import Shelf
from ironclad_assets.engine_host.models import WeightsState
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.errors import IroncladError
from ironclad_assets.intake.names import printable

MEBIBYTE = 1024**2
_COLUMNS = ("engine", "weights", "models", "MiB", "state", "provenance")


def weights_document(
    engine: InstalledEngine, *, weights: CatalogueWeights, shelf: Shelf, state: WeightsState
) -> dict[str, Any]:
    """Return a set of weights as JSON shows it."""
    record = _record(shelf, weights=weights)
    return {
        "engine": engine.manifest.name,
        "weights": weights.name,
        "models": _models(engine, weights=weights),
        "description": weights.description,
        "size_bytes": _size_bytes(weights, record=record),
        "licence": weights.licence,
        "licence_url": None if weights.licence_url is None else str(weights.licence_url),
        "consent": "not needed" if not weights.consent else "given" if shelf.has_consent(weights) else "needed",
        "source": str(weights.source),
        "state": state.state,
        "detail": state.detail,
        "files": [] if record is None else [file.model_dump(mode="json") for file in record.files],
    }


def print_weights(
    console: Console, shown: Sequence[tuple[InstalledEngine, CatalogueWeights, Shelf, WeightsState]]
) -> None:
    """Print a line for each set of weights, what is wrong with any, and the licences."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in _COLUMNS:
        table.add_column(heading, overflow="fold", justify="right" if heading == "MiB" else "left")
    notes: dict[str, None] = {}
    for engine, weights, shelf, state in shown:
        record = _record(shelf, weights=weights)
        size = _size_bytes(weights, record=record)
        table.add_row(
            engine.manifest.name,
            weights.name,
            ", ".join(_models(engine, weights=weights)),
            "?" if size is None else f"{size / MEBIBYTE:.1f}",
            styled(state.state),
            ", ".join(_provenance(record)),
        )
        if state.detail and state.state != "missing":
            notes[f"{engine.manifest.name} {weights.name}: {state.detail}"] = None
        consent = " Needs your consent once." if weights.consent and not shelf.has_consent(weights) else ""
        notes[f"{engine.manifest.name}: licence: {weights.licence}; from {weights.source}.{consent}"] = None
    console.print(table)
    for note in notes:
        console.print(Text(printable(note)))


def _record(shelf: Shelf, *, weights: CatalogueWeights) -> StoredWeights | None:
    try:
        return shelf.record(weights.name)
    except IroncladError:  # the state says so
        return None


def _models(engine: InstalledEngine, *, weights: CatalogueWeights) -> list[str]:
    return [model.name for model in engine.manifest.models if model.weights == weights.name]


def _provenance(record: StoredWeights | None) -> list[str]:
    """Return how the hashes are known, the texts of the catalogue aside."""
    return sorted({file.provenance for file in record.files if file.origin != "catalogue"}) if record else []


def _size_bytes(weights: CatalogueWeights, *, record: StoredWeights | None) -> int | None:
    """Return the bytes on this disk, else the bytes to fetch, None where nobody published that."""
    if record is not None:
        return sum(file.size_bytes for file in record.files)
    sizes = [file.size_bytes for file in weights.files]
    return None if None in sizes else sum(size for size in sizes if size is not None)
