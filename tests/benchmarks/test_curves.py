"""Two runs in real stores, compared and drawn."""

import json
import math

import cv2
import pytest
from mlflow import MlflowClient

from benchmarks import curves


def run(folder, losses: list[float], metric: str = "loss") -> str:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    run_id = client.create_run(client.create_experiment(str(len(losses)) + str(sum(losses)))).info.run_id
    for step, loss in enumerate(losses, start=1):
        client.log_metric(run_id, metric, loss, step=step)
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


@pytest.mark.parametrize("losses", [[4, 2, math.nan], [math.nan, 2, 1]])
def test_a_curve_that_is_nan_shows(tmp_path, losses, capsys):
    runs = [f"calm={run(tmp_path, [4, 2, 1])}", f"killed={run(tmp_path, losses)}"]
    curves.main([*runs, "--metrics", "loss", "--out", str(tmp_path / "curves.png")])
    told = json.loads(capsys.readouterr().out)["loss"]["killed"]
    assert math.isnan(told["largest_difference"]) and told["equal"] == 2


def test_zeros_differ_from_what_is_none():
    told = curves.compare({"calm": {"loss": {1: 0.0, 2: 0.0}}, "same": {"loss": {1: 0.0, 2: 0.0}}})["loss"]["same"]
    assert (told["largest_difference"], told["equal"]) == (0.0, 2)
    told = curves.compare({"calm": {"loss": {1: 0.0, 2: 4.0}}, "other": {"loss": {1: 0.1, 2: 4.0}}})["loss"]["other"]
    assert (told["largest_difference"], told["equal"]) == (math.inf, 1)


def test_a_metric_that_no_run_has_is_left_out(tmp_path, capsys):
    runs = [f"calm={run(tmp_path, [4, 2])}", f"killed={run(tmp_path, [4, 3])}"]
    curves.main([*runs, "--out", str(tmp_path / "curves.png")])
    assert json.loads(capsys.readouterr().out).keys() == {"loss"} and (tmp_path / "curves.png").exists()
    with pytest.raises(ValueError, match="none of the runs has any of --metrics: mIoU"):
        curves.main([*runs, "--metrics", "mIoU", "--out", str(tmp_path / "none.png")])


@pytest.mark.parametrize("first", ["calm", "killed"])
def test_a_metric_that_only_some_runs_have_is_named(tmp_path, first):
    runs = {"calm": run(tmp_path, [4, 2]), "killed": run(tmp_path, [40, 50, 60], metric="mIoU")}
    named = [f"{name}={runs[name]}" for name in sorted(runs, key=lambda name: name != first)]
    with pytest.raises(ValueError, match="calm: no mIoU, which other runs have"):
        curves.main([*named, "--metrics", "mIoU", "--out", str(tmp_path / "curves.png")])
