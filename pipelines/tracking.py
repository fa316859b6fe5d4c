"""MLflow: where runs go, and how they begin, go on and end."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Param, Run
from mlflow.exceptions import MlflowException

from pipelines.checkout import commit
from pipelines.refusals import UNKNOWN, Away, asking, at_once, check_address, refusal, tolerated, where
from pipelines.settings import Recipe

_LONGEST_PARAM = 500
_JOBS_COPY = "/_ray_pkg_"
PARENT = "mlflow.parentRunId"
RESUMED = "commit.resumed"


def configure(storage: str = "runs", experiment: str = "rein", offline: bool = False) -> str:
    """Points MLflow at MLFLOW_TRACKING_URI, or at a sqlite file in `storage`, and returns the experiment's id.

    Args:
        offline: at the file, whatever MLFLOW_TRACKING_URI says.

    Raises:
        Away: the store can't be reached.
        ValueError: it refuses this user, its URI holds a password, or `storage` is an object store, where no sqlite
            file can lie.
    """
    server = named_store(offline)
    if "://" in storage and not server:
        raise ValueError(
            f"tracking.storage={storage}: MLflow's file can't lie in an object store: name a server, "
            "MLFLOW_TRACKING_URI=http://…, or a local folder"
        )
    uri = server or f"sqlite:///{Path(storage).resolve()}/mlflow.db"
    _point_at(uri)
    try:
        with at_once(), nullcontext() if server else _alone(Path(storage).resolve()):
            found = mlflow.get_experiment_by_name(experiment)
            if found:
                return found.experiment_id
            return mlflow.create_experiment(experiment, artifact_location=_artifacts(uri))
    except MlflowException as error:
        unusable = f"MLflow at {where()} can't be used ({str(error).splitlines()[0]}): start it, unset "
        raise _unless_refused(error, f"{unusable}MLFLOW_TRACKING_URI, or train --offline") from error


def named_store(offline: bool = False) -> str | None:
    """MLFLOW_TRACKING_URI, unless it doesn't count. Raises ValueError if a server's address holds a password."""
    server = None if offline else os.environ.get("MLFLOW_TRACKING_URI")
    if server:
        check_address(server)
    return server or None


def use_store(uri: str | None) -> None:
    """Has this process log where another one does, which gave its `named_store`. Ray's actors have the environment of
    the machine's Ray, which may be older than the command and name another store or none."""
    if uri:
        os.environ["MLFLOW_TRACKING_URI"] = uri
    else:
        os.environ.pop("MLFLOW_TRACKING_URI", None)


def _artifacts(uri: str) -> str | None:
    """Beside a store that is a file, as MLflow would take the working folder; a server has its own place."""
    file = uri.removeprefix("sqlite:///")
    return None if file == uri else (Path(file).resolve().parent / "mlartifacts").as_uri()


def place(recipe: Recipe) -> dict[str, Any]:
    """Where a recipe's results go, as arguments of `configure`.

    Raises:
        ValueError: into a job's copy of the checkout, which goes with the job.
    """
    if _JOBS_COPY in recipe.tracking.storage:
        raise ValueError(
            f"tracking.storage={recipe.tracking.storage} is in a job's copy of the checkout, which goes with it: name "
            "a folder that all nodes see, from the root, or an object store's s3://…"
        )
    return recipe.tracking.model_dump(include={"storage", "experiment", "offline"})


def _point_at(uri: str) -> None:
    """MLflow exports the URI to the environment, where a later `configure` would take it for the user's."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    if given is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: two that first open one sqlite file race in its schema migration."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".mlflow.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def create_run(
    name: str,
    recipe: Recipe,
    parent_run_id: str | None = None,
    storage: str | None = None,
    offline: bool = False,
) -> str:
    """A new MLflow run with the recipe as its parameters; returns its id. Raises ValueError as `configure` does.

    Args:
        storage, offline: in place of the recipe's, for a command that has a storage of its own.
    """
    theirs = {"storage": storage, "experiment": recipe.tracking.experiment, "offline": offline}
    experiment_id = configure(**(theirs if storage else place(recipe)))
    tags = {"commit": commit() or "unknown", "recipe": recipe.name, **_job()}
    tags |= {PARENT: parent_run_id} if parent_run_id else {}
    params = flatten(recipe.model_dump(mode="json"))
    with asking():
        run_id = MlflowClient().create_run(experiment_id, run_name=name, tags=tags).info.run_id
        MlflowClient().log_batch(run_id, params=[Param(key, value[:_LONGEST_PARAM]) for key, value in params.items()])
    return run_id


def _job() -> dict[str, str]:
    """What Ray knows of the submitted job that this is, as tags: its id, and what `--metadata-json` says."""
    metadata = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")).get("metadata", {})
    return {f"ray.{name}": str(value) for name, value in metadata.items()}


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings → dotted keys and JSON values."""
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, str) else json.dumps(value)
    return flat


def worker_arguments(recipe: Recipe, run_id: str) -> dict[str, str]:
    """What a worker on another machine needs to log into this run, for `tracker.Tracker`."""
    return {"uri": mlflow.get_tracking_uri(), "run_id": run_id}


def find_run(run_id: str | None) -> bool:
    """Whether the configured store knows this run: a checkpoint may come from another one."""
    try:
        return bool(run_id and MlflowClient().get_run(run_id))
    except MlflowException as error:
        if error.error_code in UNKNOWN:
            return False
        silent = f"MLflow at {where()} does not answer ({str(error).splitlines()[0]}): start it"
        raise _unless_refused(error, silent) from error


def _unless_refused(error: MlflowException, reason: str) -> ValueError:
    """What to raise of an error of MLflow's: Away for this reason, or plain where this user is refused."""
    refused = refusal(error, where())
    return ValueError(refused) if refused else Away(reason)


def check_run(run_id: str, recipe: Recipe, folder: str) -> None:
    """Raises ValueError if a run that is to go on is not where the recipe says.

    Args:
        folder: what is to go on, for the error.
    """
    configure(**place(recipe))
    if not find_run(run_id):
        raise ValueError(
            f"--resume {folder}: its MLflow run is not in {where()}: set MLFLOW_TRACKING_URI, tracking.offline and "
            "tracking.storage as they were"
        )


def reopen_run(run_id: str) -> None:
    """Marks a run that goes on, after `check_run`, as RUNNING, in the job that this is and with the code that this is.

    Nobody else may be at it: `runs.alone`. Raises ValueError if the server refuses it or does not answer.
    """
    with asking():
        for name, value in (_job() | _resumed(run_id)).items():
            MlflowClient().set_tag(run_id, name, value)
        MlflowClient().update_run(run_id, status="RUNNING")  # last, as no one would end a run that could not go on


def _resumed(run_id: str) -> dict[str, str]:
    """As a tag: all commits that the run went on with, beside that of its start; none if it is the same code."""
    before, now = commits(MlflowClient().get_run(run_id)), commit() or "unknown"
    return {} if now in before else {RESUMED: ", ".join([*before[1:], now])}


def commits(run: Run) -> list[str]:
    """Of the code that a run was started with, and of all that it went on with, each once."""
    tags = run.data.tags
    return [tags.get("commit", "unknown"), *filter(None, tags.get(RESUMED, "").split(", "))]


def end_run(run_id: str, status: str) -> None:
    """Marks a run FINISHED, FAILED or KILLED. Where MLflow is away it stays open, and a warning says so."""
    mend = f"run {run_id} stays open there: the same command with --resume ends it, or set it to {status} by hand"
    with tolerated(mend), at_once():
        MlflowClient().set_terminated(run_id, status)


def unfinished_children(run_id: str) -> dict[str, str]:
    """Nested runs that are not FINISHED → their status."""
    client = MlflowClient()
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_runs([experiment], f"tags.`{PARENT}` = '{run_id}' and attributes.status != 'FINISHED'")
    return {child.info.run_id: child.info.status for child in found}


def log_metrics(run_id: str, values: dict[str, float]) -> None:
    """Numbers without a step, at once."""
    for name, value in values.items():
        MlflowClient().log_metric(run_id, name, value)
