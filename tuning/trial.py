"""One trial: a process without CPUs of its own that drives a Ray Train run and tells Tune of its validations."""

import os
from typing import Any

import ray
import torch
from ray import tune
from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE
from ray.tune.integration.ray_train import TuneReportCallback

from pipelines import tracking
from pipelines.cluster import ROOT
from pipelines.mistakes import Diverged, Mistake
from pipelines.recipe import parse_recipe
from pipelines.runs import Run, reports
from pipelines.settings import Recipe
from pipelines.terminal import quiet
from pipelines.train import train
from pipelines.validation import is_due
from rein_core import build_segmentor
from tuning.schedulers import AGAIN
from tuning.space import label
from tuning.sweep import METRICS, trial_recipe

_NOT_TRAINING = ("validation", "checkpoint")


def run_trial(config: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """Trains a draw, from its last checkpoint if there is one.

    Args:
        config: `draw`, from Tune.
        plan: of the sweep: `recipe`, `name`, `mlflow_run_id`, `store` (see `tracking.use_store`), `concurrent`,
            `gpus_per_worker`, and `histories`: results by label of trials that were interrupted before.

    Returns:
        The last result, which Tune may have missed, or `error`: why there is no such model, or why its training would
        end like this again, and then whether it `diverged`. It is no use to try again; Tune does, `tune.max_failures`
        times, where this raises or its process dies.

    Raises:
        ValueError: MLflow or storage is away, or workers failed more often than `train.max_failures`.
    """
    os.chdir(ROOT)
    _let_resources_be_freed()
    draw = config["draw"]
    recipe = trial_recipe(parse_recipe(plan["recipe"]), draw)
    quiet()
    if reason := why_not(recipe):
        return _given_up(recipe, reason)
    tracking.use_store(plan["store"])
    name = f"{plan['name']}-{label(draw)}"
    run = Run.find(name, recipe)
    for result in earlier(run, plan["histories"].get(label(draw), [])):
        tune.report(result)
    try:
        return _scores(_train(recipe, run, name, plan)["metrics"])
    except Mistake as error:
        return _given_up(recipe, str(error)) | {"diverged": isinstance(error, Diverged)}


def _train(recipe: Recipe, run: Run | None, name: str, plan: dict[str, Any]) -> dict[str, Any]:
    return train(
        recipe,
        run,
        name,
        parent_run_id=plan["mlflow_run_id"],
        callbacks=[Tell(recipe, is_new=run is None)],
        concurrent=plan["concurrent"],
        gpus_per_worker=plan["gpus_per_worker"],
        log_last=False,  # who registers the best logs it
    )


def _given_up(recipe: Recipe, reason: str) -> dict[str, Any]:
    """Tune and its schedulers want a step and a score of each result."""
    return {"error": reason, "step": 0, METRICS[recipe.tune.objective]: float("-inf")}


def why_not(recipe: Recipe) -> str | None:
    """The reason why a draw is no model; None if it is one, as far as can be told without memory and weights."""
    section = recipe.model_section()
    if "vfm" in section:
        section["vfm"]["weights"] = None
    try:
        with torch.device("meta"):
            build_segmentor(section)
    except ValueError as error:
        return str(error)
    except (NotImplementedError, RuntimeError):  # what computes with weights can't here, and says more in training
        return None
    return None


def earlier(run: Run | None, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Validations of a run that goes on, those marked that Tune had before. The last checkpoint may be none of them."""
    told = history[-1]["step"] if history else 0
    kept = reports(run.folder) if run else []
    untold = [metrics for metrics in kept if metrics["step"] > told and is_due(run.recipe, metrics["step"])]
    return [result | {AGAIN: True} for result in history] + [_scores(metrics) for metrics in untold]


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


class Pace:
    """Seconds a step of training, from what workers report.

    A worker that was restarted goes on from a checkpoint with its clock at 0: the time between the last report before
    and the first one after is not known, and these steps are left out.

    Args:
        is_new: whether the run starts at step 0.
    """

    def __init__(self, is_new: bool):
        self._last: tuple[int, dict[str, float]] | None = (0, {}) if is_new else None
        self._steps, self._seconds = 0, 0.0

    def note(self, step: int, seconds: dict[str, float]) -> None:
        """A report: its step, and the worker's seconds in each phase."""
        if self._last and step > self._last[0] and not _less(seconds, self._last[1]):
            self._steps += step - self._last[0]
            self._seconds += _training(seconds) - _training(self._last[1])
        self._last = (step, dict(seconds))

    def restart(self) -> None:
        """Workers were lost."""
        self._last = None

    def take(self) -> float | None:
        """Since this was last called; None if nothing is known."""
        pace = self._seconds / self._steps if self._steps else None
        self._steps, self._seconds = 0, 0.0
        return pace


def _less(seconds: dict[str, float], before: dict[str, float]) -> bool:
    return any(seconds.get(phase, 0.0) < taken for phase, taken in before.items())


def _training(seconds: dict[str, float]) -> float:
    return sum(taken for phase, taken in seconds.items() if phase not in _NOT_TRAINING)


class Tell(TuneReportCallback):
    """Tells Tune of validations.

    Args:
        recipe: the trial's.
        is_new: whether it starts at step 0.
    """

    def __init__(self, recipe: Recipe, is_new: bool):
        super().__init__()
        self.recipe, self.pace = recipe, Pace(is_new)

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """In Train's controller, which then restarts the workers."""
        self.pace.restart()

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """In Train's controller, after each checkpoint."""
        values = metrics[0]
        self.pace.note(values["step"], values["seconds"])
        if not is_due(self.recipe, values["step"]):
            return  # a checkpoint between validations repeats the last one's scores
        result, pace = _scores(values), self.pace.take()
        result |= {} if pace is None else {"step_seconds": pace}
        super().after_report(run_context, [result], checkpoint)
