"""What a trial tells Tune, from reports made by hand."""

import pytest
from ray.tune.integration.ray_train import TuneReportCallback

from pipelines.mistakes import Diverged, Mistake
from pipelines.recipe import load_recipe, parse_recipe
from tuning import trial
from tuning.tell import Tell
from tuning.trial import run_trial, why_not

RECIPE = parse_recipe({"train": {"steps": 100, "validate_every": 20}, "data": {"source_val": ["s"]}})

PLAN = {
    "recipe": load_recipe("tune_token_rank_smoke").model_dump(mode="json"), "name": "sweep", "histories": {},
    "mlflow_run_id": "0" * 32, "concurrent": 1, "gpus_per_worker": 1.0, "store": None,
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    """What a trial asks of the Ray that it runs in."""
    monkeypatch.setattr(trial, "_let_resources_be_freed", lambda: None)
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


def test_a_draw_that_is_no_model_is_not_tried():
    """And tells why; all else that can go wrong may be over by the next try."""
    recipe = load_recipe("tune_token_rank_smoke", ["model.adapter.layers=[0, 99]"])
    plan = {"recipe": recipe.model_dump(mode="json"), "name": "sweep"}
    result = run_trial({"draw": {"adapter": "rein"}}, plan)
    assert "name rising block numbers from 0 to 11" in result["error"] and result["source_mIoU"] == float("-inf")


@pytest.mark.parametrize(("kind", "diverged"), [(Mistake, False), (Diverged, True)])
def test_a_training_that_would_end_like_this_again_is_not_tried_again(monkeypatch, kind, diverged):
    def fails(*args, **settings):
        raise kind("training failed: the reason")

    monkeypatch.setattr(trial, "train", fails)
    result = run_trial({"draw": {"adapter": "rein"}}, PLAN)
    assert result == {"error": "training failed: the reason", "diverged": diverged, "step": 0,
                      "source_mIoU": float("-inf")}  # fmt: skip


def test_a_store_that_is_away_is_no_reason_to_give_a_draw_up(monkeypatch):
    def away(*args, **settings):
        raise ValueError("MLflow at http://nowhere can't be used")

    monkeypatch.setattr(trial, "train", away)
    with pytest.raises(ValueError, match="can't be used"):
        run_trial({"draw": {"adapter": "rein"}}, PLAN)
