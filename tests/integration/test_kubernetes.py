"""A song through the whole graph with its engine as a Kubernetes job: only settings differ from other songs."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import JobState
from tests.integration.conftest import Installation
from tests.unit.resources.fake_kubernetes import FakeKubernetes


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeKubernetes]:
    with FakeKubernetes(tmp_path) as cluster:
        yield cluster


def on(cluster: FakeKubernetes, installation: Installation, **changes: object) -> Installation:
    settings = installation.settings.model_copy(
        update={
            "executor": "kubernetes",
            "kubernetes_config": cluster.config,
            "kubernetes_image": "registry.example/ironclad-{engine}:{version}",
            "kubernetes_engines_path": installation.settings.engines_path,
            "kubernetes_python": sys.executable,
            "kubernetes_data_volume": str(installation.store.root),
            "kubernetes_user_id": 1000,
            **changes,
        }
    )
    return replace(installation, settings=settings)


def test_a_song_is_separated_in_the_cluster_by_configuration_alone(installation: Installation, cluster) -> None:
    """ENG-002."""
    here = installation.song("song.flac", seed=1)
    assert installation.dispatch(here).success
    elsewhere = on(cluster, installation)
    there = elsewhere.song("song.flac", seed=1, user_id="ada")
    assert elsewhere.dispatch(there).success
    assert elsewhere.ledger.job(there.job_uuid).state is JobState.COMPLETED
    pod = cluster.only_pod()
    assert pod.manifest["metadata"]["labels"]["ironclad/job_uuid"] == there.job_uuid
    assert pod.manifest["metadata"]["annotations"]["ironclad/song"] == there.song
    assert not cluster.pods
    assert stems_of(elsewhere, there.song)
    assert stems_of(elsewhere, there.song) == stems_of(installation, here.song)


def stems_of(installation: Installation, song: str) -> dict[str, bytes]:
    folder = installation.store.stage("stems", song).path
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.f32"))}


def test_a_cluster_that_cannot_run_it_fails_the_job_with_the_reason(installation: Installation, cluster) -> None:
    elsewhere = on(cluster, installation, kubernetes_image=None)
    job = elsewhere.song()
    assert not elsewhere.dispatch(job).success
    failed = elsewhere.ledger.job(job.job_uuid)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.code == "engine_unavailable"
    assert "IRONCLAD_KUBERNETES_IMAGE" in failed.error.detail
