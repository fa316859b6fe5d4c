"""One trial: a process without CPUs of its own that drives a Ray Train run and tells Tune of its validations."""

import os
from typing import Any

import torch
from ray import tune

from datasets import storage
from datasets.sample import one_line
from pipelines import tracking
from pipelines.cluster import ROOT
from pipelines.mistakes import Diverged, Mistake
from pipelines.patience import keep_trying
from pipelines.recipe import parse_recipe
from pipelines.refusals import Away, at_once
from pipelines.runs import Run, named_folder, reports
from pipelines.settings import Recipe
from pipelines.terminal import duration, quiet
from pipelines.train import train
from rein_core import build_segmentor
from tuning.schedulers import AGAIN
from tuning.space import label
from tuning.sweep import trial_recipe
from tuning.tell import METRICS, Tell, scores

_TRIED = "tried.json"


def run_trial(config: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """Trains a draw, from its last checkpoint if there is one.

    Args:
        config: `draw`, from Tune.
        plan: of the sweep: `recipe`, `name`, `mlflow_run_id`, `store` (see `tracking.use_store`), `concurrent`,
            `gpus_per_worker`, and `histories`: results by label of trials that were interrupted before.

    Returns:
        The last result, which Tune may have missed, or `error`: why there is no such model, which is `impossible`, or
        why its training would end like this again, and then whether it `diverged`. It is no use to try again; Tune
        does, `tune.max_failures` times, where this raises or its process dies.

    Raises:
        ValueError, OSError: MLflow or storage is away for longer than `tracking.patience_seconds`, or in the midst of
            the start, or workers failed more often than `train.max_failures`.
    """
    os.chdir(ROOT)
    draw = config["draw"]
    recipe = trial_recipe(parse_recipe(plan["recipe"]), draw)
    quiet()
    if reason := why_not(recipe):
        return _given_up(recipe, reason) | {"impossible": True}
    tracking.use_store(plan["store"])
    name = f"{plan['name']}-{label(draw)}"
    run = _find(name, recipe)
    for result in earlier(run, plan["histories"].get(label(draw), [])):
        tune.report(result)
    try:
        return scores(_train(recipe, run, name, plan)["metrics"])
    except Mistake as error:
        return _given_up(recipe, str(error)) | {"diverged": isinstance(error, Diverged)}


def _find(name: str, recipe: Recipe) -> Run | None:
    """The run that goes on, if there is one, once MLflow answers and the storage takes files: Tune would have used up
    a trial's tries in a minute of an outage, and those of the next ones."""

    def look() -> Run | None:
        with at_once():
            tracking.configure(**tracking.place(recipe))
            _write_something(named_folder(name, recipe))
            return Run.find(name, recipe)

    def words(error: Exception) -> str:
        return f"{name} can't start ({one_line(error)}): trying again for {duration(seconds)}"

    seconds = recipe.tracking.patience_seconds
    return keep_trying(look, seconds, words, f"{name} starts", (OSError, Away))


def _write_something(folder: str) -> None:
    """Raises OSError where that folder can't be written to."""
    files, path = storage.filesystem(folder)
    files.create_dir(path)
    storage.write_json(folder, _TRIED, {})
    storage.delete(folder, [_TRIED])


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
    untold = [
        metrics
        for metrics in kept
        if metrics["step"] > told and metrics.get("done", True) and run.recipe.validates_after(metrics["step"])
    ]
    return [result | {AGAIN: True} for result in history] + [scores(metrics) for metrics in untold]
