"""The status of a run in MLflow: it is that of the run, whatever ends, refuses or registers it."""

import time
from argparse import Namespace
from collections.abc import Callable
from unittest import mock

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import RunInfo

from pipelines import register, runs, tracking
from pipelines import train as training
from pipelines.__main__ import main
from pipelines.recipe import load_recipe
from pipelines.resources import Resources
from pipelines.runs import Run
from pipelines.settings import Recipe
from rein_core import build_segmentor
from rein_core.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> list[str]:
    storage = tmp_path_factory.mktemp("runs")
    return ["data.train=nowhere", "model.decode_head.type=linear", f"tracking.storage={storage}"]


@pytest.fixture(scope="module")
def recipe(settings) -> Recipe:
    return load_recipe("demo", settings)


@pytest.fixture
def run(recipe, tmp_path) -> Run:
    """One that has failed."""
    made = Run.create(recipe, name=tmp_path.name)
    tracking.end_run(made.mlflow_run_id, "FAILED")
    return Run.find(made.name, recipe)


def info(run: Run) -> RunInfo:
    return MlflowClient().get_run(run.mlflow_run_id).info


@pytest.fixture
def train(monkeypatch, recipe, run) -> Callable[..., None]:
    """Gives a function that goes on with the run, on no cluster: its training is the function that is given."""
    monkeypatch.setattr(training, "check_inputs", lambda *_, **__: {})
    monkeypatch.setattr(training, "connect", lambda: None)
    monkeypatch.setattr(training.ray, "nodes", list)
    monkeypatch.setattr(training.resources, "share", lambda *_: Resources({"CPU": 1.0}, data_cpus=1.0, threads=1))
    monkeypatch.setattr(training, "wait_for_cpus", lambda _: None)
    monkeypatch.setattr(training, "TorchTrainer", lambda *_, **__: None)

    def go_on(fit: Callable[[], None]) -> None:
        monkeypatch.setattr(training, "_fit", lambda *_: fit())
        training.train(recipe, Run.find(run.name, recipe))

    return go_on


def test_a_command_that_is_refused_leaves_it(run, settings, capsys):
    """As the shards are not there."""
    before = info(run)
    argv = ["train", "demo", "--name", run.name, *(word for each in settings for word in ("--set", each))]
    assert main(argv) == 1 and "nowhere: no manifest" in capsys.readouterr().err
    assert (info(run).status, info(run).end_time) == ("FAILED", before.end_time)


def test_a_command_that_is_locked_out_leaves_it(run, train):
    with runs.alone(run.folder), pytest.raises(ValueError, match="is being worked on by another process"):
        train(lambda: None)
    assert info(run).status == "FAILED"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit(0)], ids=["own", "of Ray"])
def test_an_interrupted_one_is_killed(run, train, stop):
    def fit() -> None:
        assert info(run).status == "RUNNING"
        raise stop

    with pytest.raises(KeyboardInterrupt):
        train(fit)
    assert info(run).status == "KILLED"


def test_one_whose_training_raises_whatever_has_failed(run, train):
    def fit() -> None:
        assert info(run).status == "RUNNING"
        raise OSError("the store is away")

    with pytest.raises(OSError, match="^the store is away$"):
        train(fit)
    assert info(run).status == "FAILED"


def test_one_whose_checkpoint_can_not_be_found_at_the_end_has_failed(run, train, monkeypatch):
    monkeypatch.setattr(training, "last_checkpoint", mock.Mock(side_effect=OSError("the store is away")))
    with pytest.raises(OSError, match="^the store is away$"):
        train(lambda: Namespace(metrics={"mIoU": 5.0}))
    assert info(run).status == "FAILED"


@pytest.mark.parametrize("status", ["FAILED", "RUNNING"])
def test_register_leaves_it(recipe, run, status, tmp_path):
    if status == "RUNNING":
        run.go_on()
    provenance = {"mlflow_run_id": run.mlflow_run_id}
    segmentor = build_segmentor(recipe.model_section())
    save_checkpoint(tmp_path / "checkpoint", segmentor, recipe.model_dump(mode="json"), provenance)
    before = info(run)
    registered = register.register(str(tmp_path / "checkpoint"), "street", storage=recipe.tracking.storage)
    assert registered["lineage"]["run_id"] == run.mlflow_run_id and mlflow.active_run() is None
    assert (info(run).status, info(run).end_time) == (status, before.end_time)


@pytest.fixture
def nobody(run, monkeypatch):
    """MLflow at an address where nobody answers; it exports that too."""
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    yield
    mlflow.set_tracking_uri(before)


@pytest.mark.usefixtures("nobody")
def test_the_end_without_a_server_is_a_warning(run, tmp_path, monkeypatch, capsys):
    """The result of the training stands, and it is soon there."""
    (tmp_path / "recipe.json").write_text("{}")
    monkeypatch.setattr(training, "last_checkpoint", lambda *_: str(tmp_path))
    started = time.monotonic()
    result = training._report(run, Namespace(metrics={"mIoU": 5.0, "seconds": {"data": 1.0}}), 1.0, log_last=True)
    assert time.monotonic() - started < 60 and result["metrics"] == {"mIoU": 5.0} and result["model"] is None
    told = capsys.readouterr().err
    assert f"has no model yet: the same command with --resume {run.folder} logs it" in told
    assert f"run {run.mlflow_run_id} stays open there: the same command with --resume ends it" in told
