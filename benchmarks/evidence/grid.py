"""Runs a study's trials one after the other: those that are not finished yet, in one Ray."""

import time
from pathlib import Path

from benchmarks.evidence.results import Results, digests
from benchmarks.evidence.studies import RECIPES, Study, Trial, rate_trials, seed_trials
from pipelines.recipe import load_recipe
from pipelines.runs import Run
from pipelines.settings import Recipe
from pipelines.terminal import duration, say
from pipelines.train import train


def run(study: Study, work: Path, weights: str | None, overrides: list[str], results: Results) -> None:
    """All trials of a study. What was killed goes on from its last checkpoint when this is called again.

    Args:
        weights: of the VFM: a path, a URI or a hub name; None: random.
        overrides: `key=value`, of every trial's recipe.
        results: of finished trials, which are not run again.

    Raises:
        ValueError: a trial can't be trained, or finished ones of the study had other shards than are in `work`.
    """
    results.check(study, digests(study, work))
    for trial in rate_trials(study):
        _run_one(trial, work, weights, overrides, results)
    for trial in seed_trials(study, {arm.name: results.best_rate(study, arm) for arm in study.arms}):
        _run_one(trial, work, weights, overrides, results)


def recipe_of(trial: Trial, work: Path, weights: str | None, overrides: list[str]) -> Recipe:
    """A trial's whole recipe."""
    path = RECIPES / f"{trial.arm.recipe}.py"
    return load_recipe(str(path), trial.changes(work, weights) + overrides)


def _run_one(trial: Trial, work: Path, weights: str | None, overrides: list[str], results: Results) -> None:
    results.reload()
    if results.find(trial):
        return
    recipe, started = recipe_of(trial, work, weights, overrides), time.monotonic()
    say(f"\n{trial.name}")
    run = Run.find(trial.name, recipe)
    train(recipe, run, trial.name, log_last=False)
    found = results.collect(trial)
    say(f"{trial.name}: {found.scores}, {duration(time.monotonic() - started)}")
