"""Malware at the gate, with a real clamd: found in every container, never decoded; nobody there means held.

Rows 54 and 55 of the table of bad inputs. What the scanner may say instead of an answer is in
`tests/unit/antivirus`.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from mutagen.id3 import ID3, TXXX

from ironclad_assets.antivirus.clamd import Clamd
from ironclad_assets.antivirus.scan import Outcome, scan_file
from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.sensors import dispatch
from ironclad_assets.sensors.dispatch import release_held, request_runs, run_key
from ironclad_assets.storage.artifacts import load_artifact, read_manifest
from tests import synth
from tests.bad_inputs import makers
from tests.fakes.clamd import RealClamd, clamd_server, eicar, running_clamd
from tests.integration.conftest import Installation
from tests.unit.audio import tagged_files

__all__ = ["clamd_server"]

AUDIO = synth.music(1.0)


@pytest.fixture
def guarded(installation: Installation, clamd_server: RealClamd) -> Installation:
    """An installation whose uploads are scanned."""
    return with_scanner(installation, clamd_server.address)


def with_scanner(installation: Installation, address: str | None) -> Installation:
    settings = installation.settings.model_copy(update={"clamd_address": address, "clamd_timeout_s": 20.0})
    return replace(installation, settings=settings)


def validate(installation: Installation, job: Job) -> dg.ExecuteInProcessResult:
    """Run the first stage alone, as the dispatcher requests a run."""
    request = request_runs([job]).run_requests[0]
    installation.ledger.mark_dispatched([job.job_uuid])
    tags = {**request.tags, "dagster/run_key": run_key(job)}
    return installation.run(job.song, assets=["validated_file"], tags=tags)


def append(path: Path) -> Path:
    """Put EICAR behind everything else."""
    return makers.write_bytes(path, path.read_bytes() + eicar())


def id3_mp3(path: Path) -> Path:
    """Write an MP3 that carries EICAR in a tag."""
    tags = ID3()
    tags.add(TXXX(encoding=3, desc="note", text=eicar().decode("ascii")))
    tags.save(synth.write_mp3(path, AUDIO))
    return path


def in_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("eicar.com", eicar())
    return path


CONTAINERS: dict[str, Callable[[Path], Path]] = {
    "raw.com": lambda path: makers.write_bytes(path, eicar()),
    "a.wav": lambda path: append(synth.write_wav(path, AUDIO)),
    "a.flac": lambda path: append(synth.write_flac(path, AUDIO)),
    "a.m4a": lambda path: append(tagged_files.m4a(path.parent)),
    "a.aiff": lambda path: append(tagged_files.aiff(path.parent)),
    "tagged.mp3": id3_mp3,
    "raw.mp3": lambda path: append(synth.write_mp3(path, AUDIO)),
    "a.ogg": lambda path: append(synth.write_ogg(path, AUDIO)),
    "a.opus": lambda path: append(tagged_files.opus(path.parent)),
    "a.mka": lambda path: append(makers.matroska(path, packets=10, frames=60)),
    "a.zip": in_zip,
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_malware_is_found_in_every_container(clamd_server: RealClamd, tmp_path: Path, name: str) -> None:
    """Row 54, promise 11: also in MP3 and Ogg, which ClamAV ignores by type; without it each file is clean."""
    path = CONTAINERS[name](tmp_path / name)
    clamd = Clamd(clamd_server.address, 20.0)
    verdict = scan_file(path, clamd=clamd, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert (verdict.outcome, verdict.detail) == (Outcome.FOUND, "Eicar-Test-Body.UNOFFICIAL")
    if eicar() in path.read_bytes() and path.read_bytes() != eicar():
        clean = makers.write_bytes(tmp_path / "clean", path.read_bytes().replace(eicar(), b"x" * len(eicar())))
        digest = hashlib.sha256(clean.read_bytes()).hexdigest()
        assert scan_file(clean, clamd=clamd, sha256=digest).outcome is Outcome.CLEAN


@pytest.mark.parametrize("name", ["a.wav", "tagged.mp3"])
def test_malware_is_quarantined_and_never_decoded(
    guarded: Installation, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Row 54, CAT-002, SPLIT-020: found before anything opens it, kept for the owner's eyes alone, looked at again."""
    decoded: list[str] = []
    monkeypatch.setattr("ironclad_assets.pipeline.validate.run_task", lambda task, **_: decoded.append(task))
    job = guarded.submit(CONTAINERS[name](guarded.folder / name))
    assert not validate(guarded, job).success
    assert decoded == []
    check_quarantined(guarded, job)
    observed = guarded.instance.fetch_observations(dg.AssetKey("validated_file"), limit=1).records[0].asset_observation
    assert observed.metadata["error_code"].value == "malware"

    again = guarded.ledger.retry(job.job_uuid, actor="test")
    validate(guarded, again)
    check_quarantined(guarded, again)

    unguarded = with_scanner(guarded, None)
    last = unguarded.ledger.retry(again.job_uuid, actor="test")
    validate(unguarded, last)
    check_quarantined(unguarded, last, said="no scanner is set to look again")
    assert decoded == []


def check_quarantined(installation: Installation, job: Job, *, said: str = "found Eicar-Test-Body.UNOFFICIAL") -> None:
    failed = installation.ledger.job(job.job_uuid)
    assert (failed.state, failed.error.code) == (JobState.FAILED, "malware")
    assert said in failed.error.detail
    folder = installation.store.quarantine(job.song)
    original = folder / "original"
    assert json.loads((folder / "error.json").read_text(encoding="utf-8"))["code"] == "malware"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert original.stat().st_mode & 0o777 == 0o600
    assert original.samefile(installation.store.path(installation.ledger.song(job.song).archive_path))
    assert not installation.store.stage("validated_file", job.song).manifest.exists()


def test_what_was_taken_for_malware_and_is_clean_goes_on(guarded: Installation) -> None:
    """A signature that was wrong is taken back: a retry looks again, and nothing is left of the suspicion."""
    path = CONTAINERS["a.wav"](guarded.folder / "a.wav")
    job = guarded.submit(path)
    validate(guarded, job)
    check_quarantined(guarded, job)
    with running_clamd(signature=b"something else") as other:
        changed = with_scanner(guarded, other.address)
        again = changed.ledger.retry(job.job_uuid, actor="test")
        assert validate(changed, again).success
    song = guarded.ledger.song(job.song)
    assert guarded.store.path(song.archive_path).stat().st_mode & 0o777 == 0o444
    assert not guarded.store.quarantine(job.song).exists()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held jobs are released at the next look."""
    monkeypatch.setattr(dispatch, "FIRST_WAIT_S", 0.0)


@pytest.mark.usefixtures("impatient")
def test_a_scanner_that_is_away_holds_songs_until_it_is_back(installation: Installation) -> None:
    """Row 55, promise 11: nothing is accepted as clean meanwhile, and the song completes by itself afterwards."""
    with running_clamd() as scanner:
        guarded = with_scanner(installation, scanner.address)
        assert validate(guarded, guarded.song("before.flac", seed=1)).success
        scanner.stop()
        job = guarded.song("meanwhile.flac", seed=2)
        for _ in range(2):
            validate(guarded, guarded.ledger.job(job.job_uuid))
            held = guarded.ledger.job(job.job_uuid)
            assert (held.state, held.error.code) == (JobState.HELD, "scanner_away")
            assert held.error.remedy == "start clamd; work goes on by itself"
            assert not guarded.store.quarantine(job.song).exists()
            assert not guarded.store.stage("validated_file", job.song).manifest.exists()
            assert release_held(guarded.ledger, at_once=False) == 1
        scanner.start()
        assert guarded.dispatch(guarded.ledger.job(job.job_uuid)).success
    assert guarded.ledger.job(job.job_uuid).state is JobState.COMPLETED
    stored = load_artifact(guarded.store.stage("validated_file", job.song), ValidatedFile)
    assert stored.payload.scanned


def test_a_stream_that_is_too_long_for_the_scanner_is_held(installation: Installation) -> None:
    """Row 55: clamd ends the stream and says so, which is no word on the file."""
    with running_clamd(stream="64K") as scanner:
        guarded = with_scanner(installation, scanner.address)
        job = guarded.song("long.flac", seconds=2.0)
        validate(guarded, job)
        held = guarded.ledger.job(job.job_uuid)
    assert held.state is JobState.HELD
    assert held.error.detail.endswith("said 'INSTREAM size limit exceeded. ERROR'; raise StreamMaxLength in clamd.conf")


def test_a_scanner_that_would_hide_what_it_gave_up_on_holds_songs(installation: Installation) -> None:
    """Row 55: with ClamAV's own defaults, a file over its limits is "OK"."""
    with running_clamd(honest=False) as scanner:
        guarded = with_scanner(installation, scanner.address)
        job = guarded.song()
        validate(guarded, job)
        held = guarded.ledger.job(job.job_uuid)
    assert (held.state, held.error.code) == (JobState.HELD, "scanner_away")
    assert "AlertExceedsMax yes" in held.error.detail


def test_the_scan_is_a_check_of_its_own_and_names_who_looked(guarded: Installation) -> None:
    """SPLIT-020"""
    result = validate(guarded, guarded.song())
    checks = {
        one.check_name: one for one in result.get_asset_check_evaluations() if one.asset_key.path == ["validated_file"]
    }
    assert checks["scanned_clean"].passed
    assert checks["scanned_clean"].severity is dg.AssetCheckSeverity.ERROR
    metadata = result.get_asset_materialization_events()[0].materialization.metadata
    assert metadata["scanner"].value.startswith("ClamAV ")
    assert metadata["scanned"].value is True


def test_a_song_that_was_never_scanned_is_scanned_once_that_is_on(
    installation: Installation, clamd_server: RealClamd
) -> None:
    """SPLIT-020: and its stems, which the scan does not change, are not made again."""
    job = installation.song()
    assert installation.dispatch(job).success
    before = read_manifest(installation.store.stage("stems", job.song))
    assert not load_artifact(installation.store.stage("validated_file", job.song), ValidatedFile).payload.scanned

    guarded = with_scanner(installation, clamd_server.address)
    again = guarded.ledger.retry(job.job_uuid, actor="test")
    result = guarded.dispatch(again)
    assert result.success
    reused = {one.asset_key.path[-1]: one.metadata["reused"].value for one in materializations(result)}
    assert reused["validated_file"] is False
    assert reused["stems"] is True
    assert load_artifact(guarded.store.stage("validated_file", job.song), ValidatedFile).payload.scanned
    assert read_manifest(guarded.store.stage("stems", job.song)).written_at == before.written_at

    third = guarded.ledger.retry(again.job_uuid, actor="test")
    assert all(one.metadata["reused"].value for one in materializations(validate(guarded, third)))


def materializations(result: dg.ExecuteInProcessResult) -> Iterator[dg.AssetMaterialization]:
    return (event.materialization for event in result.get_asset_materialization_events())


def test_malware_uploaded_before_the_scanner_was_set_is_found_when_looked_at_again(
    installation: Installation, clamd_server: RealClamd
) -> None:
    job = installation.submit(CONTAINERS["a.wav"](installation.folder / "a.wav"))
    assert validate(installation, job).success
    guarded = with_scanner(installation, clamd_server.address)
    again = guarded.ledger.retry(job.job_uuid, actor="test")
    validate(guarded, again)
    failed = guarded.ledger.job(again.job_uuid)
    assert (failed.state, failed.error.code) == (JobState.FAILED, "malware")
