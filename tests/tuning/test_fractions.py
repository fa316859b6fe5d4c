"""Trials that share a GPU, by a real Ray that is told of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("tune_on_a_gpu.py")


@pytest.mark.slow
def test_as_many_trials_as_fit_share_each_gpu_and_the_next_begins_when_one_ends(streets, tmp_path, start_cluster):
    """Nodes as in cluster.yaml: a head without work, a GPU node that offers one CPU, a CPU node."""
    cluster = start_cluster(0)
    cluster.add_node(num_cpus=1, num_gpus=1)
    cluster.add_node(num_cpus=3)
    found, said = tune(cluster, streets, tmp_path)
    assert "3 trials to run, 2 at a time" in said
    first, second, third = found["trials"]
    for each in found["trials"]:
        assert each["gpus"] == [0] and each["resources"]["GPU"] == each["resources"]["CPU"] == 0.5, each
    assert first["begin"] <= second["begin"] < first["end"], "two share the GPU"
    assert first["end"] <= third["begin"] < second["end"], "never three, and no half waits for the other"
    assert third["begin"] - first["end"] < 120, "the start of its process, not a wait"
    assert found["held"] == {"CPU": 0, "GPU": 0}


def tune(cluster, streets, folder: Path) -> tuple[dict, str]:
    """What the script finds, and what it says."""
    (folder / "marks").mkdir()
    values = {
        "data.train": streets.game, "data.source_val": streets.game, "tracking.storage": folder / "runs",
        "train.steps": 2, "train.validate_every": 2, "tune.gpus_per_trial": 0.5, "tune.token_length": [5],
        "tune.rank": [1, 2, 3],
    }  # fmt: skip
    argv = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    done = subprocess.run(
        [sys.executable, SCRIPT, folder / "marks", "tune_token_rank_smoke", *argv],
        env=os.environ | {"RAY_ADDRESS": cluster.address}, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr
