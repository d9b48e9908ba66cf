"""dagster_k8s' Pipes client as engines use it: its session, context, configuration and pod, our own watching.

`PipesK8sClient.run` waits for a pod in one blocking call: it hears no cancel, knows an end only as a text, names
pods at random and follows them to no end once they are removed (docs/adr/0007). What it is made of is used
here piece by piece.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import dagster as dg
from dagster._core.pipes.context import PipesMessageHandler
from dagster_k8s import PipesK8sClient
from dagster_k8s.pipes import build_pod_body
from dagster_k8s.utils import detect_current_namespace
from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD, PipesDefaultMessageWriter, PipesParams

from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.resources.kubernetes_cluster import Cluster, Pod
from ironclad_assets.resources.kubernetes_plan import PodPlan
from ironclad_assets.settings import Settings

LOG_INTERVAL_S = 1.0
"""Dagster stores each log message as an event; more than one a second would slow the run."""


class EngineVoice(dg.PipesMessageReader):
    """Tells a Pipes session what a worker says in the engine protocol; workers need no Pipes library."""

    def __init__(self) -> None:
        self._handler: PipesMessageHandler | None = None
        self._logged_at = float("-inf")

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Take the session's handler as long as the session lasts."""
        self._handler = handler
        try:
            yield {PipesDefaultMessageWriter.STDIO_KEY: PipesDefaultMessageWriter.STDERR}
        finally:
            self._handler = None

    def opened(self) -> None:
        """The worker has said its first word."""
        self._send("opened", {"extras": {}})

    def log(self, message: str) -> None:
        """The worker has a line for the log."""
        if time.monotonic() - self._logged_at >= LOG_INTERVAL_S:
            self._logged_at = time.monotonic()
            self._send("log", {"message": message[:1000], "level": "info"})

    def closed(self) -> None:
        """The worker will say no more."""
        self._send("closed", {})

    @property
    def expected_writer_count(self) -> int:
        # The inherited one warns, at every session, that several writers are a preview.
        return 1

    def no_messages_debug_text(self) -> str:
        return "The worker's events were to be read from its pod's log."

    def _send(self, method: str, params: Mapping[str, object]) -> None:
        if self._handler is not None:
            # The message is made as Pipes spells it; its type names the version field literally.
            self._handler.handle_message(
                {PIPES_PROTOCOL_VERSION_FIELD: "0.1", "method": method, "params": params}  # type: ignore[misc]
            )


class EnginePipesClient(PipesK8sClient):
    """The stock client, giving out its parts instead of running a pod by itself."""

    def __init__(self, settings: Settings) -> None:
        config = settings.kubernetes_config
        self.voice = EngineVoice()
        super().__init__(
            message_reader=self.voice,
            kubeconfig_file=None if config is None else str(config),
            kube_context=settings.kubernetes_context,
        )
        self._settings = settings

    def connect(self) -> Cluster:
        """Return the cluster and namespace that the settings name.

        Raises:
            IroncladError: ``ENGINE_UNAVAILABLE``: there is no usable configuration for a cluster.
        """
        try:
            self._load_k8s_config()  # type: ignore[no-untyped-call]  # dagster_k8s says no types here
            namespace = self._settings.kubernetes_namespace or detect_current_namespace(self.kubeconfig_file)
        except Exception as error:  # the client library raises whatever its parsers do
            detail = f"the cluster's configuration cannot be used: {type(error).__name__}: {error}"
            raise failure(ErrorCode.ENGINE_UNAVAILABLE, f"{detail}; see IRONCLAD_KUBERNETES_CONFIG") from error
        return Cluster(namespace or "default")

    def open(self, stack: ExitStack, *, context: dg.AssetExecutionContext, plan: PodPlan) -> Pod:
        """Open a Pipes session that lasts as long as `stack`; return the pod of `plan` with the session's context."""
        session = stack.enter_context(
            dg.open_pipes_session(
                # The asset's own context warns of what Pipes itself reads from it.
                context=context.op_execution_context,
                context_injector=self.context_injector,
                message_reader=self.voice,
                extras={"pod": plan.name},
            )
        )
        return build_pod_body(
            pod_name=plan.name,
            image=None,
            command=None,
            env_vars=session.get_bootstrap_env_vars(),
            base_pod_meta=plan.metadata,
            base_pod_spec=plan.spec,
        )
