"""What stops bad trials early, by steps; after a resume it knows what the trials before had scored."""

from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from pipelines.settings import Recipe

AGAIN = "again"
"""Marks a result that a scheduler was told before, in the sweep's part before a resume."""


class _Lenient:
    """Learns from such a result, and stops nobody for it: others have more steps by now, and it was judged once."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """As Tune's, which never asks a median rule again of a trial that it has stopped."""
        decision = super().on_trial_result(tune_controller, trial, result)
        if not result.get(AGAIN):
            return decision
        getattr(self, "_stopped_trials", set()).discard(trial)
        return TrialScheduler.CONTINUE


class _Asha(_Lenient, ASHAScheduler):
    pass


class _Median(_Lenient, MedianStoppingRule):
    pass


def build_scheduler(recipe: Recipe, metric: str) -> TrialScheduler:
    """The scheduler of `tune.scheduler`.

    Args:
        recipe: a trial's, with its number of steps.
        metric: of trials' results, the larger the better.
    """
    settings, steps = recipe.tune, recipe.train.steps
    grace = min(settings.grace_steps, steps)
    if settings.scheduler is None:
        return FIFOScheduler()
    if settings.scheduler == "median":
        # trials that wait for others to compare with would give up their workers, so none does
        never = float("inf")
        return _Median("step", metric, "max", grace_period=grace, min_time_slice=never)
    # by steps: Tune counts iterations anew in a resumed trial; one more than there are, as a trial ends by itself
    return _Asha("step", metric, "max", max_t=steps + 1, grace_period=grace, reduction_factor=settings.reduction_factor)


@dataclass(frozen=True)
class Earlier:
    """A trial of the sweep's part before a resume, as far as schedulers look at one."""

    trial_id: str


def replay(scheduler: TrialScheduler, trial: Earlier, history: list[dict[str, Any]]) -> None:
    """Lets a scheduler know a finished trial: Tune saves trials and searchers, but no scheduler."""
    scheduler.on_trial_add(None, trial)
    for result in history:
        scheduler.on_trial_result(None, trial, result | {AGAIN: True})
    if history:
        scheduler.on_trial_complete(None, trial, history[-1])
