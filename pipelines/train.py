"""`train`: a recipe → a Ray Train run, tracked in MLflow, that can be killed and resumed."""

import argparse
import json
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from datasets.shards import Shards
from pipelines import preemption, resources, tracking
from pipelines.cluster import connect
from pipelines.feed import check_feed
from pipelines.recipe import known_keys, load_recipe, parse_recipe
from pipelines.register import log_model
from pipelines.settings import Recipe
from pipelines.terminal import duration, say
from pipelines.worker import PHASES, build_for_training, train_worker

RUN_FILE = "run.json"
_MAY_CHANGE = (
    "train.num_workers",
    "train.log_every",
    "train.max_failures",
    "data.cpus_per_worker",
    "data.skip_damaged",
    "tracking",
    "tune",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `train`."""
    parser.add_argument("recipe", help="a recipe file, or the name of one in pipelines/recipes")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe"
    )
    parser.add_argument("--resume", metavar="RUN_DIR", help="go on with a killed run from its last checkpoint")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: returns where the run, its checkpoint and its MLflow run are, and the last validation's metrics."""
    recipe = load_recipe(args.recipe, args.set)
    return train(recipe, Run.reopen(args.resume, recipe) if args.resume else None)


@dataclass
class Run:
    """A run's folder: Ray's checkpoints and snapshots, and `run.json` with the recipe and the MLflow run."""

    folder: Path
    recipe: Recipe
    mlflow_run_id: str

    @classmethod
    def create(cls, recipe: Recipe, parent_run_id: str | None = None) -> "Run":
        """A new folder `STORAGE/runs/NAME-TIME` and a new MLflow run."""
        storage = Path(recipe.tracking.storage).resolve()
        folder = storage / f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        run_id = tracking.create_run(folder.name, recipe, parent_run_id)
        folder.mkdir(parents=True)
        run = cls(folder, recipe, run_id)
        values = {"recipe": recipe.model_dump(mode="json"), "mlflow_run_id": run_id}
        partial = folder / f"{RUN_FILE}.partial"
        partial.write_text(json.dumps(values, indent=2))
        partial.replace(folder / RUN_FILE)
        return run

    @classmethod
    def reopen(cls, folder: str, recipe: Recipe) -> "Run":
        """A killed run. Raises ValueError if `folder` is no run or was trained with another recipe."""
        path = Path(folder).resolve()
        if not (path / RUN_FILE).is_file():
            raise ValueError(f"--resume {folder}: no {RUN_FILE} in it: give the folder that train named as its run")
        values = json.loads((path / RUN_FILE).read_text())
        before = parse_recipe(values["recipe"])
        changed = [key for key in known_keys() if _setting(before, key) != _setting(recipe, key)]
        changed = [key for key in changed if not key.startswith(_MAY_CHANGE) and not _has_parts(recipe, key)]
        if changed:
            raise ValueError(
                f"--resume {folder}: the run was started with other values of {', '.join(changed)}: set them back"
            )
        tracking.configure(recipe.tracking.storage, recipe.tracking.experiment)
        if not tracking.find_run(values["mlflow_run_id"]):
            raise ValueError(f"--resume {folder}: its MLflow run is not in the store: set tracking.storage as it was")
        return cls(path, recipe, values["mlflow_run_id"])


def _setting(recipe: Recipe, key: str) -> Any:
    value: Any = recipe.model_dump(mode="json")
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _has_parts(recipe: Recipe, key: str) -> bool:
    return any(other.startswith(f"{key}.") for other in known_keys()) and isinstance(_setting(recipe, key), dict)


def train(
    recipe: Recipe,
    run: Run | None = None,
    parent_run_id: str | None = None,
    callbacks: list[UserCallback] | None = None,
    concurrent: int = 1,
) -> dict[str, Any]:
    """Trains, and leaves checkpoints in the run's folder and everything else in MLflow.

    Args:
        run: the run to go on with; None starts a new one.
        parent_run_id: MLflow run that a new run is nested in.
        callbacks: Ray Train callbacks, such as Tune's.
        concurrent: runs that share the cluster.

    Raises:
        ValueError: bad input, found before anything is started; or the reason why training failed.
    """
    provenance = check_inputs(recipe)
    connect()
    share = resources.share(recipe, ray.cluster_resources(), concurrent)
    run = run or Run.create(recipe, parent_run_id)
    say(f"run {run.folder}  (MLflow run {run.mlflow_run_id})")
    started = time.time()
    config = {
        "recipe": recipe.model_dump(mode="json"),
        "tracking": tracking.worker_arguments(recipe, run.mlflow_run_id),
        "provenance": provenance | {"mlflow_run_id": run.mlflow_run_id},
        "threads": share.threads,
        "data_cpus": share.data_cpus,
        "run_dir": str(run.folder),
    }
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=recipe.train.num_workers,
            use_gpu=share.use_gpu,
            resources_per_worker=share.worker,
            placement_strategy="PACK" if share.use_gpu else "SPREAD",  # CPU workers want a node's memory each
        ),
        run_config=RunConfig(
            name=run.folder.name,
            storage_path=str(run.folder.parent),
            failure_config=FailureConfig(max_failures=recipe.train.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=recipe.train.keep_checkpoints),
            callbacks=callbacks,
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    result = _fit(trainer, run)
    return _report(run, result, time.time() - started)


def check_inputs(recipe: Recipe) -> dict[str, Any]:
    """Opens the shards and builds the model once, so that bad input fails here and not on a cluster.

    Returns:
        What a checkpoint says of its origin: commit, seed and the shards' digests.
    """
    shards = check_feed(recipe) + [Shards(uri) for uri in recipe.data.val + recipe.data.source_val]
    segmentor = build_for_training(recipe)
    trained = sum(p.numel() for p in segmentor.parameters() if p.requires_grad)
    total = sum(p.numel() for p in segmentor.parameters())
    say(f"{trained / 1e6:.2f} M of {total / 1e6:.2f} M parameters are trained")
    digests = {each.uri: each.manifest.digest for each in shards}
    return {"commit": tracking.commit(), "seed": recipe.seed, "shards": digests}


def _fit(trainer: TorchTrainer, run: Run) -> ray.train.Result:
    try:
        with preemption.on_sigterm(run.folder, end=partial(tracking.end_run, run.mlflow_run_id, "KILLED")):
            result = trainer.fit()
    except TrainingFailedError as error:
        tracking.end_run(run.mlflow_run_id, "FAILED")
        reasons = getattr(error, "worker_failures", None) or {0: error}
        reason = str(next(iter(reasons.values()))).strip().splitlines()[-1]
        raise ValueError(f"training failed: {reason} (go on with --resume {run.folder})") from error
    return result


def _report(run: Run, result: ray.train.Result, seconds: float) -> dict[str, Any]:
    metrics = dict(result.metrics or {})
    phases = metrics.pop("seconds", {})
    total = sum(phases.values()) or 1.0
    say(
        "where the time went: "
        + ", ".join(f"{p} {phases[p]:.1f} s ({phases[p] / total:.0%})" for p in PHASES if p in phases)
    )
    checkpoint = result.checkpoint.path
    model = log_model(run.mlflow_run_id, checkpoint)
    tracking.end_run(run.mlflow_run_id, "FINISHED")
    say(f"done in {duration(seconds)}: {checkpoint}")
    return {
        "run_dir": str(run.folder),
        "checkpoint": checkpoint,
        "mlflow_run_id": run.mlflow_run_id,
        "model": model,
        "metrics": metrics,
        "phases": phases,
        "seconds": round(seconds, 1),
    }
