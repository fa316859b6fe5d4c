"""The KubeRay manifest, checked without Kubernetes: by Ray's own reader, and the fields that matter."""

import copy
import re
from pathlib import Path

import mlflow.cli
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from pipelines import preemption
from pipelines.__main__ import COMMANDS
from pipelines.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = list(yaml.safe_load_all((ROOT / "kuberay.yaml").read_text()))
RAY_VERSION = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE).group(1)
CLUSTER_FIELDS = {
    "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"
}  # fmt: skip
GROUP_FIELDS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
JOB_FIELDS = {
    "entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit", "submitterConfig",
    "rayClusterSpec",
}  # fmt: skip
"""Fields of ray.io/v1 that the manifest uses: the API server drops one that is spelled wrongly, in silence."""


def document(kind: str) -> dict:
    (found,) = (one for one in DOCUMENTS if one["kind"] == kind)
    return found


def spec() -> dict:
    return document("RayCluster")["spec"]


def groups() -> dict[str, dict]:
    return {group["groupName"]: group for group in spec()["workerGroupSpecs"]}


def pods() -> dict[str, dict]:
    """Pod specs by name, MLflow's too."""
    templates = {"head": spec()["headGroupSpec"]["template"], "mlflow": document("Deployment")["spec"]["template"]}
    templates |= {name: group["template"] for name, group in groups().items()}
    return {name: template["spec"] for name, template in templates.items()}


def container(name: str) -> dict:
    (only,) = pods()[name]["containers"]
    return only


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_documents_are_of_kuberays_api(kind):
    one = document(kind)
    assert one["apiVersion"] == "ray.io/v1"
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?", one["metadata"]["name"])


def test_every_document_can_be_applied_alone():
    uses = {one["kind"]: one["metadata"]["labels"]["use"] for one in DOCUMENTS}
    storage = dict.fromkeys(("PersistentVolumeClaim", "Service", "Deployment"), "storage")
    assert uses == storage | {"RayCluster": "cluster", "RayJob": "job"}


def test_the_jobs_cluster_is_the_same_but_begins_with_the_pods_that_the_job_needs():
    own = copy.deepcopy(document("RayJob")["spec"]["rayClusterSpec"])
    for group in own["workerGroupSpecs"]:
        assert 0 < group["minReplicas"] == group["replicas"] <= group["maxReplicas"]
        group["minReplicas"] = group["replicas"] = 0
    assert own == spec()


def test_no_field_is_unknown():
    assert spec().keys() == CLUSTER_FIELDS and document("RayJob")["spec"].keys() == JOB_FIELDS
    assert spec()["headGroupSpec"].keys() == {"rayStartParams", "template"}
    assert all(group.keys() == GROUP_FIELDS for group in groups().values())


def test_every_node_has_the_pinned_ray():
    assert spec()["rayVersion"] == RAY_VERSION
    images = {container(name)["image"] for name in pods()}
    assert images == {f"REGISTRY/rein:{RAY_VERSION}"}


def test_ray_starts_with_texts():
    """KubeRay takes a map of texts: a number is refused."""
    params = [spec()["headGroupSpec"]["rayStartParams"], *(group["rayStartParams"] for group in groups().values())]
    assert all(isinstance(value, str) for each in params for value in each.values())


def test_rays_autoscaler_reads_the_nodes_that_are_meant():
    """The head offers nothing, a GPU pod one CPU a GPU, for the training worker; a CPU pod all it has."""
    cluster = document("RayCluster")
    read = _derive_autoscaling_config_from_ray_cr(
        cluster | {"metadata": cluster["metadata"] | {"namespace": "default"}}
    )
    nodes = read["available_node_types"]
    offered = {name: (node["resources"]["CPU"], node["resources"].get("GPU", 0)) for name, node in nodes.items()}
    cpus = int(container("cpu")["resources"]["limits"]["cpu"])
    assert offered == {"headgroup": (0, 0), "gpu": (1, 1), "cpu": (cpus, 0)}
    assert [(node["min_workers"], node["max_workers"]) for node in nodes.values()] == [(0, 0), (0, 8), (0, 4)]


def test_requests_equal_limits():
    """Ray counts on what is limited; Kubernetes demands it of GPUs."""
    for name in pods():
        resources = container(name)["resources"]
        assert resources["requests"] == resources["limits"] and {"cpu", "memory"} <= resources["limits"].keys(), name
    assert [name for name in pods() if "nvidia.com/gpu" in container(name)["resources"]["limits"]] == ["gpu"]


def test_no_container_is_root_and_all_share_storage():
    claim = document("PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for name, pod in pods().items():
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0, name
        (volume,) = pod["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"], name
        assert container(name)["volumeMounts"] == [{"name": volume["name"], "mountPath": "/shared"}], name


def test_the_job_trains_and_takes_its_cluster_down():
    job = document("RayJob")["spec"]
    assert job["shutdownAfterJobFinishes"] is True and job["backoffLimit"] > 0
    python, _, module, command, recipe, named, _, *options = job["entrypoint"].split()
    assert named == "--name", "another try begins a run of its own otherwise"
    assert (python, module) == ("python", "pipelines") and command == "train" and command in COMMANDS
    assert options[::2] == ["--set"] * (len(options) // 2)
    settings = load_recipe(recipe, options[1::2])
    gpu_pods, cpu_pods = (group["minReplicas"] for group in job["rayClusterSpec"]["workerGroupSpecs"])
    assert settings.train.num_workers == gpu_pods and cpu_pods > 0
    assert (settings.train.checkpoint_every, settings.train.max_failures) == (500, 100)  # pods may be of spot nodes
    paths = [*settings.data.train, *settings.data.val, settings.tracking.storage, settings.model.vfm.weights]
    assert all(path.startswith("/shared/") for path in paths)


def test_every_ray_pod_reaches_mlflow():
    service = document("Service")
    (port,) = service["spec"]["ports"]
    uri = f"http://{service['metadata']['name']}:{port['port']}"
    for name in ("head", "gpu", "cpu"):
        assert {"name": "MLFLOW_TRACKING_URI", "value": uri} in container(name)["env"], name
    assert service["spec"]["selector"] == document("Deployment")["spec"]["template"]["metadata"]["labels"]


def test_a_job_that_is_stopped_has_the_time_for_a_checkpoint():
    (value,) = (one["value"] for one in container("head")["env"] if one["name"] == "RAY_JOB_STOP_WAIT_TIME_S")
    assert int(value) >= preemption._PATIENCE + 90  # then it ends the MLflow run, which may be away


def test_mlflow_takes_the_servers_options():
    name, *options = container("mlflow")["args"]
    server = mlflow.cli.cli.commands[name]
    parsed = server.make_context(name, options).params
    assert parsed["port"] == container("mlflow")["ports"][0]["containerPort"]
    assert "rein-mlflow:*" in parsed["allowed_hosts"].split(",")
