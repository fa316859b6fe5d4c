"""A real sweep whose MLflow server is killed in the midst of it: it ends as if nothing had happened."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

STEPS, RANKS = 30, [1, 2, 4]


@pytest.mark.slow
def test_a_server_that_is_away_for_a_while(streets, tmp_path, start_command, mlflow_server, free_port):
    """From within the second of three trials. What was logged meanwhile arrives later, and every run is ended."""
    values = {
        "data.train": streets.game, "data.source_val": streets.game, "tracking.storage": tmp_path / "runs",
        "train.steps": STEPS, "train.validate_every": STEPS, "train.checkpoint_every": STEPS,
        "tune.max_concurrent": 1, "tune.token_length": [5], "tune.rank": RANKS,
    }  # fmt: skip
    argv = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    env = {"MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with mlflow_server(tmp_path, port):
        run = start_command("tune", "tune_token_rank_smoke", "--name", "sweep", *argv, env=env)
        run.wait_for("-r1: finished")
        run.wait_for(f"step 3/{STEPS}", times=2)
    run.wait_for("its results wait")
    with mlflow_server(tmp_path, port):
        result = run.result()
        assert_whole(MlflowClient(address), result)
    assert (Path(result["sweep_dir"]) / "results.json").is_file()


def assert_whole(client: MlflowClient, result: dict) -> None:
    """Every trial has all its steps, each once, in a run below the sweep's, and all of these have ended."""
    trials = {trial["mlflow_run_id"]: trial for trial in result["trials"]}
    assert sorted((trial["rank"], trial["status"]) for trial in trials.values()) == [(r, "FINISHED") for r in RANKS]
    parent = client.get_run(result["mlflow_run_id"])
    nested = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert {run.info.run_id: run.info.status for run in nested} == dict.fromkeys(trials, "FINISHED")
    for run_id, trial in trials.items():
        losses = client.get_metric_history(run_id, "loss")
        assert [metric.step for metric in losses] == list(range(1, STEPS + 1))
        (scored,) = client.get_metric_history(run_id, "source_mIoU")
        assert scored.step == STEPS and round(scored.value, 2) == round(trial["score"], 2)
    assert parent.info.status == "FINISHED"
    logged = {Path(file.path).name for file in client.list_artifacts(parent.info.run_id, "sweep")}
    assert {"results.json", "results.csv"} <= logged
