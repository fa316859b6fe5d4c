"""MODEL on the command line → a checkpoint folder: a folder, a run, `runs:/…` or `models:/…`."""

import atexit
import shutil
import tempfile
from pathlib import Path

import mlflow
import pyarrow.fs as pafs
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.exceptions import MlflowException
from torch import nn

from datasets import storage
from pipelines import refusals
from pipelines.settings import absolute
from rein_core.checkpoint import RECIPE, VFM, WEIGHTS, load_checkpoint

CHECKPOINT = "checkpoint"
"""The artifact of a logged model that is our checkpoint folder."""


def resolve(model: str) -> Path:
    """A local checkpoint folder.

    Args:
        model: a checkpoint folder or its URI, from where it is downloaded; a run's folder, for its last committed
            checkpoint; `runs:/ID/model`; `models:/NAME@ALIAS` or `models:/NAME/VERSION`. MLflow must be configured for
            the last two.

    Raises:
        ValueError: there is no such model; the line says what there is.
    """
    pinned = pin(model)
    return _from_mlflow(pinned) if pinned.startswith(("runs:/", "models:/")) else _local(pinned)


def pin(model: str) -> str:
    """A name of the same checkpoint for others to resolve, later and on other machines: a run trains on, and an alias
    moves. An absolute path, a URI, `models:/NAME/VERSION`, or `models:/ID` of a run's model.

    Args:
        model: as in `resolve`.

    Raises:
        ValueError: there is no such model; the line says what there is.
    """
    if model.startswith("models:/") and "@" in model:
        return _version(*model.removeprefix("models:/").split("@", 1))
    if model.startswith("runs:/"):
        return _whole(*model.removeprefix("runs:/").partition("/")[::2]) or model
    if model.startswith("models:/"):
        return model
    if storage.size(model, RECIPE) is not None:
        return absolute(model)
    if storage.size(model, "run.json") is not None:
        return _last_checkpoint(model)
    raise ValueError(
        f"model {model}: neither a checkpoint folder (with {RECIPE}) nor a run (with run.json), runs:/ or models:/"
    )


def load(model: str, vfm_weights: str | None = None) -> tuple[nn.Module, dict, dict]:
    """The segmentor in eval mode, on the GPU if there is one, its recipe and its provenance.

    Args:
        model: as in `resolve`.
        vfm_weights: the VFM's weight file, where it lies elsewhere than it did in training.

    Raises:
        ValueError, FileNotFoundError: as `resolve` and `load_checkpoint`.
    """
    segmentor, recipe, provenance = load_checkpoint(resolve(model), vfm_weights)
    return segmentor.to("cuda" if torch.cuda.is_available() else "cpu"), recipe, provenance


def _version(name: str, alias: str) -> str:
    try:
        return f"models:/{name}/{MlflowClient().get_model_version_by_alias(name, alias).version}"
    except MlflowException as error:
        raise _unknown(f"models:/{name}@{alias}", error) from error


def logged(run_id: str, name: str) -> list[LoggedModel]:
    """A run's models of this name in MLflow, the newest first, half ones too: their status is not READY."""
    client = MlflowClient()
    experiment = client.get_run(run_id).info.experiment_id
    return list(client.search_logged_models([experiment], f"name = '{name}' AND source_run_id = '{run_id}'"))


def _whole(run_id: str, name: str) -> str | None:
    """The newest of a run's models that is whole: to MLflow `runs:/ID/NAME` is the newest, be it half."""
    try:
        found = [model.model_id for model in logged(run_id, name) if model.status == LoggedModelStatus.READY]
    except MlflowException as error:
        raise _unknown(f"runs:/{run_id}/{name}", error) from error
    return f"models:/{found[0]}" if found else None


def _unknown(uri: str, error: Exception) -> ValueError:
    return ValueError(f"model {uri}: {str(error).splitlines()[0]}; {_known()}")


def _last_checkpoint(run: str) -> str:
    from pipelines.runs import last_checkpoint  # takes seconds, as Ray does, and most models do without

    checkpoint = last_checkpoint(run)
    if checkpoint is None:
        raise ValueError(f"model {run}: the run has no finished checkpoint yet: go on with train … --resume {run}")
    return absolute(checkpoint)


def _local(checkpoint: str) -> Path:
    """The folder itself, or a copy of one in an object store, without what only training needs."""
    if "://" not in checkpoint:
        return Path(checkpoint).resolve()
    files, path = storage.filesystem(checkpoint)
    folder = _temporary()
    brought = [VFM] if storage.size(checkpoint, VFM) is not None else []
    for name in (RECIPE, WEIGHTS, *brought):
        pafs.copy_files(f"{path}/{name}", str(folder / name), source_filesystem=files)
    return folder


def _temporary() -> Path:
    """A new folder that is gone when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="rein-checkpoint-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _from_mlflow(uri: str) -> Path:
    try:
        folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(_temporary())))
    except (MlflowException, OSError) as error:
        raise _unknown(uri, error) from error
    found = sorted(folder.rglob(RECIPE))
    if not found:
        raise ValueError(f"model {uri} holds no checkpoint of this project: register one with the register command")
    return found[0].parent


def _known() -> str:
    names = []
    for model in MlflowClient().search_registered_models():
        names += [f"models:/{model.name}@{alias}" for alias in model.aliases] or [f"models:/{model.name}/1"]
    return f"registered in {refusals.where()}: {', '.join(names) or 'nothing'}"
