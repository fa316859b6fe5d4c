"""What a sweep costs over its trials' own time: `tune` against the same runs of `train`, one after the other.

`python -m benchmarks.sweep --json`: each has a process of its own and Ray running when the clock starts. `loop` calls
`train` for each draw with the whole machine, and nothing else; `tune` is the whole command with its checks, table and
pictures, as many trials at a time as fit. Neither logs a model. `over_trials` is what `tune` takes longer than its own
trials, each from its start to its end, would fill as many places as there are: so give it a multiple of that number.
`overhead` is what it takes longer than the loop, and `over_training` than the loop's training loops alone, without the
start of each run; all are shares.

The shards' pictures are procedural and the VFM's weights random: neither changes what a step does.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.overhead import prepare
from pipelines.recipe import load_recipe
from pipelines.resources import runs_that_fit
from pipelines.settings import Recipe


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    args = parser().parse_args(argv)
    args.work = Path(args.work).absolute()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.one:
        common.emit(measure(args), True)
        return
    args.shards = args.shards or prepare(args.work)
    rounds = [{name: in_a_process(args, name) for name in ("loop", "tune")} for _ in range(args.rounds)]
    setting = {name: getattr(args, name) for name in ("recipe", "steps", "trials", "rounds", "concurrent", "set")}
    about = {"setting": setting, "machine": common.machine(common.device())}
    common.emit(report(rounds) | about, args.json)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    arguments = common.parser(__doc__)
    arguments.formatter_class = argparse.RawDescriptionHelpFormatter
    arguments.set_defaults(rounds=1)
    arguments.add_argument("--recipe", default="demo")
    arguments.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change another setting")
    arguments.add_argument("--steps", type=int, default=80, help="of a trial")
    arguments.add_argument("--trials", type=int, default=4)
    arguments.add_argument("--concurrent", type=int, help="trials at a time (default: as many as fit)")
    arguments.add_argument("--shards", help="train on these (default: drawn in --work)")
    arguments.add_argument("--work", default="sweep-benchmark", help="folder of shards, made once, and of runs")
    arguments.add_argument("--one", choices=("loop", "tune"), help="measure this only, once")
    return arguments


def in_a_process(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """What `measure` gives for this."""
    names = ("recipe", "steps", "trials", "concurrent", "shards", "work")
    given = {f"--{name}": str(getattr(args, name)) for name in names if getattr(args, name) is not None}
    options = [word for pair in given.items() for word in pair] + [f"--set={change}" for change in args.set]
    return common.in_a_process("benchmarks.sweep", "--one", name, *options)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of all trials together, and of each."""
    from pipelines.cluster import connect  # with these, `--help` would take seconds

    connect()
    with tempfile.TemporaryDirectory(dir=args.work) as storage:
        sets = changes(args, storage)
        return (loop if args.one == "loop" else tune)(args.recipe, sets)


def changes(args: argparse.Namespace, storage: str) -> list[str]:
    """To the recipe: distinct draws that cost the same, validated at their end."""
    values = {
        "data.train": args.shards, "data.val": [], "data.source_val": args.shards, "data.val_samples": 2,
        "train.steps": args.steps, "train.validate_every": None, "train.checkpoint_every": args.steps,
        "train.pictures": 0, "tracking.storage": storage, "tune.sampler": "grid", "tune.scheduler": None,
        "tune.token_length": [40], "tune.rank": list(range(4, 4 + args.trials)), "tune.max_concurrent": args.concurrent,
    }  # fmt: skip
    return [f"{key}={value}" for key, value in values.items()] + args.set


def loop(recipe: str, sets: list[str]) -> dict[str, Any]:
    """`train` for each draw."""
    from pipelines.train import train
    from tuning.space import Space, label
    from tuning.sweep import trial_recipe

    asked = load_recipe(recipe, sets)
    started = time.perf_counter()
    runs = [train(trial_recipe(asked, draw), name=label(draw), log_last=False) for draw in Space(asked).grid()]
    seconds = time.perf_counter() - started
    training = sum(sum(run["phases"].values()) for run in runs)
    return {"seconds": round(seconds, 1), "training": round(training, 1), "trials": [run["seconds"] for run in runs]}


def tune(recipe: str, sets: list[str]) -> dict[str, Any]:
    """The command."""
    from pipelines.__main__ import command
    from pipelines.cluster import live_nodes

    started = time.perf_counter()
    result = command(["tune", recipe, *(word for change in sets for word in ("--set", change))])
    seconds = round(time.perf_counter() - started, 1)
    trials = [trial["seconds"] for trial in result["trials"]]
    fitting = places(load_recipe(recipe, sets), len(trials), live_nodes())
    return {"seconds": seconds, "trials": trials, "places": fitting}


def places(recipe: Recipe, trials: int, nodes: list[dict[str, float]]) -> int:
    """How many of the trials `tune` ran at a time on a cluster of these nodes."""
    fit = runs_that_fit(recipe, nodes, recipe.tune.gpus_per_trial or 1.0)
    return min(recipe.tune.max_concurrent or fit, trials)


def report(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Medians over the rounds.

    Returns:
        `ratio`: the loop's seconds by the sweep's; `over_trials`, `overhead` and `over_training`, see above; all
        seconds.
    """
    own = [sum(each["tune"]["trials"]) / each["tune"]["places"] for each in rounds]
    over_own = [each["tune"]["seconds"] / seconds - 1 for each, seconds in zip(rounds, own, strict=True)]
    ratios = [each["loop"]["seconds"] / each["tune"]["seconds"] for each in rounds]
    training = [each["tune"]["seconds"] / each["loop"]["training"] - 1 for each in rounds]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "over_trials": round(statistics.median(over_own), 3),
        "overhead": round(statistics.median(1 / ratio - 1 for ratio in ratios), 3),
        "over_training": round(statistics.median(training), 3),
        "rounds": rounds,
    }


if __name__ == "__main__":
    main()
