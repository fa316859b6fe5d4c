"""Two runs in real stores, compared and drawn."""

import json

import cv2
import pytest
from mlflow import MlflowClient

from benchmarks import curves


def run(folder, losses: list[float]) -> str:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    run_id = client.create_run(client.create_experiment(str(len(losses)) + str(sum(losses)))).info.run_id
    for step, loss in enumerate(losses, start=1):
        client.log_metric(run_id, "loss", loss, step=step)
    return f"{folder}:{run_id}"


def test_differences_are_told_and_drawn(tmp_path, capsys):
    runs = [f"calm={run(tmp_path, [4, 2, 1])}", f"killed={run(tmp_path, [4, 2.5, 1])}"]
    curves.main([*runs, "--metrics", "loss", "--out", str(tmp_path / "curves.png")])
    told = json.loads(capsys.readouterr().out)["loss"]
    assert told["calm"] == {"last": 1, "points": 3}
    assert told["killed"] == {"last": 1, "points": 3, "equal": 2, "largest_difference": 0.25}
    drawn = cv2.imread(str(tmp_path / "curves.png"))
    assert drawn.std() > 10


def test_a_missing_step_is_named(tmp_path):
    runs = [f"calm={run(tmp_path, [4, 2, 1])}", f"killed={run(tmp_path, [4, 2])}"]
    with pytest.raises(ValueError, match=r"only one of the runs has: \[3\]"):
        curves.main([*runs, "--metrics", "loss", "--out", str(tmp_path / "curves.png")])
