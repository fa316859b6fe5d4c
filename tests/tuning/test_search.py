"""A real search: trials train, report to Tune and MLflow, and the best one's checkpoint is there."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipelines.models import resolve
from pipelines.recipe import load_recipe
from tuning.space import apply


def test_a_draw_changes_the_recipe():
    drawn = apply(load_recipe("demo"), {"token_length": 7, "rank": 3, "lr": 0.5})
    assert drawn.model.adapter["token_length"] == 7 and drawn.model.adapter["rank"] == 3 and drawn.optimizer.lr == 0.5


def settings(streets, storage: Path) -> list[str]:
    values = {
        "data.train": streets.game,
        "data.val": streets.camera,
        "tracking.storage": storage,
        "train.steps": 4,
        "train.validate_every": 2,
        "tune.grace_steps": 2,
        "tune.num_trials": 2,
        "tune.token_length": [10],
        "tune.rank": [2, 4],
    }
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def test_search(streets, tmp_path, run_command):
    result = run_command("tune", "rein_dinov2_s_camvid_smoke", *settings(streets, tmp_path))
    assert len(result["trials"]) == 2
    assert result["best"]["mIoU"] == max(trial["mIoU"] for trial in result["trials"])
    assert resolve(result["best"]["checkpoint"]).name.startswith("step_")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    parent = client.get_run(result["mlflow_run_id"])
    nested = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert len(nested) == 2 and {run.info.status for run in [parent, *nested]} <= {"FINISHED", "KILLED"}
    assert {run.data.params["model.adapter.rank"] for run in nested} <= {"2", "4"}


def test_a_search_needs_validation(streets, tmp_path, run_command):
    with pytest.raises(ValueError, match=r"data\.val is empty"):
        run_command("tune", "rein_dinov2_s_camvid_smoke")
    argv = settings(streets, tmp_path)
    argv[argv.index("train.validate_every=2")] = "train.validate_every=None"
    with pytest.raises(ValueError, match=r"train\.validate_every"):
        run_command("tune", "rein_dinov2_s_camvid_smoke", *argv)
