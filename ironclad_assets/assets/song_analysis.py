"""Room *analyse*: loudness, tempo, beats and key of a song that is complete, and envelopes to draw.

It stands beside the job, not in it: the ledger hears nothing of it, the song is complete without it, and its
failure fails nothing. It runs when nobody waits for a song (`sensors/analysis.py`), or when it is materialized.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from ironclad_assets.assets.declaration import StageResult, stage_asset
from ironclad_assets.assets.lifeline import follow_supervisor
from ironclad_assets.assets.room import contract_check, describe_check, empty_folder, published_error
from ironclad_assets.contracts.v1.job import Job
from ironclad_assets.contracts.v1.song_analysis import SongAnalysis
from ironclad_assets.contracts.v1.staged_chunks import StagedChunks
from ironclad_assets.contracts.v1.stems import Stems
from ironclad_assets.engine_host.locks import hold_lock
from ironclad_assets.errors import ErrorCode, PermanentFailure, TransientFailure
from ironclad_assets.io_managers.contract_io_manager import Product, Upstream
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.analyse import STAGE, analyse, analysis_version, check_analysis
from ironclad_assets.resources.outcome import dagster_failure
from ironclad_assets.settings import Settings
from ironclad_assets.storage.artifacts import Artifact, Envelope, find_reusable
from ironclad_assets.storage.hashing import hash_json
from ironclad_assets.storage.store import Store

CODE_VERSION = "1"


@stage_asset(
    STAGE,
    room="analyse",
    code_version=CODE_VERSION,
    kinds={"python", "numpy"},
    checks={
        "numbers_are_finite": "No number is infinite or undefined.",
        "beats_increase_inside_song": "The beats follow one another inside the song.",
        "envelopes_cover_song": "Every source has a point for each step of the song's length.",
    },
    deps=["library_entry"],
)
def song_analysis(
    context: dg.AssetExecutionContext,
    staged_chunks: Upstream,
    stems: Upstream,
    ledger: dg.ResourceParam[Ledger],
    store: dg.ResourceParam[Store],
    settings: dg.ResourceParam[Settings],
) -> StageResult:
    """Loudness, tempo, beats and key of the complete song, and `analysis.json` for visualisers."""
    follow_supervisor()
    started = time.monotonic()
    song = context.partition_key
    with _tell_failure(store):
        job = _ended_job(ledger, song=song)
        store.require_ready()
        inputs = {"staged_chunks": staged_chunks.key, "stems": stems.key}
        key = hash_json(
            {"stage": STAGE, "code": CODE_VERSION, "inputs": inputs, "settings": {"librosa": analysis_version()}}
        )
        folder = store.stage(STAGE, song)
        busy = TransientFailure(f"song {song} is being analysed already", code=ErrorCode.BUSY)
        with hold_lock(folder.path / ".lock", busy=busy):
            stored = find_reusable(folder, SongAnalysis, key=key)
            made = stored or _make(folder.work(key), key=key, staged=staged_chunks, stems=stems, settings=settings)
            files = stored.folder if stored else folder.commit(key)
    product = Product(
        payload=made.payload,
        key=key,
        checks=made.checks,
        inputs=inputs,
        envelope=_envelope(job, context=context),
        reused=stored is not None,
        last=False,
        seconds=time.monotonic() - started,
        beside_job=True,
    )
    return StageResult(
        value=product,
        metadata={"reused": dg.MetadataValue.bool(product.reused), **describe(made.payload, files)},
        data_version=dg.DataVersion(key),
        check_results=[describe_check(check, stage=STAGE) for check in made.checks],
    )


def describe(analysis: SongAnalysis, folder: Path) -> dict[str, dg.MetadataValue]:
    """Return tempo, key and loudness as the UI shows and plots them; what was not found is left away."""
    mixture = analysis.sources[0]
    numbers = {
        "bpm": analysis.tempo.bpm,
        "tempo_confidence": analysis.tempo.confidence,
        "key_confidence": analysis.key.confidence,
        "tuning_cents": analysis.key.tuning_cents,
        "loudness_lufs": mixture.loudness_lufs,
        "loudness_range_lu": mixture.loudness_range_lu,
        "true_peak_dbtp": mixture.true_peak_dbtp,
    }
    shown: dict[str, dg.MetadataValue] = {
        name: dg.MetadataValue.float(value) for name, value in numbers.items() if value is not None
    }
    if analysis.key.tonic is not None:
        shown["key"] = dg.MetadataValue.text(f"{analysis.key.tonic} {analysis.key.mode} ({analysis.key.camelot})")
    return {
        **shown,
        "beats": dg.MetadataValue.int(len(analysis.beats_s)),
        "path": dg.MetadataValue.path(folder / analysis.file.path),
    }


def _make(work: Path, *, key: str, staged: Upstream, stems: Upstream, settings: Settings) -> Artifact[SongAnalysis]:
    empty_folder(work)
    payload = analyse(
        stems.read(Stems),
        stems_folder=stems.folder,
        staged=staged.read(StagedChunks),
        staged_folder=staged.folder,
        work=work,
        compiled=settings.home_dir / "cache" / "analysis",
    )
    checks = (contract_check(payload), *check_analysis(payload, work=work))
    return Artifact(payload=payload, folder=work, key=key, checks=checks)


def _ended_job(ledger: Ledger, *, song: str) -> Job:
    """Return the song's latest job, whose work is analysed.

    Raises:
        PermanentFailure: `JOB_ACTIVE`: the stems may be replaced any moment; or `UNKNOWN_SONG`.
    """
    ledger.song(song)
    job = ledger.latest_job(song)
    if job is None:
        raise PermanentFailure(f"song {song} has no job", code=ErrorCode.UNKNOWN_JOB)
    if job.state.active:
        raise PermanentFailure(f"job {job.job_uuid} of this song is {job.state}", code=ErrorCode.JOB_ACTIVE)
    return job


@contextmanager
def _tell_failure(store: Store) -> Iterator[None]:
    """Turn every error into Dagster's failure with its published code, and leave the job as it is."""
    try:
        yield
    except (dg.Failure, dg.DagsterExecutionInterruptedError):
        raise
    except Exception as error:  # the door of the room: context is added, nothing swallowed
        raise dagster_failure(published_error(error, store)) from error


def _envelope(job: Job, *, context: dg.AssetExecutionContext) -> Envelope:
    return Envelope(
        stage=STAGE,
        song=job.song,
        job_uuid=job.job_uuid,
        user_id=job.user_id,
        trace_id=job.trace_id,
        attempt=job.attempt,
        run_id=context.run.run_id,
        code_version=CODE_VERSION,
    )
