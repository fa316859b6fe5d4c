"""A sweep on a Ray that was there before: its trials log where the command does, whatever Ray's environment says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from ray.cluster_utils import Cluster

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def head(monkeypatch, start_cluster) -> Cluster:
    """Started without MLFLOW_TRACKING_URI."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return start_cluster(2)


def test_trials_log_where_the_command_does(streets, tmp_path, head):
    storage, uri = tmp_path / "runs", f"sqlite:///{tmp_path}/named.db"
    values = {
        "data.train": streets.game, "data.source_val": streets.game, "tracking.storage": storage, "train.steps": 2,
        "train.validate_every": 2, "tune.token_length": [5], "tune.rank": [2],
    }  # fmt: skip
    argv = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "tune", "tune_token_rank_smoke", *argv, "--json"],
        cwd=ROOT, env=os.environ | {"RAY_ADDRESS": head.address, "MLFLOW_TRACKING_URI": uri},
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    (trial,) = json.loads(done.stdout.splitlines()[-1])["trials"]
    run = MlflowClient(uri).get_run(trial["mlflow_run_id"])
    assert run.info.status == "FINISHED" and "mlflow.parentRunId" in run.data.tags
    assert not (storage / "mlflow.db").exists()
