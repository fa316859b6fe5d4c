"""MODEL on the command line → a checkpoint folder: a folder, a run, `runs:/…` or `models:/…`."""

from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from rein_core.checkpoint import RECIPE

CHECKPOINT = "checkpoint"
"""The artifact of a logged model that is our checkpoint folder."""


def resolve(model: str) -> Path:
    """A local checkpoint folder.

    Args:
        model: a checkpoint folder; a run's folder, for its last committed checkpoint; `runs:/ID/model`;
            `models:/NAME@ALIAS` or `models:/NAME/VERSION`. MLflow must be configured for the last two.

    Raises:
        ValueError: there is no such model; the line says what there is.
    """
    if model.startswith(("runs:/", "models:/")):
        return _from_mlflow(model)
    folder = Path(model).resolve()
    if (folder / RECIPE).is_file():
        return folder
    if (folder / "run.json").is_file():
        return _last_checkpoint(folder)
    raise ValueError(
        f"model {model}: neither a checkpoint folder (with {RECIPE}) nor a run (with run.json), runs:/ or models:/"
    )


def _last_checkpoint(run: Path) -> Path:
    from ray.train import Result

    try:
        checkpoint = Result.from_path(str(run)).checkpoint
    except RuntimeError:
        checkpoint = None
    if checkpoint is None:
        raise ValueError(f"model {run}: the run has no finished checkpoint yet: go on with train … --resume {run}")
    return Path(checkpoint.path)


def _from_mlflow(uri: str) -> Path:
    try:
        folder = Path(mlflow.artifacts.download_artifacts(uri))
    except (MlflowException, OSError) as error:
        raise ValueError(f"model {uri}: {str(error).splitlines()[0]}; {_known()}") from error
    found = sorted(folder.rglob(RECIPE))
    if not found:
        raise ValueError(f"model {uri} holds no checkpoint of this project: register one with the register command")
    return found[0].parent


def _known() -> str:
    names = []
    for model in MlflowClient().search_registered_models():
        names += [f"models:/{model.name}@{alias}" for alias in model.aliases] or [f"models:/{model.name}/1"]
    return f"registered in {mlflow.get_tracking_uri()}: {', '.join(names) or 'nothing'}"
