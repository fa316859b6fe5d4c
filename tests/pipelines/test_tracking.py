"""MLflow: stores don't leak into each other, and a lost server stops nothing."""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from pipelines import refusals, tracking
from pipelines import tracker as tracker_module
from pipelines.mistakes import Mistake
from pipelines.recipe import parse_recipe
from pipelines.tracker import Tracker


def test_each_storage_has_its_own_store(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("a", "b"):
        tracking.configure(str(tmp_path / name))
        assert mlflow.get_tracking_uri() == f"sqlite:///{tmp_path}/{name}/mlflow.db"
        assert "MLFLOW_TRACKING_URI" not in os.environ
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mine.db")
    tracking.configure(str(tmp_path / "c"))
    assert mlflow.get_tracking_uri() == f"sqlite:///{tmp_path}/mine.db"


def test_results_are_not_left_in_a_jobs_copy_of_the_checkout():
    """Where a relative folder of a submitted job is. Ray removes it."""
    copy = "/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_0123456789abcdef/runs"
    with pytest.raises(ValueError, match="tracking.storage=.* is in a job's copy of the checkout.*all nodes see"):
        tracking.place(parse_recipe({"tracking": {"storage": copy}}))


def test_artifacts_lie_beside_a_file_of_the_users_choice(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/own.db")
    experiment = mlflow.get_experiment(tracking.configure(str(tmp_path / "runs")))
    assert experiment.artifact_location == (tmp_path / "mlartifacts").as_uri()


def test_metrics_and_pictures_arrive(tmp_path):
    recipe = parse_recipe({"tracking": {"storage": str(tmp_path)}})
    run_id = tracking.create_run("first", recipe)
    tracker = Tracker(**tracking.worker_arguments(recipe, run_id))
    for step in (1, 2):
        tracker.metrics({"loss": 1 / step}, step)
    tracker.picture(np.zeros((4, 4, 3), np.uint8), "pictures/black.png")
    tracker.finish()
    client = MlflowClient(mlflow.get_tracking_uri())
    assert [metric.value for metric in client.get_metric_history(run_id, "loss")] == [1.0, 0.5]
    assert [file.path for file in client.list_artifacts(run_id, "pictures")] == ["pictures/black.png"]
    assert client.get_run(run_id).data.params["optimizer.lr"] == "0.0001"
    assert tracking.find_run(run_id) and not tracking.find_run("0" * 32) and not tracking.find_run(None)


def test_a_resumed_run_logs_no_step_twice(tmp_path):
    recipe = parse_recipe({"tracking": {"storage": str(tmp_path)}})
    run_id = tracking.create_run("first", recipe)
    for steps in (range(1, 5), range(3, 7)):
        tracker = Tracker(**tracking.worker_arguments(recipe, run_id))
        for step in steps:
            tracker.metrics({"loss": 10 * step} | ({"mIoU": 1.0} if step == 6 else {}), step)
        tracker.finish()
    history = MlflowClient(mlflow.get_tracking_uri()).get_metric_history(run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(step, 10 * step) for step in range(1, 7)]


def test_a_worker_that_does_not_reach_mlflow_is_told_so(tmp_path, monkeypatch):
    """As the server of the command's own machine is, or another one there; but only until one had an answer."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    recipe = parse_recipe({"tracking": {"storage": str(tmp_path)}})
    arguments = tracking.worker_arguments(recipe, tracking.create_run("first", recipe))
    others = [Tracker(**(arguments | wrong)) for wrong in ({"uri": "http://127.0.0.1:9"}, {"run_id": "0" * 32})]
    for tracker in others:
        with pytest.raises(Mistake, match=f"^MLflow at {tracker.address}, .* set MLFLOW_TRACKING_URI to a host that"):
            tracker.ask_once(str(tmp_path))
    for tracker in (Tracker(**arguments), *others):
        tracker.ask_once(str(tmp_path))


def test_a_run_that_goes_on_with_other_code_says_so(tmp_path, monkeypatch):
    """The commit of the start stays; each further one is listed once, in order."""
    recipe = parse_recipe({"tracking": {"storage": str(tmp_path)}})
    monkeypatch.setattr(tracking, "commit", lambda: "aaa")
    run_id = tracking.create_run("first", recipe)
    listed = []
    for now in ("aaa", "bbb", "ccc-dirty", "bbb", "aaa", None):
        monkeypatch.setattr(tracking, "commit", lambda now=now: now)
        tracking.reopen_run(run_id)
        run = MlflowClient(mlflow.get_tracking_uri()).get_run(run_id)
        assert run.data.tags["commit"] == "aaa" and run.info.status == "RUNNING"
        listed.append(run.data.tags.get("commit.resumed"))
    both = "bbb, ccc-dirty"
    assert listed == [None, "bbb", both, both, both, f"{both}, unknown"]
    assert tracking.commits(run) == ["aaa", "bbb", "ccc-dirty", "unknown"]


def test_a_result_that_is_refused_holds_up_nothing(tmp_path, capsys):
    recipe = parse_recipe({"tracking": {"storage": str(tmp_path)}})
    tracker = Tracker(**tracking.worker_arguments(recipe, tracking.create_run("first", recipe)))
    tracker.tags({"": "a tag without a name", "fine": "yes"})
    tracker.finish()
    assert tracker.client.get_run(tracker.run_id).data.tags["fine"] == "yes"
    assert capsys.readouterr().err.count("MLflow refuses a result") == 1


def test_a_number_that_is_refused_takes_no_others_with_it(tmp_path, capsys):
    recipe = parse_recipe({"tracking": {"storage": str(tmp_path)}})
    tracker = Tracker(**tracking.worker_arguments(recipe, tracking.create_run("first", recipe)))
    for step in (1, 2):
        tracker.metrics({"val/a/mIoU": 50.0 + step, "val//data/b/mIoU": 1.0, "val/(c)": 1.0, "mIoU": 40.0}, step)
    tracker.finish()
    assert tracker.client.get_run(tracker.run_id).data.metrics == {"val/a/mIoU": 52.0, "mIoU": 40.0}
    assert [m.step for m in tracker.client.get_metric_history(tracker.run_id, "val/a/mIoU")] == [1, 2]
    assert capsys.readouterr().err.count("MLflow refuses a result, val//data/b/mIoU, val/(c): ") == 2


@pytest.mark.parametrize(("times", "arrive"), [(2, True), (9, False)])
def test_a_database_that_is_unwell_for_a_moment_costs_no_numbers(tmp_path, capsys, monkeypatch, times, arrive):
    """MLflow calls it a bad request, as it calls what it will never take."""
    recipe = parse_recipe({"tracking": {"storage": str(tmp_path)}})
    tracker = Tracker(**tracking.worker_arguments(recipe, tracking.create_run("first", recipe)))
    left, log_batch = [MlflowException("read-only", error_code=BAD_REQUEST)] * 3 * times, tracker.client.log_batch

    def unwell(*args, **kwargs) -> None:
        if left:
            raise left.pop()
        log_batch(*args, **kwargs)

    monkeypatch.setattr(tracker.client, "log_batch", unwell)
    monkeypatch.setattr("pipelines.sender._FIRST_WAIT", 0.01)
    tracker.metrics({"loss": 1.0, "lr": 2.0}, 1)
    assert tracker.flush(20)
    left.clear()
    tracker.metrics({"loss": 3.0}, 2)
    tracker.finish()
    steps = [metric.step for metric in tracker.client.get_metric_history(tracker.run_id, "loss")]
    assert steps == ([1, 2] if arrive else [2])
    assert ("MLflow refuses a result" in capsys.readouterr().err) != arrive


def test_numbers_arrive_where_pictures_can_not(tmp_path, capsys, monkeypatch):
    recipe = parse_recipe({"tracking": {"storage": str(tmp_path)}})
    tracker = Tracker(**tracking.worker_arguments(recipe, tracking.create_run("first", recipe)))
    monkeypatch.setattr(tracker_module, "_LAST_WAIT", 3)
    (tmp_path / "mlartifacts").write_text("a file where the folder of artifacts should be")
    tracker.picture(np.zeros((4, 4, 3), np.uint8), "black.png")
    tracker.metrics({"loss": 1.0}, 1)
    assert tracker.flush(20) and len(tracker.client.get_metric_history(tracker.run_id, "loss")) == 1
    tracker.finish()
    assert "artifact store" in (told := capsys.readouterr().err) and "the last results are lost" in told
    assert told.splitlines()[-1].endswith("lost, but numbers that train --resume sends")
    monkeypatch.setattr(tracker_module, "_LAST_WAIT", 0.1)
    tracker.finish("and a command without --resume says what helps it")
    assert "the last results are lost, and a command without --resume says" in capsys.readouterr().err


def test_what_is_logged_while_the_server_is_away_arrives_later_in_order(
    tmp_path, capsys, monkeypatch, free_port, mlflow_server
):
    """A real server, killed and started again on its port."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    with mlflow_server(tmp_path, port):
        recipe = parse_recipe({"tracking": {"storage": str(tmp_path)}})
        tracker = Tracker(**tracking.worker_arguments(recipe, tracking.create_run("lost", recipe)))
        tracker.metrics({"loss": 1.0}, 1)
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/another.db")  # a worker elsewhere knows the tracker's URI only
        tracker.picture(np.zeros((4, 4, 3), np.uint8), "pictures/black.png")
        assert tracker.flush(20) and tracker.pictures.flush(20)
        assert [file.path for file in tracker.client.list_artifacts(tracker.run_id, "pictures")]
    for step in (2, 3, 4):
        tracker.metrics({"loss": float(step)}, step)
    assert not tracker.flush(2)
    started = time.monotonic()
    tracker.catch_up(60)
    assert time.monotonic() - started < 5, "each checkpoint would wait"
    with mlflow_server(tmp_path, port):
        assert tracker.flush(60)
        history = tracker.client.get_metric_history(tracker.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(step, step) for step in (1, 2, 3, 4)]
    told = capsys.readouterr().err
    assert told.count("does not answer, its results wait") == told.count("answers again") == 1


def test_an_unreachable_store_is_named_soon_and_passed_over_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(ValueError, match="MLflow at http://127.0.0.1:9 can't be used .* train --offline"):
        tracking.configure(str(tmp_path))
    assert time.monotonic() - started < 30 and "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ
    tracking.configure(str(tmp_path), offline=True)
    assert mlflow.get_tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_store_that_takes_calls_and_is_silent_is_named_too(tmp_path, monkeypatch):
    """Within a minute; MLflow itself would wait for two minutes, eight times."""
    monkeypatch.setitem(refusals._PATIENCE, MLFLOW_HTTP_REQUEST_TIMEOUT, 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(tracking.configure, str(tmp_path))
            with pytest.raises(ValueError, match="can't be used"):
                asked.result(timeout=40)
    assert not [name for name in os.environ if name.startswith("MLFLOW_HTTP_REQUEST")]


def test_what_waits_at_a_checkpoint_is_sent_by_the_run_that_goes_on(tmp_path, monkeypatch):
    """The server is away at the checkpoint of step 5, and the process dies before it is back."""
    recipe = parse_recipe({"tracking": {"storage": str(tmp_path)}})
    arguments = tracking.worker_arguments(recipe, tracking.create_run("gap", recipe))
    tracker = Tracker(**arguments)
    tracker.metrics({"loss": 10.0}, 1)
    assert tracker.flush(30) and not tracker.unsent()
    monkeypatch.setattr(tracker.client, "log_batch", Mock(side_effect=ConnectionError("away")))
    for step in range(2, 6):
        tracker.metrics({"loss": 10.0 * step}, step)
    assert not tracker.flush(0.2)
    resumed = Tracker(**arguments)
    for numbers in [({"loss": 0.0}, 1, 5), *tracker.unsent()]:
        resumed.metrics(*numbers)
    for step in range(6, 9):
        resumed.metrics({"loss": 10.0 * step}, step)
    resumed.finish()
    history = resumed.client.get_metric_history(resumed.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(step, 10.0 * step) for step in range(1, 9)]
    assert [metric.timestamp for metric in history[1:5]] == [now for _, _, now in tracker.unsent()]


def test_settings_become_dotted_params():
    assert tracking.flatten({"a": {"b": [1, 2], "c": "x"}, "d": None}) == {"a.b": "[1, 2]", "a.c": "x", "d": "null"}


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("https://token@host/mlflow", "https://***@host/mlflow"),
        ("http://ada:p/a@ss@host", "http://***@host"),
        ("postgresql://ada:p@ss@host/db", "postgresql://ada:***@host/db"),
        ("postgresql://host/db?user=ada&password=secret&x=1", "postgresql://host/db?user=ada&password=***&x=1"),
    ],
)
def test_addresses_are_shown_without_passwords(uri, shown):
    assert refusals.without_password(uri) == shown
