"""Engines as Kubernetes jobs, against a cluster of this machine whose kubelet really runs the pods' commands."""

import itertools
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from ironclad_assets.contracts.v1.engine import AudioFile, EngineRequest, EngineResult
from ironclad_assets.contracts.v1.staged_chunks import Chunk, MixtureStatistics
from ironclad_assets.engine_host.executor import SubprocessExecutor, run_surviving
from ironclad_assets.engine_host.registry import find_engines
from ironclad_assets.errors import ChildKilled, ErrorCode, IroncladError, JobCanceled
from ironclad_assets.resources.kubernetes_executor import KubernetesExecutor, make_executor
from ironclad_assets.resources.kubernetes_log import FollowedLog
from ironclad_assets.resources.kubernetes_pipes import EnginePipesClient
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.settings import Settings
from tests.unit.engine_host.rogues import Bench, set_up
from tests.unit.resources.fake_kubernetes import FakeKubernetes, Kubelet, Pod, run_pod

ROOT = Path(__file__).resolve().parents[3]
ENGINES = ROOT / "engines"
RATE = 44_100
DAGSTER_S = 1.5
"""How long Dagster may take to end the run around it."""

LIMITS = Limits(cpu_s=60, memory_bytes=400 * 1024**2, wall_s=60, stall_s=30)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeKubernetes]:
    with FakeKubernetes(tmp_path) as cluster:
        yield cluster


class Recorder:
    """Remembers progress and when it came; cancels once told."""

    def __init__(self, cancel_when: Callable[[], object] = lambda: False) -> None:
        self.told: list[tuple[float, float, str]] = []
        self.canceled_at: float | None = None
        self._cancel_when = cancel_when

    def progress(self, fraction: float, message: str) -> None:
        self.told.append((time.monotonic(), fraction, message))

    def canceled(self) -> bool:
        if self.canceled_at is None and self._cancel_when():
            self.canceled_at = time.monotonic()
        return self.canceled_at is not None

    def pauses_s(self) -> list[float]:
        return [later[0] - earlier[0] for earlier, later in itertools.pairwise(self.told)]


def settings_for(bench: Bench, cluster: FakeKubernetes, **changes: Any) -> Settings:
    """Return settings for pods that see the bench's folder, whose engines are there too."""
    values: dict[str, Any] = {
        "home": bench.folder / "home",
        "kubernetes_config": cluster.config,
        "kubernetes_image": "registry.example/ironclad-{environment}:{version}",
        "kubernetes_engines_path": bench.engine.folder.parent,
        "kubernetes_python": sys.executable,
        "kubernetes_data_volume": str(bench.folder),
        "kubernetes_data_mount": bench.folder,
        "kubernetes_user_id": 1000,
    }
    return Settings(**(values | changes))


def in_an_asset(work: Callable[[dg.AssetExecutionContext], Any]) -> Any:
    """Return what `work` returns, or raise what it raises, called with the context of an asset's run."""
    outcome: list[Any] = []

    @dg.asset
    def song(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        try:
            outcome.append(work(context))
        except IroncladError as error:
            outcome.append(error)
        return dg.MaterializeResult()

    with tempfile.TemporaryDirectory() as folder:
        assert dg.materialize([song], instance=dg.DagsterInstance.ephemeral(tempdir=folder)).success
    if isinstance(outcome[0], IroncladError):
        raise outcome[0]
    return outcome[0]


def run(
    bench: Bench,
    settings: Settings,
    *,
    limits: Limits = LIMITS,
    watch: Recorder | None = None,
    surviving: bool = False,
    lost_s: float = 60.0,
) -> EngineResult:
    """Run the bench's request in a pod."""

    def work(context: dg.AssetExecutionContext) -> EngineResult:
        executor = KubernetesExecutor(settings, context, lost_s=lost_s, result_s=0.5)
        given = {"hand_off": bench.hand_off, "limits": limits, "log_path": bench.log_path, "watch": watch}
        if surviving:
            return run_surviving(executor, bench.request, engine=bench.engine, **given)
        return executor.run(bench.request, engine=bench.engine, **given)

    return in_an_asset(work)


def spectral_bench(folder: Path, *, seconds: float) -> Bench:
    """Return a song for the built-in engine: two tones and noise, in chunks of two seconds."""
    (folder / "output").mkdir(parents=True)
    frames = int(seconds * RATE)
    t = np.arange(frames) / RATE
    noise = np.random.default_rng(7).normal(0, 0.02, (frames, 2))
    y = noise + np.stack([np.sin(2 * np.pi * 220 * t), np.sin(2 * np.pi * 331 * t)], axis=1) * 0.2
    y.astype("<f4").tofile(folder / "mixture.f32")
    engine = find_engines(ENGINES)["spectral"]
    model = engine.manifest.models[0]
    request = EngineRequest(
        job_uuid="0a1b",
        song="song",
        engine="spectral",
        engine_version=engine.manifest.version,
        entry=engine.manifest.entry,
        model=model.name,
        stems=model.stems,
        mixture=AudioFile(path=str(folder / "mixture.f32"), sample_rate_hz=RATE, channels=2, frames=frames),
        statistics=MixtureStatistics(mean=0.0, std=0.15, peak=0.3, rms=0.15),
        chunks=tuple(Chunk(start=at, frames=min(2 * RATE, frames - at)) for at in range(0, frames, 2 * RATE)),
        key="a" * 64,
        output_dir=str(folder / "output"),
    )
    return Bench(engine=engine, request=request, folder=folder)


def stems(bench: Bench) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(bench.output.glob("*.f32"))}


def failure_of(bench: Bench, settings: Settings, **options: Any) -> IroncladError:
    with pytest.raises(IroncladError) as caught:
        run(bench, settings, **options)
    return caught.value


def replace_settings(settings: Settings, **changes: Any) -> Settings:
    return Settings(**(settings.model_dump(exclude_unset=True) | changes))


def unschedulable(message: str) -> dict[str, str]:
    return {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}


def no_node(message: str) -> Kubelet:
    """Return a scheduler that finds no node for any pod."""

    def kubelet(cluster: FakeKubernetes, pod: Pod) -> None:
        pod.status = {"phase": "Pending", "conditions": [unschedulable(message)]}

    return kubelet


def waiting(*reasons: str, message: str = "") -> Kubelet:
    """Return a kubelet whose pods wait for one reason after the other, as long as they are wanted."""

    def kubelet(cluster: FakeKubernetes, pod: Pod) -> None:
        for reason in itertools.cycle(reasons):
            pod.set_container({"waiting": {"reason": reason, "message": message}}, phase="Pending")
            time.sleep(0.4)
            if cluster.pods.get(pod.name) is not pod:
                return

    return kubelet


def run_pod_until(
    cluster: FakeKubernetes, pod: Pod, *, seen: bytes, act: Callable[[], None], report: bool = False
) -> None:
    """Run the pod until its worker has said `seen`, then act; how it ended is reported only if so told."""
    follower = threading.Thread(target=run_pod, args=(cluster, pod))
    follower.start()
    cluster.wait_until(lambda: any(seen in line for _, line in pod.log), timeout_s=30)
    pod.frozen = not report
    act()
    follower.join(timeout=20)
    pod.frozen = False


def test_stems_from_a_pod_are_those_of_the_subprocess_byte_for_byte(tmp_path, cluster):
    """ENG-002."""
    here, there = spectral_bench(tmp_path / "here", seconds=8), spectral_bench(tmp_path / "there", seconds=8)
    SubprocessExecutor().run(
        here.request, engine=here.engine, hand_off=here.hand_off, limits=LIMITS, log_path=here.log_path
    )
    result = in_an_asset(
        lambda context: make_executor(settings_for(there, cluster), context).run(
            there.request, engine=there.engine, hand_off=there.hand_off, limits=LIMITS, log_path=there.log_path
        )
    )
    assert (result.status, result.device) == ("completed", "cpu")
    assert len(stems(here)) == 4
    assert stems(there) == stems(here)
    assert not cluster.pods
    assert not there.hand_off.exists()


def test_progress_comes_at_least_once_a_second_and_never_goes_back(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Slow", seconds=8.0)

    def slow_to_start(cluster: FakeKubernetes, pod: Pod) -> None:
        pod.status = {"phase": "Pending", "conditions": [unschedulable("0/1 nodes are available")]}
        time.sleep(3)
        run_pod(cluster, pod)

    cluster.kubelet = slow_to_start
    watch = Recorder()
    run(bench, settings_for(bench, cluster), watch=watch)
    fractions = [fraction for _, fraction, _ in watch.told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert any("0/1 nodes are available" in message for _, _, message in watch.told)
    pauses = sorted(watch.pauses_s())
    # The machine that runs the tests may be busy for longer than that, but not all the time.
    assert pauses[int(len(pauses) * 0.9)] <= 1.0


def test_finished_work_is_not_done_again_and_the_pod_that_did_it_is_removed(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Good")
    settings = settings_for(bench, cluster)
    first = run(bench, settings)
    pod = cluster.only_pod()
    del pod.manifest["metadata"]["deletionTimestamp"]
    cluster.pods[pod.name] = pod
    assert run(bench, settings) == first
    assert len(cluster.made) == 1
    cluster.wait_until(lambda: not cluster.pods)
    cluster.go_away()
    assert run(bench, settings) == first, "finished work needs no cluster"


def test_a_cancel_ends_the_pod_and_its_worker_within_five_seconds(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="IgnoresStop", seconds=8.0)
    watch = Recorder(cancel_when=lambda: cluster.made and cluster.only_pod().log)
    with pytest.raises(JobCanceled):
        run(bench, settings_for(bench, cluster), watch=watch)
    assert time.monotonic() - watch.canceled_at < 5 + DAGSTER_S
    assert not cluster.pods
    assert cluster.only_pod().process.returncode is not None
    assert not bench.output.joinpath("result.json").exists()


def test_a_cancel_is_heard_while_a_pod_waits_and_while_the_cluster_is_away(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Good")
    cluster.kubelet = waiting("ContainerCreating")
    watch = Recorder(cancel_when=lambda: cluster.made)
    with pytest.raises(JobCanceled):
        run(bench, settings_for(bench, cluster), watch=watch)
    assert not cluster.pods
    cluster.answer = lambda method, path: (503, "ServiceUnavailable", "etcd is electing")
    watch = Recorder(cancel_when=lambda: len(cluster.calls) > 5)
    with pytest.raises(JobCanceled):
        run(bench, settings_for(bench, cluster), watch=watch)
    assert time.monotonic() - watch.canceled_at < 8 + DAGSTER_S


def test_an_interrupted_run_leaves_no_pod(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Hangs")

    def interrupt() -> bool:
        if cluster.made and cluster.only_pod().log:
            raise InterruptedError("Dagster ends the run")
        return False

    with pytest.raises(InterruptedError):
        run(bench, settings_for(bench, cluster), watch=Recorder(cancel_when=interrupt))
    assert not cluster.pods
    assert cluster.only_pod().process.returncode is not None


def test_a_log_that_may_not_be_read_costs_the_progress_and_nothing_else(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Slow", seconds=8.0)
    forbidden = (403, "Forbidden", "cannot get resource pods/log")
    cluster.answer = lambda method, path: forbidden if "/log" in path else None
    watch = Recorder()
    result = run(bench, settings_for(bench, cluster), watch=watch, limits=replace(LIMITS, stall_s=0.5, loading_s=0.5))
    assert result.status == "completed"
    assert any("cannot get resource pods/log" in message for _, _, message in watch.told)


@pytest.mark.parametrize(
    ("entry", "code", "named"),
    [
        ("Fails", ErrorCode.ENGINE_FAILED, "the model is upside down"),
        ("Names", ErrorCode.ENGINE_UNAVAILABLE, "the weights are missing"),
        ("Leaves", ErrorCode.ENGINE_PROTOCOL, "without a result"),
        ("NoMemory", ErrorCode.OUT_OF_MEMORY, "asked for 9 GB"),
        ("Crashes", ErrorCode.ENGINE_FAILED, "status -6"),
        ("KilledBySystem", ErrorCode.OUT_OF_MEMORY, "137"),
    ],
)
def test_an_engine_that_fails_in_a_pod_has_the_code_it_has_elsewhere(tmp_path, cluster, entry, code, named):
    bench = set_up(tmp_path / "bench", entry=entry)
    error = failure_of(bench, settings_for(bench, cluster))
    assert error.code is code
    assert named in error.detail
    assert not cluster.pods


def test_what_an_engine_prints_is_in_the_log_and_garbles_nothing(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Chatty")
    assert run(bench, settings_for(bench, cluster)).status == "completed"
    log = bench.log_path.read_bytes()
    assert log.count(b"the end of the chatter") >= 1
    assert len(log) < 110_000


def test_reaching_the_memory_limit_is_out_of_memory(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Slow", seconds=8.0)

    def kill_for_memory(cluster: FakeKubernetes, pod: Pod) -> None:
        run_pod_until(cluster, pod, seen=b'"windows": 2', act=lambda: pod.terminate(signal.SIGKILL))
        state = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
        pod.set_container(state, phase="Failed")

    cluster.kubelet = kill_for_memory
    error = failure_of(bench, settings_for(bench, cluster))
    assert error.code is ErrorCode.OUT_OF_MEMORY
    assert not isinstance(error, ChildKilled), "the same limit would be reached again"
    assert "OOMKilled" in error.detail
    assert bench.output.joinpath("checkpoint").exists(), "a smaller batch goes on from here"


def test_the_pods_deadline_is_a_limit_of_time(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Hangs")
    error = failure_of(bench, settings_for(bench, cluster), limits=replace(LIMITS, wall_s=2.0))
    assert error.code is ErrorCode.LIMIT_TIME


def test_a_worker_that_finishes_no_window_is_stalled(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Hangs")
    error = failure_of(bench, settings_for(bench, cluster), limits=replace(LIMITS, stall_s=1.5))
    assert error.code is ErrorCode.ENGINE_STALLED
    assert not cluster.pods


def evict(cluster: FakeKubernetes, pod: Pod) -> None:
    pod.terminate(signal.SIGKILL)
    pod.process.wait()
    pod.status = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}


def remove(cluster: FakeKubernetes, pod: Pod) -> None:
    pod.terminate(signal.SIGKILL)
    pod.process.wait()
    cluster.forget(pod)


def drain(cluster: FakeKubernetes, pod: Pod) -> None:
    cluster.delete(pod.name, {})


@pytest.mark.parametrize("fate", [evict, *(pytest.param(one, marks=pytest.mark.long) for one in (remove, drain))])
def test_a_pod_lost_to_the_cluster_is_replaced_and_goes_on_at_the_checkpoint(tmp_path, cluster, fate):
    undisturbed = set_up(tmp_path / "undisturbed", entry="Good", seconds=8.0)
    SubprocessExecutor().run(
        undisturbed.request,
        engine=undisturbed.engine,
        hand_off=undisturbed.hand_off,
        limits=LIMITS,
        log_path=undisturbed.log_path,
    )
    bench = set_up(tmp_path / "bench", entry="Slow", seconds=8.0)

    def kubelet(cluster: FakeKubernetes, pod: Pod) -> None:
        if len(cluster.made) == 1:
            run_pod_until(cluster, pod, seen=b'"chunk": 2', act=lambda: fate(cluster, pod), report=fate is drain)
        else:
            run_pod(cluster, pod)

    cluster.kubelet = kubelet
    result = run(bench, settings_for(bench, cluster), surviving=True)
    assert len(cluster.made) == 2
    assert result.resumed_chunks >= 2
    assert result.resumed_chunks + result.computed_chunks == len(bench.request.chunks)
    assert stems(bench) == stems(undisturbed)
    assert not cluster.pods


@pytest.mark.long
def test_a_pod_on_a_silent_node_is_never_doubled(tmp_path, cluster):
    """The node may be alive and write: until it says otherwise, no other pod gets the same output."""
    bench = set_up(tmp_path / "bench", entry="Hangs")

    def lose_node(cluster: FakeKubernetes, pod: Pod) -> None:
        pod.set_container({"running": {}}, phase="Running")
        cluster.write_log(pod, b'{"kind": "started"}')
        cluster.write_log(pod, b'{"kind": "log", "message": "loaded the weights"}')
        pod.status["conditions"] = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]
        pod.frozen = True

    cluster.kubelet = lose_node
    settings = settings_for(bench, cluster, kubernetes_start_s=3.0)
    error = failure_of(bench, settings, surviving=True, lost_s=1.0)
    assert error.code is ErrorCode.CLUSTER_AWAY
    assert cluster.only_pod().name in error.detail
    assert len(cluster.made) == 1
    assert "loaded the weights" in bench.log_path.read_text()


@pytest.mark.parametrize(
    ("reasons", "message"),
    [
        (("ErrImagePull", "ImagePullBackOff"), "Back-off pulling image"),
        (("CreateContainerConfigError",), 'secret "weights" not found'),
    ],
)
def test_a_wrong_image_or_configuration_is_told_after_a_while(tmp_path, cluster, reasons, message):
    bench = set_up(tmp_path / "bench", entry="Good")
    cluster.kubelet = waiting(*reasons, message=message)
    error = failure_of(bench, settings_for(bench, cluster, kubernetes_fault_s=2.0))
    assert error.code is ErrorCode.ENGINE_UNAVAILABLE
    assert message in error.detail
    assert any(reason in error.detail for reason in reasons)
    assert not cluster.pods


def test_an_image_that_comes_at_the_second_try_is_no_error(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Good")

    def second_try(cluster: FakeKubernetes, pod: Pod) -> None:
        pod.set_container({"waiting": {"reason": "ErrImagePull", "message": "connection reset"}}, phase="Pending")
        time.sleep(1.5)
        run_pod(cluster, pod)

    cluster.kubelet = second_try
    assert run(bench, settings_for(bench, cluster, kubernetes_fault_s=20.0)).status == "completed"


def test_a_pod_that_no_node_takes_is_told_after_a_while(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Good")
    cluster.kubelet = no_node("0/3 nodes are available: 3 Insufficient memory.")
    error = failure_of(bench, settings_for(bench, cluster, kubernetes_start_s=1.5))
    assert error.code is ErrorCode.ENGINE_UNAVAILABLE
    assert "Unschedulable: 0/3 nodes are available: 3 Insufficient memory." in error.detail
    cluster.kubelet = waiting("ContainerCreating")
    warning = {"type": "Warning", "reason": "FailedMount", "message": "timed out waiting for nfs", "metadata": {}}
    cluster.events = [warning | {"involvedObject": {}}]
    error = failure_of(bench, settings_for(bench, cluster, kubernetes_start_s=1.5))
    assert "FailedMount: timed out waiting for nfs" in error.detail


def test_a_gpu_that_no_node_has_is_an_error_and_no_run_on_the_processor(tmp_path, cluster):
    """ENG-002."""
    bench = set_up(tmp_path / "bench", entry="Good")
    bench = replace(bench, request=bench.request.model_copy(update={"device": "cuda"}))
    cluster.kubelet = no_node("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    error = failure_of(bench, settings_for(bench, cluster, kubernetes_start_s=1.5))
    assert error.code is ErrorCode.DEVICE_UNAVAILABLE
    assert "Insufficient nvidia.com/gpu" in error.detail
    assert cluster.only_pod().container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert not cluster.pods
    assert not stems(bench)


def test_a_pod_that_the_cluster_refuses_is_told_at_once(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Good")
    cluster.answer = lambda method, path: (
        (403, "Forbidden", 'User "runner" cannot create pods') if method == "POST" else None
    )
    error = failure_of(bench, settings_for(bench, cluster))
    assert error.code is ErrorCode.ENGINE_UNAVAILABLE
    assert 'User "runner" cannot create pods' in error.detail


def test_a_quota_that_is_used_up_is_waited_for(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Good")
    used_up = (403, "Forbidden", "exceeded quota: gpus, requested: 1, used: 4, limited: 4")
    cluster.answer = lambda method, path: used_up if method == "POST" and len(cluster.calls) < 4 else None
    watch = Recorder()
    assert run(bench, settings_for(bench, cluster), watch=watch).status == "completed"
    assert any("exceeded quota" in message for _, _, message in watch.told)


def test_a_cluster_that_does_not_answer_for_a_while_costs_nothing(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Slow", seconds=16.0)
    down: list[float] = []

    def answer(method: str, path: str) -> tuple[int, str, str] | None:
        if cluster.made and b'"windows": 3' in b"".join(line for _, line in cluster.only_pod().log):
            down.append(time.monotonic())
            if down[-1] - down[0] < 3:
                cluster.cut_logs.set()
                return 503, "ServiceUnavailable", "the control plane is upgraded"
        cluster.cut_logs.clear()
        return None

    cluster.answer = answer
    # Deaf for longer than a stall may last: who cannot hear must not judge.
    result = run(bench, settings_for(bench, cluster), limits=replace(LIMITS, stall_s=2.0))
    assert result.status == "completed"
    assert len(down) > 1
    assert len(cluster.made) == 1
    assert "cluster away: 503" in bench.log_path.read_text()


@pytest.mark.long
def test_a_cluster_that_stays_away_is_an_error_and_its_pod_is_found_again(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Slow", seconds=20.0)
    settings = settings_for(bench, cluster, kubernetes_away_s=1.0)
    cluster.answer = lambda method, path: (500, "InternalError", "etcd") if cluster.made else None
    error = failure_of(bench, settings)
    assert error.code is ErrorCode.CLUSTER_AWAY
    assert not error.permanent
    assert "500 InternalError: etcd" in error.detail
    cluster.answer = lambda method, path: None
    result = run(bench, settings)
    assert (result.status, result.resumed_chunks) == ("completed", 0)
    assert len(cluster.made) == 1
    assert "adopted" in bench.log_path.read_text()
    assert not cluster.pods


def test_a_cluster_that_refuses_connections_or_has_no_configuration_is_told(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Good")
    secure = tmp_path / "secure.json"
    secure.write_text(cluster.config.read_text().replace("http://", "https://"))
    error = failure_of(bench, settings_for(bench, cluster, kubernetes_config=secure, kubernetes_away_s=0.1))
    assert error.code is ErrorCode.CLUSTER_AWAY
    assert "SSLError" in error.detail
    cluster.go_away()
    error = failure_of(bench, settings_for(bench, cluster, kubernetes_away_s=1.0))
    assert error.code is ErrorCode.CLUSTER_AWAY
    assert "Connection refused" in error.detail
    error = failure_of(bench, settings_for(bench, cluster, kubernetes_config=tmp_path / "nothing"))
    assert error.code is ErrorCode.ENGINE_UNAVAILABLE
    assert "IRONCLAD_KUBERNETES_CONFIG" in error.detail


FOLLOW_IN_A_PROCESS = """
import pickle, sys
from pathlib import Path
from tests.unit.resources.test_kubernetes_executor import run
run(*pickle.loads(Path(sys.argv[1]).read_bytes()))
"""


def test_the_pod_of_a_run_that_was_killed_is_adopted_by_the_next(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Slow", seconds=16.0)
    settings = settings_for(bench, cluster)
    call = tmp_path / "call.pickle"
    call.write_bytes(pickle.dumps((bench, settings)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", FOLLOW_IN_A_PROCESS, str(call)], env=environment, cwd=ROOT) as process:
        cluster.wait_until(lambda: (bench.output / "checkpoint").exists(), timeout_s=60)
        process.kill()
    result = run(bench, settings)
    assert (result.status, result.resumed_chunks) == ("completed", 0)
    assert len(cluster.made) == 1
    assert not cluster.pods


def test_a_pod_at_other_work_on_the_same_output_is_ended_first(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Slow", seconds=12.0)
    settings = settings_for(bench, cluster)
    other = replace(bench, request=bench.request.model_copy(update={"job_uuid": "another"}))
    cluster.answer = lambda method, path: (500, "InternalError", "etcd") if cluster.made else None
    failure_of(other, replace_settings(settings, kubernetes_away_s=0.5))
    cluster.answer = lambda method, path: None
    result = run(bench, settings)
    assert result.status == "completed"
    first, second = cluster.made
    assert first.name == second.name
    assert first.process.returncode is not None
    assert first.manifest["metadata"]["labels"]["ironclad/job_uuid"] == "another"
    assert second.manifest["metadata"]["labels"]["ironclad/job_uuid"] == "job"


def test_a_broken_log_is_taken_up_where_it_broke(tmp_path, cluster):
    bench = set_up(tmp_path / "bench", entry="Good")
    settings = settings_for(bench, cluster)
    lines = [f"line {number}".encode() for number in range(60)]

    def speak(cluster: FakeKubernetes, pod: Pod) -> None:
        pod.set_container({"running": {}}, phase="Running")
        for line in lines:
            cluster.write_log(pod, line)
            time.sleep(0.03)
        pod.log_complete = True

    cluster.kubelet = speak
    metadata = {"name": "speaker", "annotations": {"ironclad/output": "o"}}
    cluster.create({"metadata": metadata, "spec": {"containers": [{"name": "engine"}]}})
    connection = EnginePipesClient(settings).connect()
    followed = FollowedLog(connection, pod="speaker", container="engine")
    heard: list[bytes] = []
    cluster.wait_until(lambda: heard.extend(followed.take(timeout_s=0.1)) or len(heard) > 20)
    cluster.cut_logs.set()
    cluster.wait_until(lambda: followed.deaf_since is not None)
    cluster.cut_logs.clear()
    cluster.wait_until(lambda: cluster.only_pod().log_complete)
    heard += followed.finish(timeout_s=5)
    followed.stop()
    connection.close()
    assert heard == lines
