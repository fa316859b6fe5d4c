"""What a trial tells Tune, from reports made by hand."""

import pytest
from ray.tune.integration.ray_train import TuneReportCallback

from pipelines.recipe import parse_recipe
from tuning.trial import Tell

RECIPE = parse_recipe({"train": {"steps": 100, "validate_every": 20}, "data": {"source_val": ["s"]}})


@pytest.fixture
def told(monkeypatch) -> list[dict]:
    """What Tune hears."""
    results = []
    monkeypatch.setattr(TuneReportCallback, "__init__", lambda self: None)
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
