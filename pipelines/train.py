"""`train`: a recipe → a Ray Train run, tracked in MLflow, that can be killed and resumed."""

import argparse
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayActorError
from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError
from torch import nn

from datasets import overlap
from datasets.sample import Damaged, one_line
from datasets.shards import Shards
from datasets.stream import warm_up
from pipelines import checkout, models, preemption, refusals, resources, tracking
from pipelines.cluster import connect, known_to_helpers, live_nodes, wait_for_cpus
from pipelines.feed import check_feed
from pipelines.mistakes import Diverged, Mistake, StopAtMistakes
from pipelines.optimizer import build_optimizer
from pipelines.recipe import load_recipe
from pipelines.register import log_model
from pipelines.runs import Run, alone, best_provenance, last_checkpoint
from pipelines.settings import Recipe
from pipelines.terminal import duration, say
from pipelines.validation import check_samples
from pipelines.worker import PHASES, build_for_training, train_worker
from rein_core import predict_labels

_GREY = (512, 512)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `train`."""
    parser.add_argument("recipe", help="a recipe file, or the name of one in pipelines/recipes")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--resume", metavar="RUN_DIR", help="go on with a killed run from its last checkpoint")
    which.add_argument(
        "--name", help="of the run's folder in tracking.storage: the same command again goes on with that run"
    )
    parser.add_argument(
        "--offline", action="store_true", help="whatever MLFLOW_TRACKING_URI says, log into a file in tracking.storage"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: returns where the run, its checkpoint and its MLflow run are, and the last validation's metrics."""
    recipe = load_recipe(args.recipe, args.set + ["tracking.offline=True"] * args.offline)
    run = Run.reopen(args.resume, recipe) if args.resume else Run.find(args.name, recipe) if args.name else None
    return train(recipe, run, args.name)


def train(
    recipe: Recipe,
    run: Run | None = None,
    name: str | None = None,
    parent_run_id: str | None = None,
    callbacks: list[UserCallback] | None = None,
    concurrent: int = 1,
    gpus_per_worker: float = 1.0,
    log_last: bool = True,
    worker: Callable[[dict[str, Any]], object] = train_worker,
) -> dict[str, Any]:
    """Trains, and leaves checkpoints in the run's folder and everything else in MLflow.

    Args:
        run: the run to go on with; None starts a new one.
        name: of a new run's folder; None: the recipe's, with the time.
        parent_run_id: MLflow run that a new run is nested in.
        callbacks: Ray Train callbacks, such as Tune's.
        concurrent: runs that share the cluster.
        gpus_per_worker: below 1, workers of several runs share a GPU.
        log_last: whether the last checkpoint becomes the MLflow run's model; it lies in the run's folder anyway.
        worker: what each training worker runs: `train_worker`, or a loop derived from its `Loop`.

    Raises:
        ValueError: bad input, found before anything is started; or the reason why training failed, as a Mistake where
            it would fail again.
    """
    tracking.configure(**tracking.place(recipe))
    provenance = check_inputs(recipe, is_new=run is None and parent_run_id is None)
    connect()
    warm_up()
    share = resources.share(recipe, live_nodes(), concurrent, gpus_per_worker)
    if concurrent == 1 and not share.use_gpu:
        wait_for_cpus(share.least_cpus(recipe.train.min_workers or recipe.train.num_workers))
    run = run or Run.create(recipe, parent_run_id, name)
    say(f"run {run.folder}  (MLflow run {run.mlflow_run_id})")
    started = time.time()
    config = {
        "recipe": recipe.model_dump(mode="json"),
        "tracking": tracking.worker_arguments(recipe, run.mlflow_run_id),
        "provenance": provenance | {"mlflow_run_id": run.mlflow_run_id},
        "threads": share.threads,
        "data_cpus": share.data_cpus,
        "run_dir": run.folder,
    }
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # a run's start and end wait for several of them
    with alone(run.folder):
        run.go_on()
        with preemption.ends_unfinished(run.mlflow_run_id):
            trainer = TorchTrainer(
                worker,
                train_loop_config=config,
                scaling_config=_scaling(recipe, share),
                run_config=_run_config(run, callbacks or []),
            )
            result = _fit(trainer, run)
            return _report(run, result, time.time() - started, log_last)


def _scaling(recipe: Recipe, share: resources.Resources) -> ScalingConfig:
    return ScalingConfig(
        num_workers=_num_workers(recipe),
        elastic_resize_monitor_interval_s=recipe.train.regrow_seconds,
        use_gpu=share.use_gpu,
        resources_per_worker=share.worker,
        placement_strategy="PACK" if share.use_gpu else "SPREAD",  # CPU workers want a node's memory each
    )


def _run_config(run: Run, callbacks: list[UserCallback]) -> RunConfig:
    return RunConfig(
        **run.storage_arguments(),
        failure_config=FailureConfig(max_failures=run.recipe.train.max_failures),
        checkpoint_config=CheckpointConfig(
            num_to_keep=run.recipe.train.keep_checkpoints,
            checkpoint_score_attribute="done",  # those from before a validation go first, then the oldest
        ),
        callbacks=[*callbacks, StopAtMistakes()],
        logging_config=LoggingConfig(log_level="WARNING"),
    )


def _num_workers(recipe: Recipe) -> int | tuple[int, int]:
    most, least = recipe.train.num_workers, recipe.train.min_workers
    return (least, most) if least else most


def check_inputs(recipe: Recipe, is_new: bool = True) -> dict[str, Any]:
    """Opens the shards, builds the model, predicts once and reads what is validated on, so that bad input fails here
    and not on a cluster.

    Args:
        is_new: whether nobody has read what is validated on: a run that goes on has, and a sweep has for its trials.

    Returns:
        What a checkpoint says of its origin: commit, seed, the shards' digests; and how many parameters are trained.
    """
    trained_on = check_feed(recipe)
    unseen, held_out = ([Shards(uri) for uri in uris] for uris in (recipe.data.val, recipe.data.source_val))
    _tell_of_shared(held_out, trained_on)
    segmentor = build_for_training(recipe)
    build_optimizer(segmentor, recipe.optimizer, recipe.train.steps)
    trained = sum(p.numel() for p in segmentor.parameters() if p.requires_grad)
    total = sum(p.numel() for p in segmentor.parameters())
    say(f"{trained / 1e6:.2f} M of {total / 1e6:.2f} M parameters are trained")
    check_window(segmentor, recipe)
    if is_new:
        check_samples(recipe, "data.val", unseen)
        check_samples(recipe, "data.source_val", held_out)
    digests = {each.uri: each.manifest.digest for each in trained_on + unseen + held_out}
    origin = {"commit": checkout.commit(), "seed": recipe.seed, "shards": digests}
    return origin | {"trained_parameters": trained}


def _tell_of_shared(held_out: list[Shards], trained_on: list[Shards]) -> None:
    for chosen_on, source in product(held_out, trained_on):
        count = 0
        with suppress(Damaged):  # only advice: what reads the samples decides whether they are skipped
            count = overlap.shared(chosen_on, source)
        if count:
            say(
                f"warning: data.source_val: {count} of {len(chosen_on)} samples in {chosen_on.uri} are trained on, in "
                f"{source.uri}: no fair choice; ingest --limit N holds N samples out, and --without N takes the others"
            )


def check_window(segmentor: nn.Module, recipe: Recipe) -> None:
    """Predicts one grey image, of a window's size where the model is tested by windows, as validation will.

    Raises:
        ValueError: the model takes no image of this size, or has no `test_cfg`.
    """
    test_cfg, augment = segmentor.test_cfg, recipe.data.augment
    if not test_cfg or "mode" not in test_cfg:
        raise ValueError("model.test_cfg: none, so nobody could test the model: set model.test_cfg={'mode': 'whole'}")
    size = test_cfg["crop_size"] if test_cfg["mode"] == "slide" else augment.crop_size if augment else _GREY
    try:
        predict_labels(segmentor.eval(), np.full((*size, 3), 128, np.uint8))
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        divisor = getattr(segmentor.data_preprocessor, "size_divisor", None)
        raise ValueError(
            f"model.test_cfg={dict(test_cfg)}: the model can't predict an image of {size[0]}×{size[1]} "
            f"({one_line(error)}): choose sides that it takes" + (f", multiples of {divisor}" if divisor else "")
        ) from error


def _fit(trainer: TorchTrainer, run: Run) -> ray.train.Result:
    try:
        end = partial(tracking.end_run, run.mlflow_run_id, "KILLED")
        with preemption.on_sigterm(run.folder, run.recipe.train.steps, end), known_to_helpers():
            result = trainer.fit()
    except TrainingFailedError as error:
        reasons = getattr(error, "worker_failures", None) or {0: error}
        reason = str(next(iter(reasons.values()))).strip().splitlines()[-1]
        raise _kind_of(error)(f"training failed: {reason} (go on with --resume {run.folder})") from error
    except RayActorError as error:
        raise ValueError(
            f"training failed: Ray Train's controller is lost ({str(error).strip().splitlines()[0]}): go on with "
            f"--resume {run.folder}"
        ) from error
    return result


def _kind_of(error: Exception) -> type[ValueError]:
    """What a failure is to the user, after `StopAtMistakes`; Train wraps an error of its own kind again."""
    while isinstance(error, ControllerError):
        error = error.controller_failure
    if isinstance(error, Diverged):
        return Diverged
    return Mistake if isinstance(error, ValueError) else ValueError


def _report(run: Run, result: ray.train.Result, seconds: float, log_last: bool) -> dict[str, Any]:
    metrics = dict(result.metrics or {})
    metrics.pop("done", None)
    phases = metrics.pop("seconds", {})
    total = sum(phases.values()) or 1.0
    say(
        "where the time went: "
        + ", ".join(f"{p} {phases[p]:.1f} s ({phases[p] / total:.0%})" for p in PHASES if p in phases)
    )
    checkpoint = last_checkpoint(run.folder, run.recipe.tracking.patience_seconds)
    best = _best(run)
    model = _log_model(run, models.resolve(checkpoint)) if log_last else None
    tracking.end_run(run.mlflow_run_id, "FINISHED")
    say(f"done in {duration(seconds)}: {checkpoint}")
    return {
        "run_dir": run.folder,
        "checkpoint": checkpoint,
        "mlflow_run_id": run.mlflow_run_id,
        "model": model,
        "best": best,
        "metrics": metrics,
        "phases": phases,
        "seconds": round(seconds, 1),
    }


def _best(run: Run) -> dict[str, Any] | None:
    """Of the run's best checkpoint: the step, what chose it and its score; None if none was to be kept."""
    provenance = best_provenance(run.folder, run.recipe.tracking.patience_seconds)
    return provenance and {name: provenance.get(name) for name in ("step", "chosen_on", "mIoU")}


def _log_model(run: Run, checkpoint: Path) -> str | None:
    """The URI of the MLflow run's model; None where MLflow is away, as all of it is in the run's folder too."""
    with refusals.tolerated(f"the MLflow run has no model yet: the same command with --resume {run.folder} logs it"):
        with refusals.at_once():
            tracking.find_run(run.mlflow_run_id)
        return log_model(run.mlflow_run_id, checkpoint)
    return None
