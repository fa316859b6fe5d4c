"""MLflow: where runs go, and logging that never stops a training."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES
from mlflow.exceptions import MlflowException
from mlflow.utils.time import get_current_time_millis

from pipelines.checkout import commit
from pipelines.refusals import asking, check_address, refusal, where, without_password
from pipelines.sender import Sender
from pipelines.settings import Recipe
from pipelines.terminal import say

_LONGEST_PARAM = 500
_LAST_WAIT = 60
_TRIES = 2
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the second, where it is no id at all
_HOPELESS = (*UNKNOWN, "BAD_REQUEST")
PARENT = "mlflow.parentRunId"
RESUMED = "commit.resumed"


def configure(storage: str = "runs", experiment: str = "rein", offline: bool = False) -> str:
    """Points MLflow at MLFLOW_TRACKING_URI, or at a sqlite file in `storage`, and returns the experiment's id.

    Args:
        offline: at the file, whatever MLFLOW_TRACKING_URI says.

    Raises:
        ValueError: the store can't be reached or refuses this user, its URI holds a password, or `storage` is an object
            store, where no sqlite file can lie.
    """
    server = None if offline else os.environ.get("MLFLOW_TRACKING_URI")
    if server:
        check_address(server)
    if "://" in storage and not server:
        raise ValueError(
            f"tracking.storage={storage}: MLflow's file can't lie in an object store: name a server, "
            "MLFLOW_TRACKING_URI=http://…, or a local folder"
        )
    uri = server or f"sqlite:///{Path(storage).resolve()}/mlflow.db"
    _point_at(uri)
    try:
        with _at_once(), nullcontext() if server else _alone(Path(storage).resolve()):
            found = mlflow.get_experiment_by_name(experiment)
            if found:
                return found.experiment_id
            return mlflow.create_experiment(experiment, artifact_location=_artifacts(uri))
    except MlflowException as error:
        raise ValueError(
            refusal(error, where())
            or f"MLflow at {where()} can't be used ({str(error).splitlines()[0]}): start it, unset "
            "MLFLOW_TRACKING_URI, or train --offline"
        ) from error


def _artifacts(uri: str) -> str | None:
    """Beside a store that is a file, as MLflow would take the working folder; a server has its own place."""
    file = uri.removeprefix("sqlite:///")
    return None if file == uri else (Path(file).resolve().parent / "mlartifacts").as_uri()


def place(recipe: Recipe) -> dict[str, Any]:
    """Where a recipe's results go, as arguments of `configure`."""
    return recipe.tracking.model_dump(include={"storage", "experiment", "offline"})


@contextmanager
def _at_once() -> Iterator[None]:
    """MLflow's usual seven tries take four minutes; who starts a command wants to know that nobody answers."""
    before = MLFLOW_HTTP_REQUEST_MAX_RETRIES.get_raw()
    MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(before or _TRIES)
    try:
        yield
    finally:
        if before is None:
            MLFLOW_HTTP_REQUEST_MAX_RETRIES.unset()


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


def create_run(name: str, recipe: Recipe, parent_run_id: str | None = None, storage: str | None = None) -> str:
    """A new MLflow run with the recipe as its parameters; returns its id. Raises ValueError as `configure` does.

    Args:
        storage: in place of the recipe's, for a command that has one of its own.
    """
    experiment_id = configure(storage, recipe.tracking.experiment) if storage else configure(**place(recipe))
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
    """What a worker on another machine needs to log into this run, for `Tracker`."""
    return {"uri": mlflow.get_tracking_uri(), "run_id": run_id}


def find_run(run_id: str | None) -> bool:
    """Whether the configured store knows this run: a checkpoint may come from another one."""
    try:
        return bool(run_id and MlflowClient().get_run(run_id))
    except MlflowException as error:
        if error.error_code in UNKNOWN:
            return False
        unknown = f"MLflow at {where()} does not answer ({str(error).splitlines()[0]}): start it"
        raise ValueError(refusal(error, where()) or unknown) from error


def reopen_run(run_id: str, recipe: Recipe, folder: str) -> None:
    """Marks a run that goes on as RUNNING, in the job that this is and with the code that this is.

    Args:
        folder: what was to go on, for the error.

    Raises:
        ValueError: the run is not where the recipe says.
    """
    configure(**place(recipe))
    if not find_run(run_id):
        raise ValueError(
            f"--resume {folder}: its MLflow run is not in {where()}: set MLFLOW_TRACKING_URI, tracking.offline and "
            "tracking.storage as they were"
        )
    with asking():
        MlflowClient().update_run(run_id, status="RUNNING")
        for name, value in (_job() | _resumed(run_id)).items():
            MlflowClient().set_tag(run_id, name, value)


def _resumed(run_id: str) -> dict[str, str]:
    """As a tag: all commits that the run went on with, beside that of its start; none if it is the same code."""
    before, now = commits(MlflowClient().get_run(run_id)), commit() or "unknown"
    return {} if now in before else {RESUMED: ", ".join([*before[1:], now])}


def commits(run: Run) -> list[str]:
    """Of the code that a run was started with, and of all that it went on with, each once."""
    tags = run.data.tags
    return [tags.get("commit", "unknown"), *filter(None, tags.get(RESUMED, "").split(", "))]


def end_run(run_id: str, status: str) -> None:
    """Marks a run FINISHED or FAILED."""
    MlflowClient().set_terminated(run_id, status)


def open_children(run_id: str) -> list[str]:
    """Nested runs that nobody has ended."""
    client = MlflowClient()
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_runs([experiment], f"tags.`{PARENT}` = '{run_id}' and attributes.status = 'RUNNING'")
    return [child.info.run_id for child in found]


def log_metrics(run_id: str, values: dict[str, float]) -> None:
    """Numbers without a step, at once."""
    for name, value in values.items():
        MlflowClient().log_metric(run_id, name, value)


class Tracker:
    """Logs into an existing run from the first training worker, in the background and in order.

    While the server is away what is logged waits for it. A step that the run has already, from before it was killed
    and resumed, is not logged twice.
    """

    def __init__(self, uri: str, run_id: str):
        self.client, self.run_id, self.address = MlflowClient(uri), run_id, without_password(uri)
        self.numbers = Sender(f"MLflow at {self.address}")
        self.pictures = Sender(f"MLflow's artifact store at {self.address}")
        self._last: dict[str, int] = {}

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Numbers at a step."""
        now = get_current_time_millis()
        self._send(self.numbers, lambda: self._log(values, step, now))

    def _log(self, values: dict[str, float], step: int, now: int) -> None:
        new = [Metric(name, float(value), now, step) for name, value in values.items() if step > self._logged(name)]
        try:
            self._log_batch(new)
        except MlflowException as error:
            if error.error_code not in _HOPELESS or len(new) == 1:
                raise
            self._log_singly(new)

    def _log_batch(self, metrics: list[Metric]) -> None:
        if metrics:
            self.client.log_batch(self.run_id, metrics=metrics)
            self._last |= {metric.key: metric.step for metric in metrics}

    def _log_singly(self, metrics: list[Metric]) -> None:
        """One that is refused, such as for its name, has the whole batch refused: the others arrive without it."""
        refused = {}
        for metric in metrics:
            try:
                self._log_batch([metric])
            except MlflowException as error:
                if error.error_code not in _HOPELESS:
                    raise
                refused[metric.key] = error
        if refused:
            say(f"warning: MLflow refuses a result, {', '.join(refused)}: {next(iter(refused.values()))}")

    def _logged(self, name: str) -> int:
        """The last step at which the run has this number; -1 if there is none."""
        if name not in self._last:
            history = self.client.get_metric_history(self.run_id, name)
            self._last[name] = max((metric.step for metric in history), default=-1)
        return self._last[name]

    def next_step(self, name: str) -> int:
        """The step after the last one that the run has of this number, so that it is logged again; 0 at first."""
        return self._logged(name) + 1

    def tags(self, values: dict[str, str]) -> None:
        """Words about the run."""
        for name, value in values.items():
            self._send(self.numbers, partial(self.client.set_tag, self.run_id, name, value))

    def picture(self, image: np.ndarray, path: str) -> None:
        """An RGB image, uint8 [h, w, 3], as a PNG artifact. Where artifacts can't be stored, numbers still arrive."""
        self._send(self.pictures, partial(self.client.log_image, self.run_id, image, artifact_file=path))

    def text(self, text: str, path: str) -> None:
        """Text, such as a page, as an artifact."""
        self._send(self.pictures, partial(self.client.log_text, self.run_id, text, path))

    def flush(self, seconds: float) -> bool:
        """Waits until all numbers are sent, but not longer than this. Returns whether they are."""
        return self.numbers.flush(seconds)

    def finish(self) -> None:
        """The last wait, for pictures too. The run stays open: who started it ends it."""
        deadline = time.monotonic() + _LAST_WAIT
        if not all([sender.flush(deadline - time.monotonic()) for sender in (self.numbers, self.pictures)]):
            say(f"warning: MLflow did not answer for {_LAST_WAIT} s: the last results are lost")

    def _send(self, sender: Sender, call: Callable[[], object]) -> None:
        def attempt() -> None:
            try:
                call()
            except MlflowException as error:
                if error.error_code not in _HOPELESS:
                    raise ConnectionError(refusal(error, self.address) or str(error)) from error
                say(f"warning: MLflow refuses a result: {error}")

        sender.send(attempt)
