"""What may be done with a sweep's best trial: trained anew at full length, and put into the registry."""

import argparse
from typing import Any

from pipelines import register
from pipelines.recipe import change_recipe
from pipelines.runs import Run
from pipelines.settings import Recipe
from pipelines.terminal import say
from pipelines.train import train
from tuning.results import SETTINGS, Row
from tuning.space import apply
from tuning.sweep import Sweep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `tune` that say what to do with the best."""
    parser.add_argument("--retrain", action="store_true", help="train the best draw anew, for the recipe's train.steps")
    parser.add_argument(
        "--retrain-set", action="append", default=[], metavar="KEY=VALUE", help="for that change a setting"
    )
    parser.add_argument("--register", metavar="NAME", help="register the best, retrained or as it is, as this model")
    parser.add_argument("--alias", help="for that a name for the version, such as champion")


def check(args: argparse.Namespace, recipe: Recipe) -> None:
    """Raises ValueError if the arguments don't go together or with the recipe, before hours of trials."""
    change_recipe(recipe, args.retrain_set)
    if args.alias and not args.register:
        raise ValueError("--alias: of which model? give --register NAME too")
    for what, name in (("--register", args.register), ("--alias", args.alias)):
        if name is not None:
            register.check_name(what, name)


def use(args: argparse.Namespace, sweep: Sweep, best: Row) -> dict[str, Any]:
    """Does what the arguments say: `retrained`, as `train` returns it, and `registered`, as `register` does."""
    done: dict[str, Any] = {}
    if args.retrain or args.retrain_set:
        done["retrained"] = _retrain(sweep, best, args.retrain_set)
    if args.register:
        checkpoint = done["retrained"]["checkpoint"] if done else best["checkpoint"]
        storage = sweep.recipe.tracking.storage
        done["registered"] = register.register(checkpoint, args.register, args.alias, storage=storage)
    return done


def _retrain(sweep: Sweep, best: Row, changes: list[str]) -> dict[str, Any]:
    """From the start, as a trial's schedule of learning rates ended with it. Killed, it goes on as a run does."""
    recipe = retrain_recipe(sweep.recipe, best, changes)
    name = f"{sweep.name}-retrained"
    say(f"training {best['run_dir']} anew for {recipe.train.steps} steps")
    return train(recipe, Run.find(name, recipe), name, parent_run_id=sweep.mlflow_run_id)


def retrain_recipe(recipe: Recipe, best: Row, changes: list[str]) -> Recipe:
    """The sweep's recipe with the best draw."""
    draw = {name: best[name] for name in SETTINGS if name in best}
    return change_recipe(apply(recipe, draw), changes)
