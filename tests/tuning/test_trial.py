"""What a trial tells Tune, from reports made by hand."""

import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

import pytest
from ray.tune.integration.ray_train import TuneReportCallback

from pipelines.mistakes import Diverged, Mistake
from pipelines.recipe import load_recipe, parse_recipe
from pipelines.refusals import Away
from pipelines.runs import Run
from tuning import trial
from tuning.tell import Tell
from tuning.trial import run_trial, why_not

RECIPE = parse_recipe({"train": {"steps": 100, "validate_every": 20}, "data": {"source_val": ["s"]}})

DRAW = {"draw": {"adapter": "rein"}}


@pytest.fixture
def plan(tmp_path, monkeypatch) -> Callable[..., dict]:
    """Gives a sweep's, with its runs in a folder of their own and these changes of settings."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # which the trial sets, and the end of the test takes back

    def make(*changes: str) -> dict:
        recipe = load_recipe("tune_token_rank_smoke", [f"tracking.storage={tmp_path}", *changes])
        return {
            "recipe": recipe.model_dump(mode="json"), "name": "sweep", "histories": {}, "mlflow_run_id": "0" * 32,
            "concurrent": 1, "gpus_per_worker": 1.0, "store": None,
        }  # fmt: skip

    return make


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    """What a trial asks of the Ray that it runs in."""
    monkeypatch.setattr(TuneReportCallback, "__init__", lambda self: None)


@pytest.fixture
def told(monkeypatch) -> list[dict]:
    """What Tune hears."""
    results = []
    monkeypatch.setattr(
        TuneReportCallback, "after_report", lambda self, run, metrics, checkpoint: results.extend(metrics)
    )
    return results


def report(tell: Tell, step: int, training: float, validation: float = 0.0) -> None:
    seconds = {"data": training / 4, "forward": training * 3 / 4, "validation": validation, "checkpoint": 1.0}
    tell.after_report(None, [{"step": step, "source_mIoU": 50.0, "seconds": seconds}], None)


def paces(told: list[dict]) -> dict[int, float | None]:
    return {result["step"]: result.get("step_seconds") for result in told}


def test_a_checkpoint_before_a_validation_has_no_scores_of_its_step(told, monkeypatch):
    recipe = parse_recipe({"train": {"steps": 8, "validate_every": 4}, "data": {"val": "/nowhere"}})
    kept = [
        {"step": step, "source_mIoU": score, "seconds": {}, "done": done}
        for step, score, done in ((4, 30.0, False), (4, 50.0, True), (8, 50.0, False))
    ]
    tell = Tell(recipe, is_new=True)
    for metrics in kept:
        tell.after_report(None, [metrics], None)
    assert [(result["step"], result["source_mIoU"]) for result in told] == [(4, 50.0)]
    monkeypatch.setattr(trial, "reports", lambda folder: kept)
    assert trial.earlier(Run("/run", recipe, "id"), []) == [{"step": 4, "source_mIoU": 50.0}]


def test_seconds_a_step_without_validations(told):
    tell = Tell(RECIPE, is_new=True)
    for step, training in ((10, 10.0), (20, 20.0), (30, 50.0), (40, 80.0)):
        report(tell, step, training, validation=step)
    assert paces(told) == {20: pytest.approx(1.0), 40: pytest.approx(3.0)}


def test_a_worker_that_was_restarted_begins_at_0_again(told):
    """It goes on from step 30: that those 10 steps took is not known, and 5 s for 20 steps would be wrong."""
    tell = Tell(RECIPE, is_new=True)
    for step, training in ((10, 10.0), (20, 20.0), (30, 30.0), (40, 8.0), (50, 18.0), (60, 28.0)):
        report(tell, step, training)
    assert paces(told) == {20: pytest.approx(1.0), 40: pytest.approx(1.0), 60: pytest.approx(1.0)}


def test_a_restart_in_the_first_interval_before_a_clock_could_fall(told):
    tell = Tell(RECIPE, is_new=True)
    report(tell, 10, 10.0)
    tell.after_exception(None, {0: RuntimeError()})
    report(tell, 20, 10.5)
    report(tell, 30, 20.5)
    report(tell, 40, 30.5)
    assert paces(told) == {20: pytest.approx(1.0), 40: pytest.approx(1.0)}


def test_steps_that_are_done_again_count_once(told):
    tell = Tell(RECIPE, is_new=True)
    for step, training in ((20, 20.0), (30, 30.0), (30, 31.0), (40, 41.0)):
        report(tell, step, training)
    assert paces(told) == {20: pytest.approx(1.0), 40: pytest.approx(1.0)}


def test_a_run_that_goes_on_starts_at_an_unknown_step(told):
    tell = Tell(RECIPE, is_new=False)
    report(tell, 60, 20.0)
    report(tell, 80, 60.0)
    assert paces(told) == {60: None, 80: pytest.approx(2.0)}


@pytest.mark.parametrize("kind", ["none", "full", "rein", "lora", "dora", "soma", "vpt", "adaptformer", "fada"])
def test_what_can_be_built_is_tried(kind):
    assert (
        why_not(load_recipe("tune_token_rank_smoke", [f"model.adapter.type={kind}", "model.vfm.weights=gone"])) is None
    )


def test_a_draw_that_is_no_model_is_not_tried(plan):
    """And tells why; all else that can go wrong may be over by the next try."""
    result = run_trial(DRAW, plan("model.adapter.layers=[0, 99]"))
    assert "name rising block numbers from 0 to 11" in result["error"] and result["source_mIoU"] == float("-inf")
    assert result["impossible"]


@pytest.fixture
def mlflow_answers(monkeypatch) -> None:
    """At once."""
    monkeypatch.setattr(trial.tracking, "configure", lambda **place: "1")


@pytest.mark.parametrize(("kind", "diverged"), [(Mistake, False), (Diverged, True)])
def test_a_training_that_would_end_like_this_again_is_not_tried_again(
    monkeypatch, plan, mlflow_answers, kind, diverged
):
    def fails(*args, **settings):
        raise kind("training failed: the reason")

    monkeypatch.setattr(trial, "train", fails)
    result = run_trial(DRAW, plan())
    assert result == {"error": "training failed: the reason", "diverged": diverged, "step": 0,
                      "source_mIoU": float("-inf")}  # fmt: skip


def test_a_store_that_is_away_is_no_reason_to_give_a_draw_up(monkeypatch, plan, mlflow_answers):
    def away(*args, **settings):
        raise ValueError("MLflow at http://nowhere can't be used")

    monkeypatch.setattr(trial, "train", away)
    with pytest.raises(ValueError, match="can't be used"):
        run_trial(DRAW, plan())


class Answers(BaseHTTPRequestHandler):
    """An MLflow server that has an experiment, and refuses the first calls: `refused` counts them down."""

    refused: ClassVar[list[None]]

    def do_GET(self) -> None:
        """The only thing that it is asked."""
        self.send_response(503 if self.refused else 200)
        self.refused[:1] = []
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"experiment": {"experiment_id": "1", "lifecycle_stage": "active"}}')

    def log_message(self, *words: object) -> None:
        """Nothing."""


@pytest.fixture
def started(monkeypatch) -> list[str]:
    """Names of trials whose training began, which ends at once."""
    names = []

    def train(recipe, run, name, **settings) -> dict:
        names.append(name)
        return {"metrics": {"step": 4}}

    monkeypatch.setattr(trial, "train", train)
    return names


def test_a_trial_waits_for_mlflow(monkeypatch, plan, started, web_server, capsys):
    """Else Tune would have used up its tries, and those of the next trials, in a minute."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(Answers, "refused", [None] * 2, raising=False)
    with web_server(Answers) as address:
        assert run_trial(DRAW, plan() | {"store": address}) == {"step": 4}
    told = capsys.readouterr().err
    assert started == ["sweep-rein"] and not Answers.refused
    assert told.count("trying again for 10 min") == told.count("sweep-rein starts") == 1


def test_a_trial_waits_no_longer_than_patience(monkeypatch, plan, started, free_port):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Away, match="can't be used"):
        run_trial(DRAW, plan("tracking.patience_seconds=2") | {"store": f"http://127.0.0.1:{free_port()}"})
    assert not started


def test_a_trial_waits_for_room(plan, mlflow_answers, started, small_disk, fill, capsys):
    disk = small_disk(4)
    filler = fill(disk)
    threading.Timer(2.5, os.remove, [filler]).start()
    assert run_trial(DRAW, plan(f"tracking.storage={disk}")) == {"step": 4}
    told = capsys.readouterr().err
    assert started == ["sweep-rein"] and told.count("No space left on device") == 1
    assert not list((disk / "sweep-rein").iterdir())
