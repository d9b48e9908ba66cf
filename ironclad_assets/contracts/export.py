"""``python -m ironclad_assets.contracts.export``: write the contracts as JSON Schemas.

The files are for people and engines that do not read Python; a test keeps them equal to the models.
Each schema is of the JSON form, so tuples are arrays.
"""

import json
import sys
from pathlib import Path

from ironclad_assets.contracts.v1.base import Contract
from ironclad_assets.contracts.v1.engine import EngineEvent, EngineManifest, EngineRequest, EngineResult
from ironclad_assets.contracts.v1.job import HistoryEntry, Job, SongIdentity
from ironclad_assets.contracts.v1.library_entry import LibraryEntry, SongRecord
from ironclad_assets.contracts.v1.manifest import Manifest
from ironclad_assets.contracts.v1.models import ModelCatalogue, StoredWeights
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack
from ironclad_assets.contracts.v1.song_analysis import AnalysisDocument, SongAnalysis
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.contracts.v1.staged_chunks import StagedChunks
from ironclad_assets.contracts.v1.stems import Stems
from ironclad_assets.contracts.v1.validated_file import ValidatedFile

SCHEMAS_FOLDER = Path(__file__).resolve().parent / "schemas" / "v1"
PROTOCOL_FOLDER = Path(__file__).resolve().parent.parent.parent / "engines" / "_protocol" / "v1"

CONTRACTS: dict[str, type[Contract]] = {
    "song_identity": SongIdentity,
    "job": Job,
    "job_options": JobOptions,
    "history_entry": HistoryEntry,
    "validated_file": ValidatedFile,
    "song_metadata": SongMetadata,
    "staged_chunks": StagedChunks,
    "stems": Stems,
    "recombined_track": RecombinedTrack,
    "library_entry": LibraryEntry,
    "song_record": SongRecord,
    "song_analysis": SongAnalysis,
    "analysis_document": AnalysisDocument,
    "manifest": Manifest,
    "stored_weights": StoredWeights,
}

PROTOCOL: dict[str, type[Contract]] = {
    "engine_manifest": EngineManifest,
    "model_catalogue": ModelCatalogue,
    "engine_request": EngineRequest,
    "engine_event": EngineEvent,
    "engine_result": EngineResult,
}


def render(contract: type[Contract]) -> str:
    """Return the schema of `contract` as the text of its file."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **contract.model_json_schema()}
    return json.dumps(schema, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def schema_files() -> dict[Path, str]:
    """Return the text of every schema file by its path."""
    files = {SCHEMAS_FOLDER / f"{name}.json": render(contract) for name, contract in (CONTRACTS | PROTOCOL).items()}
    return files | {PROTOCOL_FOLDER / f"{name}.json": render(contract) for name, contract in PROTOCOL.items()}


def main() -> int:
    """Write every schema file, and remove those that no contract stands for any more."""
    files = schema_files()
    for folder in (SCHEMAS_FOLDER, PROTOCOL_FOLDER):
        folder.mkdir(parents=True, exist_ok=True)
        for stray in set(folder.glob("*.json")) - set(files):
            stray.unlink()
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
