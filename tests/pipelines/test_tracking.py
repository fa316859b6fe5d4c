"""MLflow: stores don't leak into each other, and a lost server stops nothing."""

import os

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from pipelines import tracking
from pipelines.recipe import parse_recipe


def test_each_storage_has_its_own_store(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("a", "b"):
        tracking.configure(str(tmp_path / name))
        assert mlflow.get_tracking_uri() == f"sqlite:///{tmp_path}/{name}/mlflow.db"
        assert "MLFLOW_TRACKING_URI" not in os.environ
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mine.db")
    tracking.configure(str(tmp_path / "c"))
    assert mlflow.get_tracking_uri() == f"sqlite:///{tmp_path}/mine.db"


def test_metrics_and_pictures_arrive(tmp_path):
    recipe = parse_recipe({"tracking": {"storage": str(tmp_path)}})
    run_id = tracking.create_run("first", recipe)
    tracker = tracking.Tracker(**tracking.worker_arguments(recipe, run_id))
    for step in (1, 2):
        tracker.metrics({"loss": 1 / step}, step)
    tracker.picture(np.zeros((4, 4, 3), np.uint8), "pictures/black.png")
    tracker.finish()
    client = MlflowClient(mlflow.get_tracking_uri())
    assert [metric.value for metric in client.get_metric_history(run_id, "loss")] == [1.0, 0.5]
    assert [file.path for file in client.list_artifacts(run_id, "pictures")] == ["pictures/black.png"]
    assert client.get_run(run_id).data.params["optimizer.lr"] == "0.0001"
    assert tracking.find_run(run_id) and not tracking.find_run("0" * 32) and not tracking.find_run(None)


def test_a_lost_server_is_reported_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    recipe = parse_recipe({"tracking": {"storage": str(tmp_path)}})
    tracker = tracking.Tracker(f"sqlite:///{tmp_path}/mlflow.db", tracking.create_run("lost", recipe))
    tracker.client = MlflowClient("http://127.0.0.1:9")
    for path in ("a.png", "b.png"):
        tracker.picture(np.zeros((4, 4, 3), np.uint8), path)
    assert capsys.readouterr().err.count("MLflow does not answer") == 1


def test_an_unreachable_store_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="MLflow at http://127.0.0.1:9 can't be used"):
        tracking.configure(str(tmp_path))


def test_settings_become_dotted_params():
    assert tracking.flatten({"a": {"b": [1, 2], "c": "x"}, "d": None}) == {"a.b": "[1, 2]", "a.c": "x", "d": "null"}
