"""What an engine's pod is: confined, bounded, named after its output, and shown nothing but its own work."""

import json
from typing import Any

import pytest
from dagster_k8s.pipes import build_pod_body
from kubernetes.client import ApiClient

from ironclad_assets.contracts.v1.engine import ModelFile
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.resources.kubernetes_plan import PodPlan, plan_pod
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.settings import Settings
from tests.unit.engine_host.rogues import Bench, set_up

LIMITS = Limits(cpu_s=60, memory_bytes=3 * 1024**3, wall_s=90.5)


@pytest.fixture
def bench(tmp_path) -> Bench:
    return set_up(tmp_path, entry="Good", job_uuid="0a1b-2c3d")


def plan(bench: Bench, *, request: dict[str, Any] | None = None, **settings: Any) -> PodPlan:
    values = {
        "home": bench.folder / "home",
        "kubernetes_image": "registry.example/ironclad-{environment}:{version}",
        "kubernetes_data_volume": "songs",
        "kubernetes_data_mount": bench.folder,
        "kubernetes_user_id": 1234,
    }
    return plan_pod(
        bench.request.model_copy(update=request or {}),
        engine=bench.engine,
        request_path=bench.hand_off / "request.json",
        limits=LIMITS,
        settings=Settings(**(values | settings)),
    )


def container(made: PodPlan) -> dict[str, Any]:
    return made.spec["containers"][0]


def refused(bench: Bench, **changes: Any) -> IroncladError:
    with pytest.raises(IroncladError) as caught:
        plan(bench, **changes)
    return caught.value


def test_a_pod_runs_the_worker_command_of_the_other_executors(bench):
    """ENG-002."""
    made = container(plan(bench, kubernetes_engines_path="/engines"))
    assert made["image"] == "registry.example/ironclad-rogue:0.1.0"
    request_path = str(bench.hand_off / "request.json")
    assert made["command"] == ["python", "-m", "ironclad_harness", "--request", request_path, "--events-fd", "1"]
    environment = {variable["name"]: variable["value"] for variable in made["env"]}
    assert environment["PYTHONPATH"] == "/engines/_harness:/engines/rogue"
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["PYTHONHASHSEED"] == "0"
    assert environment["IRONCLAD_JOB"] == "0a1b-2c3d"
    assert "PATH" not in environment, "what the image sets is left alone"


def test_a_pod_is_confined(bench):
    made = plan(bench)
    assert made.spec["restartPolicy"] == "Never"
    assert made.spec["automountServiceAccountToken"] is False
    assert made.spec["enableServiceLinks"] is False
    security = made.spec["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 1234)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(made)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not any(made.spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))


def test_a_pod_has_the_limits_of_its_work_as_requests_too(bench):
    made = plan(bench, request={"threads": 3})
    assert made.spec["activeDeadlineSeconds"] == 91
    resources = container(made)["resources"]
    assert resources["limits"] == {"cpu": "3000m", "memory": str(3 * 1024**3), "ephemeral-storage": str(2 * 1024**3)}
    assert resources["requests"] == resources["limits"]
    assert container(plan(bench, kubernetes_cpu=1.5))["resources"]["limits"]["cpu"] == "1500m"


def test_a_gpu_is_asked_for_where_the_device_is_one(bench):
    """ENG-002: a GPU node, chosen by resource, selector, tolerations and runtime class."""
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    made = plan(
        bench,
        request={"device": "cuda"},
        kubernetes_tolerations=(toleration,),
        kubernetes_node_selector={"pool": "gpu"},
        kubernetes_runtime_class="nvidia",
        kubernetes_service_account="engines",
    )
    assert made.gpu
    assert container(made)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert made.spec["tolerations"] == [toleration]
    assert made.spec["nodeSelector"] == {"pool": "gpu"}
    assert (made.spec["runtimeClassName"], made.spec["serviceAccountName"]) == ("nvidia", "engines")
    assert not plan(bench).gpu
    assert "nvidia.com/gpu" not in container(plan(bench))["resources"]["limits"]


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_a_device_that_no_pod_has_is_an_error(bench, device):
    error = refused(bench, request={"device": device})
    assert error.code is ErrorCode.DEVICE_UNAVAILABLE
    assert device in error.detail


def test_a_pod_sees_the_folders_of_its_own_work_alone(bench):
    model = bench.folder / "home" / "models" / "rogue" / "net.th"
    file = ModelFile(name="net.th", path=str(model), size_bytes=1, sha256="0" * 64)
    made = plan(bench, request={"model_files": (file,)}, kubernetes_models_volume="/srv/models")
    mounts = {mount["mountPath"]: mount for mount in container(made)["volumeMounts"]}
    folder = str(bench.folder)
    assert mounts == {
        # The mixture of this bench lies in the root of the volume.
        folder: {"name": "data", "mountPath": folder, "readOnly": True},
        f"{folder}/hand-off": {
            "name": "data",
            "mountPath": f"{folder}/hand-off",
            "subPath": "hand-off",
            "readOnly": True,
        },
        f"{folder}/output": {"name": "data", "mountPath": f"{folder}/output", "subPath": "output", "readOnly": False},
        str(model.parent): {"name": "models", "mountPath": str(model.parent), "subPath": "rogue", "readOnly": True},
        "/tmp": {"name": "scratch", "mountPath": "/tmp"},
    }
    sources = {volume.pop("name"): volume for volume in made.spec["volumes"]}
    assert sources["data"] == {"persistentVolumeClaim": {"claimName": "songs"}}
    assert sources["models"] == {"hostPath": {"path": "/srv/models", "type": "Directory"}}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"kubernetes_image": None}, "IRONCLAD_KUBERNETES_IMAGE"),
        ({"kubernetes_image": "engine-{gpu}"}, "gpu"),
        ({"kubernetes_image": "engine-{"}, "IRONCLAD_KUBERNETES_IMAGE"),
        ({"kubernetes_data_volume": None}, "IRONCLAD_KUBERNETES_DATA_VOLUME"),
        ({"kubernetes_data_mount": "/elsewhere"}, "IRONCLAD_KUBERNETES_DATA_MOUNT"),
    ],
)
def test_a_setting_that_is_missing_or_does_not_fit_is_named(bench, changes, named):
    error = refused(bench, **changes)
    assert error.code is ErrorCode.ENGINE_UNAVAILABLE
    assert named in error.detail


def test_a_pod_never_runs_as_root(bench, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "IRONCLAD_KUBERNETES_USER_ID" in refused(bench, kubernetes_user_id=None).detail
    monkeypatch.setattr("os.geteuid", lambda: 77)
    assert plan(bench, kubernetes_user_id=None).spec["securityContext"]["runAsUser"] == 77


def test_the_name_follows_the_output_and_the_label_follows_the_work(bench):
    first = plan(bench)
    assert plan(bench).name == first.name
    assert plan(bench).work == first.work
    other_work = plan(bench, request={"batch": 4})
    assert other_work.name == first.name
    assert other_work.work != first.work
    assert plan(bench, request={"output_dir": str(bench.hand_off)}).name != first.name
    assert plan(bench, kubernetes_data_volume="other").name != first.name
    assert plan(bench, kubernetes_image="other").work != first.work
    long = plan(bench, request={"engine": "e" + "_x" * 30, "job_uuid": "-_" * 40 + "a"})
    assert len(long.name) <= 63
    assert "_" not in long.name


def test_a_pod_tells_whose_it_is_and_goes_with_its_owner(bench):
    made = plan(bench, kubernetes_owner="pipeline-0/77-88")
    labels = made.metadata["labels"]
    assert (labels["ironclad/engine"], labels["ironclad/job_uuid"]) == ("rogue", "0a1b-2c3d")
    assert made.metadata["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": "pipeline-0", "uid": "77-88"}
    ]
    assert "ownerReferences" not in plan(bench).metadata


def test_nothing_of_the_plan_is_lost_on_the_way_to_the_cluster(bench):
    """dagster_k8s turns the plan into the client library's models, which drop what they do not know."""
    made = plan(
        bench,
        request={"device": "cuda"},
        kubernetes_tolerations=({"key": "gpu", "operator": "Exists", "tolerationSeconds": 30},),
        kubernetes_runtime_class="nvidia",
        kubernetes_owner="pipeline-0/77-88",
    )
    spec = json.loads(json.dumps(made.spec))
    body = build_pod_body(
        pod_name=made.name,
        image=None,
        command=None,
        env_vars={"DAGSTER_PIPES_CONTEXT": "e30="},
        base_pod_meta=made.metadata,
        base_pod_spec=made.spec,
    )
    sent = ApiClient().sanitize_for_serialization(body)
    assert sent["spec"]["containers"][0]["env"].pop() == {"name": "DAGSTER_PIPES_CONTEXT", "value": "e30="}
    assert sent["spec"] == spec
    assert sent["metadata"]["labels"].items() >= made.metadata["labels"].items()
    assert sent["metadata"]["ownerReferences"] == made.metadata["ownerReferences"]
    assert sent["metadata"]["name"] == made.name


def test_lists_and_mappings_in_settings_survive_the_environment(bench, monkeypatch):
    settings = Settings(
        home=bench.folder,
        kubernetes_node_selector={"pool": "gpu"},
        kubernetes_tolerations=({"key": "gpu", "tolerationSeconds": 30},),
    )
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
