"""A run's folder, on a disk or in an object store: Ray's checkpoints and snapshots, `run.json`, and the best so far."""

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
from ray.train import Result

from datasets import storage
from pipelines import tracking
from pipelines.lock import locked
from pipelines.patience import Patient
from pipelines.recipe import known_keys, parse_recipe
from pipelines.settings import Recipe, absolute
from rein_core.checkpoint import RECIPE, WEIGHTS, read_checkpoint

RUN_FILE = "run.json"
BEST = "best"
UNSCORED = "_unscored"
"""Ends the name of a checkpoint from before its step's validation, which comes first where a run goes on from it."""
_LOCK = "train.lock"
MAY_CHANGE = ("train.num_workers", "train.min_workers", "train.regrow_seconds", "train.use_gpu", "train.log_every")
MAY_CHANGE += ("train.max_failures", "train.checkpoint_every", "train.keep_checkpoints", "train.pictures")
MAY_CHANGE += ("data.cpus_per_worker", "data.skip_damaged", "tracking", "tune")
"""Beginnings of the settings that a run which goes on may have other values of."""


@dataclass
class Run:
    """A run that is about to begin or to go on.

    Args:
        folder: its absolute path, or its URI.
        mlflow_run_id: where its numbers go.
        is_new: whether it is about to begin.
    """

    folder: str
    recipe: Recipe
    mlflow_run_id: str
    is_new: bool = True

    @property
    def name(self) -> str:
        """The last part of the folder's path."""
        return storage.filesystem(self.folder)[1].rsplit("/", 1)[-1]

    @classmethod
    def create(cls, recipe: Recipe, parent_run_id: str | None = None, name: str | None = None) -> "Run":
        """A new folder `STORAGE/NAME` and a new MLflow run. Without a name it is the recipe's, with the time.

        Raises:
            ValueError: the folder is another run's, or is becoming one.
        """
        name = name or f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        folder = storage.join(recipe.tracking.storage, name)
        files, path = storage.filesystem(folder)
        made_here = files.get_file_info(path).type == pafs.FileType.NotFound
        files.create_dir(path)
        with alone(folder):
            if storage.size(folder, RUN_FILE) is not None:
                raise ValueError(f"{folder} is another run's: the same --name goes on with it, if no one else is at it")
            with _unmade_by_errors(folder) if made_here else nullcontext():
                run_id = tracking.create_run(name, recipe, parent_run_id)
            storage.write_json(folder, RUN_FILE, {"recipe": recipe.model_dump(mode="json"), "mlflow_run_id": run_id})
        return cls(folder, recipe, run_id)

    @classmethod
    def find(cls, name: str, recipe: Recipe) -> "Run | None":
        """The run of this name in the recipe's storage, if it is there.

        Raises:
            ValueError: the name is no name of a folder, or as `reopen`.
        """
        folder = named_folder(name, recipe)
        return cls.reopen(folder, recipe) if storage.size(folder, RUN_FILE) is not None else None

    @classmethod
    def reopen(cls, folder: str, recipe: Recipe) -> "Run":
        """A killed run. Raises ValueError if `folder` is no run or was trained with another recipe."""
        folder = absolute(folder)  # workers run in other folders
        values = storage.read_json(folder, RUN_FILE)
        if values is None:
            raise ValueError(f"--resume {folder}: no {RUN_FILE} in it: give the folder that train named as its run")
        before = parse_recipe(values["recipe"])
        changed = changed_settings(before, recipe, MAY_CHANGE)
        if changed:
            raise ValueError(
                f"--resume {folder}: the run was started with other values of {', '.join(changed)}: set them back"
            )
        tracking.check_run(values["mlflow_run_id"], recipe, folder)
        return cls(folder, recipe, values["mlflow_run_id"], is_new=False)

    def go_on(self) -> None:
        """Marks its MLflow run as running again, if it was begun before. Only in `alone`."""
        if not self.is_new:
            tracking.reopen_run(self.mlflow_run_id)

    def storage_arguments(self) -> dict[str, Any]:
        """Where Ray Train writes, as arguments of its `RunConfig`."""
        patient, path = _patient(self.folder, self.recipe.tracking.patience_seconds)
        return {"name": self.name, "storage_path": path.rsplit("/", 1)[0], "storage_filesystem": patient}


def alone(folder: str) -> AbstractContextManager[None]:
    """While this lasts no other process works on the run or sweep in this folder, as far as `locked` can see to that.

    Raises:
        ValueError: another process does.
    """
    refusal = "is being worked on by another process: wait for its end or stop it, or give another --name"
    return locked(folder, _LOCK, refusal)


@contextmanager
def _unmade_by_errors(folder: str) -> Iterator[None]:
    """Inside of this an error removes a local folder in which nothing is but the lock; only in `alone`."""
    try:
        yield
    except Exception:
        if "://" not in folder:
            Path(folder, _LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # it has more in it
                Path(folder).rmdir()
        raise


def check_seen(folder: str) -> None:
    """For workers. Raises ValueError if the run in this folder is not seen from here."""
    if storage.size(folder, RUN_FILE) is None:
        raise ValueError(
            f"tracking.storage: {folder} has no {RUN_FILE} on this worker's node: name a folder that all nodes see, "
            "or an object store's s3://…"
        )


def step_name(step: int) -> str:
    """The name of a checkpoint's folder in that of its run."""
    return f"step_{step:06d}"


def last_checkpoint(folder: str, patience_seconds: float | None = None) -> str | None:
    """The last committed checkpoint of the run in this folder, which is its path or URI; None if there is none.

    Args:
        patience_seconds: how long a store that is away is waited for; None: not at all.
    """
    result = _result(folder, patience_seconds)
    return result and result.checkpoint and storage.join(folder, result.checkpoint.path.rsplit("/", 1)[-1])


def reports(folder: str) -> list[dict[str, Any]]:
    """What was reported with each of the checkpoints that are kept, by steps."""
    result = _result(folder)
    kept = (result and result.best_checkpoints) or []
    return sorted((metrics for _, metrics in kept), key=lambda metrics: metrics["step"])


def _result(folder: str, patience_seconds: float | None = None) -> Result | None:
    files, path = storage.filesystem(folder) if patience_seconds is None else _patient(folder, patience_seconds)
    try:
        return Result.from_path(path, storage_filesystem=files)
    except RuntimeError:
        return None


def best_provenance(folder: str, patience_seconds: float) -> dict[str, Any] | None:
    """What the best checkpoint of the run in this folder says of itself, such as its step and score; None if there is
    none, or its score is no number."""
    files, path = _patient(storage.join(folder, BEST), patience_seconds)
    if files.get_file_info(f"{path}/{RECIPE}").type == pafs.FileType.NotFound:
        return None
    with files.open_input_stream(f"{path}/{RECIPE}") as stream:
        provenance = json.loads(stream.read())["provenance"]
    return provenance if math.isfinite(provenance["mIoU"]) else None


def best_score(folder: str, patience_seconds: float) -> float:
    """mIoU in percent of the best checkpoint of the run in this folder; -1 if there is none, or it is no number."""
    best = best_provenance(folder, patience_seconds)
    return best["mIoU"] if best else -1.0


def keep_best(folder: str, checkpoint: Path, patience_seconds: float) -> bool:
    """Puts a local checkpoint in place of the best one if its provenance has a better `mIoU`. Returns whether it did.

    The old one stays until the new weights are there. A run that is killed while names change has no best one, and
    finds it again when it goes on from the checkpoint before.
    """
    _, provenance = read_checkpoint(checkpoint)
    if "mIoU" not in provenance or not provenance["mIoU"] > best_score(folder, patience_seconds):
        return False
    files, path = _patient(storage.join(folder, BEST), patience_seconds)
    files.create_dir(path)
    incoming = f"{path}/incoming-{WEIGHTS}"
    pafs.copy_files(str(checkpoint / WEIGHTS), incoming, destination_filesystem=files, use_threads=False)
    with suppress(FileNotFoundError):
        files.delete_file(f"{path}/{RECIPE}")
    files.move(incoming, f"{path}/{WEIGHTS}")
    pafs.copy_files(str(checkpoint / RECIPE), f"{path}/{RECIPE}", destination_filesystem=files, use_threads=False)
    return True


def _patient(folder: str, seconds: float) -> tuple[pafs.FileSystem, str]:
    files, path = storage.filesystem(folder)
    return pafs.PyFileSystem(Patient(files, seconds)), path


def named_folder(name: str, recipe: Recipe) -> str:
    """The folder of a `--name` in the recipe's storage. Raises ValueError if it is no name of a folder."""
    if "/" in name or name in ("", ".", ".."):
        raise ValueError(f"--name {name!r}: give a folder's name, without slashes")
    return storage.join(recipe.tracking.storage, name)


def changed_settings(before: Recipe, after: Recipe, may_change: tuple[str, ...]) -> list[str]:
    """Settings that differ, without those whose names begin with one of `may_change`."""
    changed = [key for key in known_keys() if _setting(before, key) != _setting(after, key)]
    return [key for key in changed if not key.startswith(may_change) and not _has_parts(after, key)]


def _setting(recipe: Recipe, key: str) -> Any:
    value: Any = recipe.model_dump(mode="json")
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _has_parts(recipe: Recipe, key: str) -> bool:
    """A model of mmseg's own has none: our keys are few of its settings, so it is compared whole."""
    value = _setting(recipe, key)
    if not isinstance(value, dict) or (key == "model" and "type" in value):
        return False
    return any(other.startswith(f"{key}.") for other in known_keys())
