"""`tune`: Ray Tune over training runs, with early stopping and one nested MLflow run a trial."""

import argparse
import os
import time
from contextlib import suppress
from functools import partial
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.schedulers import TrialScheduler

from datasets import storage
from pipelines import refusals, resources, runs, tracking
from pipelines.cluster import connect, live_nodes
from pipelines.recipe import change_recipe, load_recipe, parse_recipe
from pipelines.settings import Recipe, absolute
from pipelines.terminal import duration, say
from pipelines.train import check_inputs
from tuning import winner
from tuning.outcome import conclude
from tuning.samplers import LOWEST, Sampler, Suggest, build_sampler
from tuning.schedulers import Earlier, build_scheduler, replay
from tuning.space import Space, label
from tuning.sweep import DIVERGED, FAILED, FINISHED, SWEEP_FILE, Sweep, Watch, ended, new_folder, read, trial_recipe
from tuning.trial import run_trial

_MAY_CHANGE = (*(name for name in runs.MAY_CHANGE if name != "tune"), "tune.num_trials", "tune.max_concurrent")
_MAY_CHANGE += ("tune.gpus_per_trial", "tune.max_failures")
_ENDS = {FINISHED: "FINISHED", FAILED: "FAILED", DIVERGED: "FAILED"}
_HELD_OUT = (
    "trials are compared on held-out samples of the source, --set data.source_val=SHARDS: its val split, ingested with "
    "--split val; where it has none, ingest gtav RAW shards/gtav-val --limit 500, and to train on, ingest gtav RAW "
    "shards/gtav-train --without 500; or on the target domains, data.val, by --set tune.objective=target, which are "
    "then no test of generalisation any more"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `tune`."""
    parser.add_argument(
        "recipe", nargs="?", help="a recipe file, or the name of one in pipelines/recipes; with --resume: the sweep's"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--resume",
        metavar="SWEEP_DIR",
        help="go on with a killed sweep, and try again what failed; of a finished one, do what else is asked for",
    )
    which.add_argument(
        "--name", help="of the sweep's folder in tracking.storage: the same command again goes on with that sweep"
    )
    winner.add_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: returns the best trial's settings, score and checkpoint, every trial, and what became of the best.

    Raises:
        ValueError: bad input, another process at the same sweep, or no trial came to a validation.
    """
    recipe, folder = _asked_for(args)
    winner.check(args, recipe)
    check(recipe)
    place = absolute(folder) if folder else new_folder(recipe, args.name)
    with runs.alone(place):
        sweep = Sweep.open(place, recipe) if folder else Sweep.create(recipe, place)
        say(f"sweep {sweep.folder}  (MLflow run {sweep.mlflow_run_id})")
        if folder:
            tracking.reopen_run(sweep.mlflow_run_id)
            sweep.go_on()
        return _run(args, sweep)


def _run(args: argparse.Namespace, sweep: Sweep) -> dict[str, Any]:
    try:
        with refusals.asking():
            search(sweep)
            found = conclude(sweep)
            found |= winner.use(args, sweep, found["best"])
    except BaseException:
        _end(sweep, "FAILED")
        raise
    _end(sweep, "FINISHED")
    return found


def _end(sweep: Sweep, status: str) -> None:
    """Of the sweep's MLflow run, in its own store: the best may have been retrained with another one."""
    with suppress(ValueError, OSError):  # a store that is away is the configured one too, and ending it warns
        tracking.configure(**tracking.place(sweep.recipe))
    tracking.end_run(sweep.mlflow_run_id, status)


def _asked_for(args: argparse.Namespace) -> tuple[Recipe, str | None]:
    """The recipe, and the folder of the sweep that goes on with it, if there is one."""
    if not args.recipe and not args.resume:
        raise ValueError("tune: name a recipe, or with --resume a sweep's folder")
    recipe = load_recipe(args.recipe, args.set) if args.recipe else None
    folder = args.resume
    if args.name:
        named = runs.named_folder(args.name, recipe)
        folder = named if storage.size(named, SWEEP_FILE) is not None else None
    if not folder:
        return recipe, None
    before = parse_recipe(read(folder)["recipe"])
    recipe = recipe or change_recipe(before, args.set)
    changed = runs.changed_settings(before, recipe, _MAY_CHANGE)
    if changed:
        raise ValueError(f"--resume {folder}: the sweep began with other values of {', '.join(changed)}: set them back")
    return recipe, folder


def check(recipe: Recipe) -> None:
    """What a sweep needs, found before anything is started. Raises ValueError with what is missing."""
    settings, data = recipe.tune, recipe.data
    if settings.objective == "source" and not data.source_val:
        raise ValueError(f"recipe: data.source_val is empty: {_HELD_OUT}")
    if settings.objective == "target" and not data.val:
        raise ValueError("recipe: data.val is empty: tune.objective=target compares trials there: give it shards")
    if settings.scheduler and not recipe.train.validate_every:
        raise ValueError(
            "recipe: early stopping needs train.validate_every: --set train.validate_every=50, or tune.scheduler=None"
        )
    if settings.gpus_per_trial and recipe.train.num_workers > 1:
        raise ValueError("recipe: tune.gpus_per_trial: several workers need a GPU each: leave it, or one worker")
    first = Space(recipe).random(1, recipe.seed)[0]
    check_inputs(trial_recipe(recipe, first))


def search(sweep: Sweep) -> None:
    """Runs the trials that are left, and ends the MLflow runs of those that were stopped.

    Raises:
        KeyboardInterrupt: it was interrupted, and can be resumed.
        ValueError: Tune failed, or the sweep's folder can't be written to.
    """
    known = [record.draw for record in sweep.records.values()]
    sampler = build_sampler(sweep.recipe, known)
    total = len(known) + sampler.remaining()
    left = total - len(ended(sweep.records.values()))
    if left > 0:
        started = time.time()
        watch = Watch(sweep, total)
        _fit(_tuner(sweep, sampler, watch, left), watch)
        say(f"{left} trials in {duration(time.time() - started)}")
    _end_runs(sweep)
    if sweep.open_records():
        say(f"interrupted: go on with --resume {sweep.folder}")
        raise KeyboardInterrupt


def _fit(tuner: tune.Tuner, watch: Watch) -> None:
    """Raises ValueError if Tune itself fails, or what it found can't be written."""
    try:
        tuner.fit()
    except (TuneError, RayError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"tune: Ray Tune failed ({reason}): go on with --resume {watch.sweep.folder}") from error
    finally:
        watch.finish()


def _tuner(sweep: Sweep, sampler: Sampler, watch: Watch, left: int) -> tune.Tuner:
    recipe = sweep.recipe
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # MLflow has it all
    connect()
    concurrent = _concurrent(recipe, left, live_nodes())
    say(f"{left} trials to run, {concurrent} at a time")
    scheduler = build_scheduler(trial_recipe(recipe, {}), sweep.metric)
    _tell_what_was(sweep, sampler, scheduler)
    files, path = storage.filesystem(sweep.folder)
    return tune.Tuner(
        tune.with_resources(partial(run_trial, plan=_plan(sweep, concurrent)), {"node:__internal_head__": 0.001}),
        tune_config=tune.TuneConfig(
            search_alg=Suggest(sampler, [record.draw for record in sweep.open_records()], sweep.metric),
            num_samples=left,
            max_concurrent_trials=concurrent,
            scheduler=scheduler,
            reuse_actors=not recipe.tune.scheduler,  # the process of a trial that was stopped would train on
        ),
        run_config=tune.RunConfig(
            name=f"ray-{time.time():.0f}",  # Tune's own; what a sweep goes on from are its records
            storage_path=path,
            storage_filesystem=files,
            failure_config=tune.FailureConfig(max_failures=recipe.tune.max_failures),
            callbacks=[watch],
            verbose=0,
        ),
    )


def _tell_what_was(sweep: Sweep, sampler: Sampler, scheduler: TrialScheduler) -> None:
    """Before a resume."""
    for record in ended(sweep.records.values()):
        replay(scheduler, Earlier(record.run), record.history)
        scores = [result[sweep.metric] for result in record.history if sweep.metric in result]
        sampler.tell(record.draw, LOWEST if record.status == DIVERGED else max(scores, default=None))


def _plan(sweep: Sweep, concurrent: int) -> dict[str, Any]:
    """What trials need to know, see `run_trial`."""
    return {
        "recipe": sweep.recipe.model_dump(mode="json"),
        "name": sweep.name,
        "mlflow_run_id": sweep.mlflow_run_id,
        "store": tracking.named_store(sweep.recipe.tracking.offline),
        "concurrent": concurrent,
        "gpus_per_worker": sweep.recipe.tune.gpus_per_trial or 1.0,
        "histories": {label(record.draw): record.history for record in sweep.open_records()},
    }


def _concurrent(recipe: Recipe, left: int, nodes: list[dict[str, float]]) -> int:
    """Trials at a time.

    Args:
        left: trials to run.
        nodes: what each node of the cluster has.

    Raises:
        ValueError: they don't fit, or nobody knows how many will.
    """
    gpus_per_worker = recipe.tune.gpus_per_trial or 1.0
    if recipe.train.use_gpu and not recipe.tune.max_concurrent and not any(node.get("GPU") for node in nodes):
        raise ValueError(
            "train.use_gpu=True waits for nodes: say how many trials run at a time, --set tune.max_concurrent=4 or so"
        )
    fit = resources.runs_that_fit(recipe, nodes, gpus_per_worker)
    concurrent = min(recipe.tune.max_concurrent or fit, left)
    resources.share(recipe, nodes, 1, gpus_per_worker)
    try:
        resources.share(recipe, nodes, concurrent, gpus_per_worker)
    except ValueError as error:  # which names a setting of one run
        reason = str(error).partition(": ")[2]
        raise ValueError(f"tune.max_concurrent: {concurrent} trials at a time: {reason}") from error
    return concurrent


def _end_runs(sweep: Sweep) -> None:
    """Trials that were stopped leave their MLflow runs open, as their processes were killed, or failed, if in time."""
    ends = {sweep.mlflow_run_of(each): _ENDS.get(each.status, "KILLED") for each in sweep.records.values()}
    with refusals.tolerated(f"runs of its trials may be open there: --resume {sweep.folder} ends them"):
        with refusals.at_once():
            found = tracking.unfinished_children(sweep.mlflow_run_id)
        for run_id, status in ends.items():
            if found.get(run_id, status) != status:
                tracking.end_run(run_id, status)
