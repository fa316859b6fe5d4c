"""`tune`: Ray Tune over training runs, with early stopping and one nested MLflow run a trial."""

import argparse
import os
from functools import partial
from typing import Any

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler

from datasets.storage import join
from pipelines import tracking
from pipelines.cluster import ROOT, connect
from pipelines.recipe import load_recipe, parse_recipe
from pipelines.settings import Recipe
from pipelines.terminal import say
from pipelines.train import check_inputs, train
from tuning.space import apply, search_space


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `tune`."""
    parser.add_argument("recipe", help="a recipe file, or the name of one in pipelines/recipes")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: returns the best trial's settings, mIoU and checkpoint, and every trial.

    Raises:
        ValueError: bad input, or no trial came to a validation.
    """
    recipe = load_recipe(args.recipe, args.set)
    _check(recipe)
    parent = tracking.create_run(f"tune-{recipe.name}", recipe)
    connect()
    try:
        results = _tuner(recipe, parent).fit()
    except BaseException:
        tracking.end_run(parent, "FAILED")
        raise
    _end_stopped_trials(parent)
    return _report(results, recipe, parent)


def _check(recipe: Recipe) -> None:
    if not recipe.data.val:
        raise ValueError("recipe: data.val is empty: trials are compared there, --set data.val=SHARDS")
    if not recipe.train.validate_every:
        raise ValueError("recipe: early stopping needs train.validate_every: --set train.validate_every=50")
    if isinstance(recipe.model, dict) or recipe.model.adapter.get("type") != "rein":
        raise ValueError("recipe: model.adapter.type must be rein: tune searches its token_length and rank")
    check_inputs(recipe)


def _tuner(recipe: Recipe, parent: str) -> tune.Tuner:
    settings = recipe.tune
    trial = partial(run_trial, recipe=recipe.model_dump(mode="json"), parent=parent)
    return tune.Tuner(
        tune.with_resources(trial, {"node:__internal_head__": 0.001}),
        param_space=search_space(recipe),
        tune_config=tune.TuneConfig(
            metric="mIoU",
            mode="max",
            num_samples=settings.num_trials,
            max_concurrent_trials=settings.max_concurrent,
            scheduler=ASHAScheduler(
                time_attr="step",
                max_t=recipe.train.steps,
                grace_period=min(settings.grace_steps, recipe.train.steps),
                reduction_factor=settings.reduction_factor,
            ),
        ),
        run_config=tune.RunConfig(name=f"tune-{parent[:8]}", storage_path=recipe.tracking.storage, verbose=1),
    )


def run_trial(draw: dict[str, Any], recipe: dict[str, Any], parent: str) -> None:
    """One trial: drives a training run, which reports to Tune; it holds no CPU itself."""
    os.chdir(ROOT)
    drawn = apply(parse_recipe(recipe), draw)
    train(drawn, parent_run_id=parent, callbacks=[TuneReportCallback()], concurrent=drawn.tune.max_concurrent)


def _end_stopped_trials(parent: str) -> None:
    """Trials that ASHA stops leave their MLflow runs open."""
    for run_id in tracking.open_children(parent):
        tracking.end_run(run_id, "KILLED")
    tracking.end_run(parent, "FINISHED")


def _checkpoint(result: tune.Result, recipe: Recipe) -> str | None:
    """Ray tells the path within the store."""
    path = result.metrics.get("checkpoint_path")
    return path and join(recipe.tracking.storage, *path.split("/")[-2:])


def _report(results: tune.ResultGrid, recipe: Recipe, parent: str) -> dict[str, Any]:
    trials = [
        {**result.config, "mIoU": result.metrics.get("mIoU"), "step": result.metrics.get("step"),
         "checkpoint": _checkpoint(result, recipe)}
        for result in results
        if result.metrics and result.metrics.get("mIoU") is not None
    ]  # fmt: skip
    if not trials:
        raise ValueError(
            f"tune: no trial came to a validation: {results.errors[0] if results.errors else 'see the log'}"
        )
    best = max(trials, key=lambda trial: trial["mIoU"])
    for trial in trials:
        mark = "best →" if trial is best else "      "
        settings = ", ".join(f"{key} {trial[key]}" for key in ("token_length", "rank", "lr") if key in trial)
        say(f"{mark} {settings}: mIoU {trial['mIoU']:.2f} at step {trial['step']}")
    tracking.log_metrics(parent, {"best/mIoU": best["mIoU"]})
    return {"best": best, "trials": trials, "mlflow_run_id": parent}
