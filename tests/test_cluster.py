"""The files of Ray's cluster launcher: Ray accepts them, and its autoscaler starts the nodes that are meant."""

import copy
import json
import os
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

from pipelines import preemption
from pipelines.recipe import load_recipe, parse_recipe
from pipelines.resources import share

ROOT = Path(__file__).resolve().parents[1]
AWS, ONPREM = "cluster.yaml", "cluster-onprem.yaml"
VCPUS_AND_GPUS = {"m6i.2xlarge": (8, 0), "g5.2xlarge": (8, 1), "c7a.4xlarge": (16, 0)}
"""What AWS says of the instance types that the file names."""
SPOT = {"MarketType": "spot"}


def load(file: str) -> dict:
    return yaml.safe_load((ROOT / file).read_text())


def node_types(kind: str) -> dict[str, dict]:
    """The worker types that have GPUs, or those that have none."""
    workers = {name: node for name, node in load(AWS)["available_node_types"].items() if name != "head"}
    return {name: node for name, node in workers.items() if ("GPU" in node["resources"]) == (kind == "gpu")}


def is_spot(node: dict) -> bool:
    return node["node_config"].get("InstanceMarketOptions") == SPOT


def launched(bundles: list[dict[str, float]], available: dict[str, float] | None = None) -> dict[str, int]:
    """What Ray's autoscaler starts for these requests in an empty cluster; `available` is 0 for a type that failed."""
    config = AutoscalingConfig(prepare_config(load(AWS)), skip_content_hash=True)
    request = SchedulingRequest(
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(one) for one in bundles]),
        disable_launch_config_check=True,
        recoverable_resource_availabilities=available or {},
    )
    return {one.instance_type: one.count for one in ResourceDemandScheduler().schedule(request).to_launch}


@pytest.mark.parametrize("file", [AWS, ONPREM])
def test_ray_accepts_the_file(file):
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(load(file), schema)
    validate_config(prepare_config(copy.deepcopy(load(file))))


def test_the_image_has_the_pinned_ray():
    pin = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE).group(1)
    assert load(AWS)["docker"]["image"] == f"rayproject/ray:{pin}-py311-gpu"


@pytest.mark.parametrize("file", [AWS, ONPREM])
def test_every_node_installs_the_pins(file):
    config = load(file)
    (remote,) = (remote for remote, local in config["file_mounts"].items() if local == "./constraints.txt")
    installs = [command for command in config["setup_commands"] if "pip install" in command]
    assert installs and all(f"--no-deps -r {remote}" in command for command in installs)
    assert not any(key in config for key in ("head_setup_commands", "worker_setup_commands"))


def test_resources_are_those_of_the_instances():
    """A GPU node offers one CPU a GPU, for the training worker; a CPU node all; the head none."""
    for name, node in load(AWS)["available_node_types"].items():
        vcpus, gpus = VCPUS_AND_GPUS[node["node_config"]["InstanceType"]]
        offered = node["resources"]
        assert offered.get("GPU", 0) == gpus, name
        assert offered["CPU"] == (0 if name == "head" else gpus or vcpus), name


def test_there_is_a_spot_and_an_on_demand_gpu_type_that_differ_in_nothing_else():
    spot, on_demand = sorted(node_types("gpu").values(), key=is_spot, reverse=True)
    assert is_spot(spot) and not is_spot(on_demand)
    assert not is_spot(load(AWS)["available_node_types"]["head"])  # with it the run would go
    bare = {key: value for key, value in spot["node_config"].items() if key != "InstanceMarketOptions"}
    assert bare == on_demand["node_config"] and spot["resources"] == on_demand["resources"]


def test_workers_come_and_go():
    config = load(AWS)
    workers = node_types("gpu") | node_types("cpu")
    assert all(node.get("min_workers", 0) == 0 < node["max_workers"] for node in workers.values())
    assert config["idle_timeout_minutes"] > 0
    most_gpus = max(node["max_workers"] for node in node_types("gpu").values())
    assert config["max_workers"] == most_gpus + sum(node["max_workers"] for node in node_types("cpu").values())


def test_the_autoscaler_starts_spot_gpus_and_cpu_nodes_for_decoding():
    training, decoding = [{"CPU": 1, "GPU": 1}] * 4, [{"CPU": 1}] * 20
    assert launched(training) == {"gpu_spot": 4}
    assert launched(decoding) == {"cpu": 2}
    assert launched(training + decoding) == {"gpu_spot": 4, "cpu": 2}


def test_on_demand_gpus_take_over_where_no_spot_node_comes():
    assert launched([{"CPU": 1, "GPU": 1}] * 4, available={"gpu_spot": 0.0}) == {"gpu_on_demand": 4}


@pytest.mark.parametrize("cpu_nodes", [1, 4])
def test_only_cpu_nodes_are_left_for_decoding(cpu_nodes):
    """When every GPU trains, nothing else fits on its node, and the shares add up to the CPU nodes."""
    gpu, cpu = node_types("gpu")["gpu_spot"]["resources"], node_types("cpu")["cpu"]["resources"]
    recipe = parse_recipe({"train": {"num_workers": 4, "batch_size": 16}})
    got = share(recipe, [gpu] * 4 + [cpu] * cpu_nodes)
    assert got.worker == gpu
    assert 4 * got.data_cpus == cpu_nodes * cpu["CPU"]


def test_every_node_has_the_image_the_role_and_the_disk():
    for name, node in load(AWS)["available_node_types"].items():
        missing = {"ImageId", "IamInstanceProfile", "BlockDeviceMappings"} - node["node_config"].keys()
        assert not missing, name


def test_storage_is_shared():
    config = load(AWS)
    (mount,) = config["initialization_commands"]
    assert "mount -t nfs4" in mount and mount.count("/shared") >= 3
    assert "--volume /shared:/shared" in config["docker"]["run_options"]
    for file in (AWS, ONPREM):
        text = (ROOT / file).read_text()
        assert "tracking.storage=/shared/runs" in text and "MLFLOW_TRACKING_URI" in text, file


def test_the_typed_command_saves_often_enough_for_spot_nodes():
    typed = " ".join(line.lstrip("# ") for line in (ROOT / AWS).read_text().split("ray down")[0].splitlines())
    recipe = load_recipe("rein_dinov2_l_512", re.findall(r"--set (train\.\S+)", typed))
    assert (recipe.train.checkpoint_every, recipe.train.max_failures) == (500, 100)


@pytest.mark.parametrize("file", [AWS, ONPREM])
def test_only_who_has_the_token_runs_code(file):
    config = load(file)
    assert any(local == "~/.ray/auth_token" for local in config["file_mounts"].values())
    started = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    everywhere = "--env RAY_AUTH_MODE=token" in config.get("docker", {}).get("run_options", [])
    assert everywhere or all("RAY_AUTH_MODE=token" in command for command in started if "ray start" in command)
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]


@pytest.mark.parametrize("file", [AWS, ONPREM])
def test_a_job_that_is_stopped_has_the_time_for_a_checkpoint(file):
    """Ray's default of 3 s would end the driver before."""
    start = load(file)["head_start_ray_commands"][-1]
    exported = re.search(r"export [^;]*RAY_JOB_STOP_WAIT_TIME_S=(\d+)[^;]*;.*ray start --head", start)
    assert int(exported.group(1)) >= preemption._PATIENCE + 90  # then it ends the MLflow run, which may be away


@pytest.mark.parametrize("gpus, expected", [(0, ""), (1, "--num-cpus=1"), (4, "--num-cpus=4")])
def test_machines_of_ones_own_offer_a_cpu_a_gpu(gpus, expected, tmp_path):
    """The worker's command, run with stand-ins for `ray` and `nvidia-smi`."""
    (tmp_path / "rein-node/.venv/bin").mkdir(parents=True)
    (tmp_path / "rein-node/.venv/bin/activate").write_text("")
    stand_ins = {"ray": 'echo "$@" $RAY_AUTH_MODE', "nvidia-smi": f"seq {gpus}" if gpus else "exit 9"}
    for name, body in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    command = load(ONPREM)["worker_start_ray_commands"][-1].replace("ulimit -n 65536", "true")
    env = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}", "RAY_HEAD_IP": "10.0.0.10"}
    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["start", "--address=10.0.0.10:6379", *expected.split(), "token"], done.stderr
