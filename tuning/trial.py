"""One trial: a process without CPUs of its own that drives a Ray Train run and tells Tune of its validations."""

import os
from typing import Any

import ray
from ray import tune
from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE
from ray.tune.integration.ray_train import TuneReportCallback

from pipelines.cluster import ROOT
from pipelines.recipe import parse_recipe
from pipelines.runs import Run, reports
from pipelines.settings import Recipe
from pipelines.terminal import quiet
from pipelines.train import train
from pipelines.validation import is_due
from tuning.space import label
from tuning.sweep import METRICS, trial_recipe

_NOT_TRAINING = ("validation", "checkpoint")


def run_trial(config: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """Trains a draw, from its last checkpoint if there is one.

    Args:
        config: `draw`, from Tune.
        plan: of the sweep: `recipe`, `name`, `mlflow_run_id`, `concurrent`, `gpus_per_worker`, and `histories`: results
            by label of trials that were interrupted before.

    Returns:
        The last result, which Tune may have missed, or `error`: a reason why it is no use to try again. Tune tries
        again where this process dies.
    """
    os.chdir(ROOT)
    _let_resources_be_freed()
    draw = config["draw"]
    recipe = trial_recipe(parse_recipe(plan["recipe"]), draw)
    quiet()
    name = f"{plan['name']}-{label(draw)}"
    run = Run.find(name, recipe)
    for result in earlier(run, plan["histories"].get(label(draw), [])):
        tune.report(result)
    try:
        trained = train(
            recipe,
            run,
            name,
            parent_run_id=plan["mlflow_run_id"],
            callbacks=[Tell(recipe, is_new=run is None)],
            concurrent=plan["concurrent"],
            gpus_per_worker=plan["gpus_per_worker"],
            log_last=False,  # who registers the best logs it
        )
    except ValueError as error:  # bad input, or its workers failed more often than train.max_failures
        # Tune and its schedulers want a step and a score of each result
        return {"error": str(error), "step": 0, METRICS[recipe.tune.objective]: float("-inf")}
    return _scores(trained["metrics"])


def earlier(run: Run | None, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Validations of a run that goes on. It does so after its last checkpoint, of which Tune may not have heard."""
    told = history[-1]["step"] if history else 0
    kept = reports(run.folder) if run else []
    untold = [metrics for metrics in kept if metrics["step"] > told and is_due(run.recipe, metrics["step"])]
    return history + [_scores(metrics) for metrics in untold]


def _scores(metrics: dict[str, Any]) -> dict[str, Any]:
    """What Tune is told of a training worker's report."""
    return {name: metrics[name] for name in ("step", *METRICS.values()) if name in metrics}


def _let_resources_be_freed() -> None:
    """Tells Ray Train's helper, which frees the workers' reservation when a trial is stopped, which Ray this is.

    It has to ask Ray's API server for that, and finds none where several clusters run on a machine: the CPUs and GPUs
    of stopped trials would stay reserved, and the sweep would wait for ever.
    """
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    ENV_VARS_TO_PROPAGATE.add("RAY_ADDRESS")


class Tell(TuneReportCallback):
    """Tells Tune of validations.

    Args:
        recipe: the trial's.
        is_new: whether it starts at step 0.
    """

    def __init__(self, recipe: Recipe, is_new: bool):
        super().__init__()
        self.recipe = recipe
        self.before: tuple[int, float] | None = (0, 0.0) if is_new else None

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """In Train's controller, after each checkpoint."""
        values = metrics[0]
        step, seconds = values["step"], values["seconds"]
        if not is_due(self.recipe, step):
            return  # a checkpoint between validations repeats the last one's scores
        result = _scores(values)
        training = sum(taken for phase, taken in seconds.items() if phase not in _NOT_TRAINING)
        if self.before and training > self.before[1]:  # a restarted worker's clock is at 0 again
            result["step_seconds"] = (training - self.before[1]) / (step - self.before[0])
        self.before = (step, training)
        super().after_report(run_context, [result], checkpoint)
