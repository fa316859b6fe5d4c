"""Schedulers: which trials they stop, and that after a resume they stop the same ones."""

import pytest
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from pipelines.recipe import load_recipe
from tuning.schedulers import Earlier, build_scheduler, replay
from tuning.trial import earlier


def scheduler(kind, **tune):
    tune |= {"scheduler": kind, "grace_steps": 10, "reduction_factor": 2}
    return build_scheduler(load_recipe("demo", [f"tune.{name}={value!r}" for name, value in tune.items()]), "score")


def history(score: float, steps: int = 40) -> list[dict]:
    return [{"step": step, "score": score} for step in range(10, steps + 1, 10)]


@pytest.mark.parametrize("kind", ["asha", "median"])
def test_what_earlier_trials_scored_counts(kind):
    """A trial that is worse than all before is stopped, a better one goes on; without those before both do."""
    for score, expected in ((1.0, TrialScheduler.STOP), (9.0, TrialScheduler.CONTINUE)):
        resumed = scheduler(kind)
        for i in range(4):
            replay(resumed, Earlier(f"before-{i}"), history(4.0 + i))
        new = Earlier("new")
        for each in (resumed, fresh := scheduler(kind)):
            each.on_trial_add(None, new)
        assert resumed.on_trial_result(None, new, {"step": 10, "score": score}) == expected
        assert fresh.on_trial_result(None, new, {"step": 10, "score": score}) == TrialScheduler.CONTINUE


@pytest.mark.parametrize("kind", ["asha", "median"])
def test_no_trial_is_stopped_before_its_grace(kind):
    resumed, new = scheduler(kind), Earlier("new")
    for i in range(4):
        replay(resumed, Earlier(f"before-{i}"), [{"step": 5, "score": 5.0}, *history(5.0)])
    resumed.on_trial_add(None, new)
    assert resumed.on_trial_result(None, new, {"step": 5, "score": 0.0}) == TrialScheduler.CONTINUE


@pytest.mark.parametrize("kind", ["asha", "median"])
def test_failed_trials_are_no_trouble(kind):
    """One that failed before a resume, and one that says so now."""
    resumed, failing, new = scheduler(kind), Earlier("failing"), Earlier("new")
    replay(resumed, Earlier("failed"), [])
    told = {"step": 0, "score": float("-inf"), "error": "why"}
    for trial in (failing, new):
        resumed.on_trial_add(None, trial)
    assert resumed.on_trial_result(None, failing, told) == TrialScheduler.CONTINUE
    resumed.on_trial_complete(None, failing, told)
    assert resumed.on_trial_result(None, new, {"step": 10, "score": 1.0}) == TrialScheduler.CONTINUE


@pytest.mark.parametrize("kind", ["asha", "median"])
def test_a_leader_that_began_slowly_goes_on_after_a_resume(kind):
    """It tells all that it had told, under another id, to a scheduler that knows how the others ended."""
    resumed, leader = scheduler(kind), Earlier("leader")
    for i in range(4):
        replay(resumed, Earlier(f"before-{i}"), history(5.0 + i))
    resumed.on_trial_add(None, leader)
    told = [{"step": step, "score": score} for step, score in ((10, 1.0), (20, 2.0), (30, 20.0))]
    new = [{"step": step, "score": 20.0 + step} for step in (40, 50)]
    decisions = [resumed.on_trial_result(None, leader, result) for result in earlier(None, told) + new]
    assert decisions == [TrialScheduler.CONTINUE] * 5


def test_what_was_told_before_counts_for_others():
    resumed, leader, new = scheduler("asha"), Earlier("leader"), Earlier("new")
    for trial in (leader, new):
        resumed.on_trial_add(None, trial)
    for result in earlier(None, history(9.0, steps=20)):
        resumed.on_trial_result(None, leader, result)
    assert resumed.on_trial_result(None, new, {"step": 10, "score": 1.0}) == TrialScheduler.STOP


@pytest.mark.parametrize("kind", ["asha", "median"])
def test_one_that_was_stopped_is_known_whole(kind):
    """Told in another order than it came, the first of its results may already be one to stop at."""
    resumed = scheduler(kind)
    for i in range(4):
        replay(resumed, Earlier(f"before-{i}"), history(5.0 + i))
    replay(resumed, Earlier("stopped"), history(1.0))


def test_none_and_pbt():
    assert type(scheduler(None)) is FIFOScheduler
    with pytest.raises(ValueError, match="copy none and say nothing: choose asha or median"):
        scheduler("pbt")
