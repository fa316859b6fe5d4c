"""Where the parts of a run land on a cluster of GPU and CPU nodes, by a real Ray that is told of a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_decoding_runs_on_the_cpu_node_while_the_gpu_node_trains(streets, tmp_path, start_cluster):
    """Nodes as in cluster.yaml: a head without work, a GPU node that offers one CPU, a CPU node."""
    cluster = start_cluster(0)
    cluster.add_node(num_cpus=1, num_gpus=1)
    cluster.add_node(num_cpus=2)
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("feed_a_gpu_node.py"), streets.game, tmp_path / "marks"],
        env=os.environ | {"RAY_ADDRESS": cluster.address}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    has_gpu = json.loads(done.stdout.splitlines()[-1])
    assert has_gpu["worker"] and len(has_gpu["tasks"]) > 100 and not any(has_gpu["tasks"])
