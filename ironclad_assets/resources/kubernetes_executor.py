"""Engines as Kubernetes jobs: the worker command of the other executors, in a pod on a node that fits.

Made for one asset's run, whose Dagster context the Pipes session needs. Importing this module imports
dagster_k8s, which takes seconds: only an installation that chose it does (docs/kubernetes.md).
"""

from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg

from ironclad_assets.contracts.v1.engine import EngineRequest, EngineResult
from ironclad_assets.engine_host.executor import Executor
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.engine_host.runner import work_off
from ironclad_assets.engine_host.worker_log import WorkerLog
from ironclad_assets.errors import ErrorCode, IroncladError, failure
from ironclad_assets.resources.kubernetes_cluster import ClusterAway, ClusterRefusal
from ironclad_assets.resources.kubernetes_pipes import EnginePipesClient
from ironclad_assets.resources.kubernetes_plan import GRACE_S, plan_pod, pod_name
from ironclad_assets.resources.kubernetes_pod import LOST_S, ClaimedPod
from ironclad_assets.resources.kubernetes_worker import Patience, PodWorker
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.watch import Watch
from ironclad_assets.settings import Settings


def make_executor(settings: Settings, context: dg.AssetExecutionContext | None) -> Executor:
    """Return the executor that runs engines as Kubernetes jobs, for one asset's run.

    Raises:
        IroncladError: ``ENGINE_UNAVAILABLE``: there is no run, so no Pipes session can be opened.
    """
    if context is None:
        raise failure(ErrorCode.ENGINE_UNAVAILABLE, "a Kubernetes job can only be started by a Dagster run")
    return KubernetesExecutor(settings, context)


@dataclass(frozen=True, slots=True)
class KubernetesExecutor:
    """Works requests off in pods, one each.

    Attributes:
        settings: which cluster, image, volumes, nodes and patience.
        context: the run of the asset that wants the work done.
        lost_s: how long a node may be silent before its work counts as lost.
        result_s: how long a network file system may hide a result.
    """

    settings: Settings
    context: dg.AssetExecutionContext
    lost_s: float = LOST_S
    result_s: float = 30.0

    def run(
        self,
        request: EngineRequest,
        *,
        engine: InstalledEngine,
        hand_off: Path,
        limits: Limits,
        log_path: Path,
        watch: Watch | None = None,
    ) -> EngineResult:
        """Do as `Executor.run` says, in a pod.

        Of `limits`, memory and time become the pod's own; processor time and the size of files have no
        counterpart in Kubernetes. The stems arrive over the shared volume, events over the pod's log.

        Raises:
            IroncladError: ``ENGINE_UNAVAILABLE`` or ``DEVICE_UNAVAILABLE`` where the cluster does not start
                the pod, ``CLUSTER_AWAY`` where it does not answer, and all that `Executor.run` raises.
        """
        started = False

        def start(request_path: Path, log: WorkerLog) -> PodWorker:
            nonlocal started
            started = True
            return self._start(request, engine=engine, request_path=request_path, limits=limits, log=log)

        # Waiting for a pod is no stall, and neither is silence while the API is away: the worker judges that.
        unhurried = replace(limits, stall_s=None)
        result = work_off(request, start=start, hand_off=hand_off, limits=unhurried, log_path=log_path, watch=watch)
        if not started:
            self._sweep(request)
        return result

    def _start(
        self, request: EngineRequest, *, engine: InstalledEngine, request_path: Path, limits: Limits, log: WorkerLog
    ) -> PodWorker:
        plan = plan_pod(request, engine=engine, request_path=request_path, limits=limits, settings=self.settings)
        pipes = EnginePipesClient(self.settings)
        with ExitStack() as stack:
            cluster = pipes.connect()
            stack.callback(cluster.close)
            body = pipes.open(stack, context=self.context, plan=plan)
            pod = ClaimedPod(request, plan=plan, body=body, cluster=cluster, log=log, lost_s=self.lost_s)
            return PodWorker(
                request,
                pod=pod,
                plan=plan,
                cluster=cluster,
                patience=self._patience(limits),
                voice=pipes.voice,
                log=log,
                gpu_resource=self.settings.kubernetes_gpu_resource,
                release=stack.pop_all().close,
            )

    def _sweep(self, request: EngineRequest) -> None:
        """Remove the pod that finished while nobody followed it; nothing depends on that."""
        name = pod_name(request, settings=self.settings)
        with (
            suppress(ClusterAway, ClusterRefusal, IroncladError),
            closing(EnginePipesClient(self.settings).connect()) as cluster,
        ):
            if (pod := cluster.read(name)) is not None:
                cluster.delete(name, uid=pod.metadata.uid, grace_s=GRACE_S)

    def _patience(self, limits: Limits) -> Patience:
        return Patience(
            start_s=self.settings.kubernetes_start_s,
            fault_s=self.settings.kubernetes_fault_s,
            away_s=self.settings.kubernetes_away_s,
            stall_s=limits.stall_s,
            loading_s=limits.loading_s,
            wall_s=limits.wall_s,
            result_s=self.result_s,
        )
