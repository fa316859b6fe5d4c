"""What may be done with a sweep's best trial: trained anew at full length, and put into the registry."""

import argparse
import hashlib
import json
from typing import Any

from pipelines import register, runs
from pipelines.recipe import change_recipe
from pipelines.runs import Run
from pipelines.settings import Recipe
from pipelines.terminal import say
from pipelines.tracking import flatten
from pipelines.train import train
from tuning.results import SETTINGS, Row, not_the_best
from tuning.space import Draw, apply, label
from tuning.sweep import RETRAINED, Sweep


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
    if args.register is not None:
        register.check_name("--register", args.register)
    if args.alias is not None:
        register.check_alias("--alias", args.alias)


def use(args: argparse.Namespace, sweep: Sweep, best: Row) -> dict[str, Any]:
    """Does what the arguments say: `retrained`, as `train` returns it, and `registered`, as `register` does.

    Raises:
        ValueError: trials failed, of which one might have been better, or the best's checkpoint is not its best.
    """
    done: dict[str, Any] = {}
    if (args.retrain or args.retrain_set or args.register) and (lost := sweep.lost()):
        raise ValueError(
            f"tune: {lost}: --resume {sweep.folder} tries them again, or register the best of the others by hand: "
            f"{best['checkpoint']}"
        )
    if args.register and not (args.retrain or args.retrain_set) and (why := not_the_best(best)):
        raise ValueError(f"tune: {why}: add --retrain, or register what there is by hand")
    if args.retrain or args.retrain_set:
        done["retrained"] = _retrain(sweep, best, args.retrain_set)
    if args.register:
        checkpoint = done["retrained"]["checkpoint"] if done else best["checkpoint"]
        place = sweep.recipe.tracking.model_dump(include={"storage", "offline"})
        done["registered"] = register.register(checkpoint, args.register, args.alias, **place)
    return done


def _retrain(sweep: Sweep, best: Row, changes: list[str]) -> dict[str, Any]:
    """From the start, as a trial's schedule of learning rates ended with it. Killed, it goes on as a run does."""
    recipe = retrain_recipe(sweep.recipe, best, changes)
    name = run_name(sweep, best, changes)
    say(f"training {best['run_dir']} anew for {recipe.train.steps} steps")
    return train(recipe, Run.find(name, recipe), name, parent_run_id=sweep.mlflow_run_id)


def run_name(sweep: Sweep, best: Row, changes: list[str]) -> str:
    """SWEEP-retrained-DRAW, and where changes make another run of it, also a digest of those.

    Another best, or other changes, is another run: one that goes on must be the same.
    """
    name = f"{sweep.name}-{RETRAINED}-{label(_draw(best))}"
    plain, changed = (retrain_recipe(sweep.recipe, best, each) for each in ([], changes))
    keys = runs.changed_settings(plain, changed, runs.MAY_CHANGE)
    if not keys:
        return name
    prefixes = tuple(f"{key}." for key in keys)
    values = flatten(changed.model_dump(mode="json"))
    told = {key: value for key, value in values.items() if f"{key}.".startswith(prefixes)}
    return f"{name}-{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]}"


def retrain_recipe(recipe: Recipe, best: Row, changes: list[str]) -> Recipe:
    """The sweep's recipe with the best draw."""
    return change_recipe(apply(recipe, _draw(best)), changes)


def _draw(best: Row) -> Draw:
    return {name: best[name] for name in SETTINGS if name in best}
