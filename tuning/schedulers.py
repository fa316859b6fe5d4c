"""What stops bad trials early, by steps; after a resume it knows what the trials before had scored."""

from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from pipelines.settings import Recipe


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
        return MedianStoppingRule("step", metric, "max", grace_period=grace, min_time_slice=never)
    # by steps: Tune counts iterations anew in a resumed trial; one more than there are, as a trial ends by itself
    return ASHAScheduler(
        "step", metric, "max", max_t=steps + 1, grace_period=grace, reduction_factor=settings.reduction_factor
    )


@dataclass(frozen=True)
class Earlier:
    """A trial of the sweep's part before a resume, as far as schedulers look at one."""

    trial_id: str


def replay(scheduler: TrialScheduler, trial: Earlier, history: list[dict[str, Any]]) -> None:
    """Lets a scheduler know a finished trial: Tune saves trials and searchers, but no scheduler."""
    scheduler.on_trial_add(None, trial)
    for result in history:
        scheduler.on_trial_result(None, trial, result)
    if history:
        scheduler.on_trial_complete(None, trial, history[-1])
