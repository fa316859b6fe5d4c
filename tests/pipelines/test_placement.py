"""Where the parts of a run land on a cluster of GPU and CPU nodes, by a real Ray that is told of GPUs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from pipelines import evaluation


def test_decoding_runs_on_the_cpu_node_while_the_gpu_node_trains(streets, tmp_path, start_cluster):
    """Nodes as in cluster.yaml: a head without work, a GPU node that offers one CPU, a CPU node."""
    cluster = start_cluster(0)
    cluster.add_node(num_cpus=1, num_gpus=1)
    cluster.add_node(num_cpus=2)
    has_gpu = told("feed_a_gpu_node.py", cluster, streets.game, tmp_path / "marks")
    assert has_gpu["worker"] and len(has_gpu["tasks"]) > 100 and not any(has_gpu["tasks"])


def test_each_gpu_has_an_actor_that_scores(streets, small_checkpoint, run_command, tmp_path, start_cluster):
    """Of a node with more GPUs than CPUs too, and to the bit as in one process."""
    cluster = start_cluster(0)
    gpu_node = cluster.add_node(num_cpus=1, num_gpus=2).node_id
    cluster.add_node(num_cpus=2)
    (tmp_path / "marks").mkdir()
    argv = (small_checkpoint(tmp_path / "checkpoint", 0), streets.game, "--extras", "--pictures", 0,
            "--storage", tmp_path, "--report")  # fmt: skip
    run_command("evaluate", *argv, tmp_path / "here")
    found = told("evaluate_on_gpus.py", cluster, 2, tmp_path / "marks", *argv, tmp_path / "there")
    assert found["wanted"] == len(found["actors"]) == 2
    assert sorted(actor["gpus"] for actor in found["actors"]) == [[0], [1]]
    assert all(actor["node"] == gpu_node and actor["resources"]["GPU"] == 1 for actor in found["actors"])
    (here, samples), (there, others) = (evaluation.read(tmp_path / name) for name in ("here", "there"))
    assert here == there and samples["game"].keys() == others["game"].keys() and len(samples["game"]) == 10
    assert all(np.array_equal(samples["game"][name], others["game"][name]) for name in samples["game"])


def told(script: str, cluster, *argv: object) -> dict:
    """What a script beside this file prints of its work on a cluster."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(script), *map(str, argv)],
        env=os.environ | {"RAY_ADDRESS": cluster.address}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
