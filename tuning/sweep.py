"""A sweep's folder: what was asked for, and each trial's draw, scores and end, so that it can go on."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from datasets import storage
from datasets.sample import one_line
from pipelines import tracking
from pipelines.patience import keep_trying
from pipelines.runs import RUN_FILE
from pipelines.settings import Recipe, absolute
from pipelines.terminal import duration, say
from tuning.space import Draw, Space, apply, label
from tuning.tell import METRICS

SWEEP_FILE, TRIALS = "sweep.json", "trials"
RUNNING, FINISHED, STOPPED, FAILED = "RUNNING", "FINISHED", "STOPPED", "FAILED"
DIVERGED = "DIVERGED"
RETRAINED = "retrained"
_NAMED = 3
_KEPT = ("step", *METRICS.values(), "step_seconds")


@dataclass
class Record:
    """One trial.

    Args:
        run: name of its run's folder.
        status: FINISHED: all steps; STOPPED: by the scheduler; DIVERGED: its loss was no number, which it would be
            again; FAILED: too often, or by what a user can mend, until the sweep is resumed; RUNNING: else.
        history: results of its validations: `step`, `source_mIoU`, `mIoU`, `step_seconds`.
        impossible: whether it FAILED as no model can be built of its draw.
    """

    draw: Draw
    run: str
    status: str = RUNNING
    history: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    seconds: float = 0.0
    impossible: bool = False

    def add(self, result: dict[str, Any]) -> bool:
        """A result, unless its step is known: a trial that goes on after a crash may come to it again."""
        last = self.history[-1]["step"] if self.history else 0
        if result.get("step", 0) <= last:
            return False
        self.history.append({name: result[name] for name in _KEPT if result.get(name) is not None})
        return True


@dataclass
class Sweep:
    """A sweep that is about to begin or to go on.

    Args:
        folder: its absolute path, or its URI.
        recipe: as it was asked for; trials have `trial_recipe`.
        mlflow_run_id: the parent of the trials' runs.
        records: trials, by their draws' labels.
    """

    folder: str
    recipe: Recipe
    mlflow_run_id: str
    records: dict[str, Record]

    @property
    def name(self) -> str:
        """The last part of the folder's path."""
        return storage.filesystem(self.folder)[1].rsplit("/", 1)[-1]

    @property
    def metric(self) -> str:
        """What trials are compared by."""
        return METRICS[self.recipe.tune.objective]

    @classmethod
    def create(cls, recipe: Recipe, folder: str) -> "Sweep":
        """A new sweep in a folder, and a new MLflow run.

        Raises:
            ValueError: the folder is another sweep's, or its trials would go on with runs of an older one.
        """
        if storage.size(folder, SWEEP_FILE) is not None:
            raise ValueError(f"{folder} has become another sweep's: the same command again goes on with that")
        if older := _older_runs(folder, recipe):
            named = ", ".join(older[:_NAMED]) + " …" * (len(older) > _NAMED)
            raise ValueError(
                f"{folder}: runs of an older sweep of this name lie beside it, {named}: choose another --name, or "
                "remove them"
            )
        run_id = tracking.create_run(storage.split(folder)[1], recipe)
        files, path = storage.filesystem(storage.join(folder, TRIALS))
        files.create_dir(path)
        values = {"recipe": recipe.model_dump(mode="json"), "mlflow_run_id": run_id}
        storage.write_json(folder, SWEEP_FILE, values)
        return cls(folder, recipe, run_id, {})

    @classmethod
    def open(cls, folder: str, recipe: Recipe) -> "Sweep":
        """One that was begun. Raises ValueError if its MLflow run is not where the recipe says."""
        values = read(folder)
        tracking.check_run(values["mlflow_run_id"], recipe, folder)
        return cls(absolute(folder), recipe, values["mlflow_run_id"], cls.records_in(absolute(folder)))

    @staticmethod
    def records_in(folder: str) -> dict[str, Record]:
        """Trials whose records are in a sweep's folder, by their draws' labels."""
        trials = storage.join(folder, TRIALS)
        names = [name for name in storage.listing(trials) if name.endswith(".json")]
        return {name.removesuffix(".json"): Record(**storage.read_json(trials, name)) for name in names}

    def go_on(self) -> None:
        """Of one that was begun: a later resume goes on with what is asked for now, and what failed is tried again."""
        storage.write_json(self.folder, SWEEP_FILE, read(self.folder) | {"recipe": self.recipe.model_dump(mode="json")})
        failed = [record for record in self.records.values() if record.status == FAILED]
        for record in failed:
            record.status, record.error, record.impossible = RUNNING, None, False
            self.save(record)
        if failed:
            say(f"trials that failed are tried again: {', '.join(label(record.draw) for record in failed)}")

    def record(self, draw: Draw) -> Record:
        """The draw's, which may be new."""
        return self.records.setdefault(label(draw), Record(draw, f"{self.name}-{label(draw)}"))

    def save(self, record: Record) -> None:
        """Writes what is known of a trial."""
        storage.write_json(storage.join(self.folder, TRIALS), f"{label(record.draw)}.json", asdict(record))

    def open_records(self) -> list[Record]:
        """Trials that were interrupted."""
        return [record for record in self.records.values() if record.status == RUNNING]

    def lost(self) -> str | None:
        """How many trials failed that might have been the best, and why; None if none did."""
        failed = [record for record in self.records.values() if record.status == FAILED and not record.impossible]
        if not failed:
            return None
        return f"{len(failed)} of {len(self.records)} trials failed ({failed[0].error or 'see the log'})"

    def run_folder(self, record: Record) -> str:
        """Where a trial's checkpoints are."""
        return storage.join(self.recipe.tracking.storage, record.run)

    def mlflow_run_of(self, record: Record) -> str | None:
        """A trial's MLflow run; None if it never began."""
        return (storage.read_json(self.run_folder(record), RUN_FILE) or {}).get("mlflow_run_id")


def new_folder(recipe: Recipe, name: str | None) -> str:
    """`STORAGE/NAME`; without a name it is the recipe's, with the time."""
    name = name or f"tune-{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    return storage.join(recipe.tracking.storage, name)


def _older_runs(folder: str, recipe: Recipe) -> list[str]:
    """Names of runs beside a sweep's folder that its trials, or the retraining of its best, would take for theirs."""
    name, beside = storage.split(folder)[1], recipe.tracking.storage
    theirs = [f"{name}-{kind}" for kind in (*Space(recipe).kinds, RETRAINED)]
    named = [each for each in storage.listing(beside) if any(f"{each}-".startswith(f"{begin}-") for begin in theirs)]
    return [each for each in named if storage.size(storage.join(beside, each), RUN_FILE) is not None]


def read(folder: str) -> dict[str, Any]:
    """What was asked for. Raises ValueError if this is no sweep's folder."""
    values = storage.read_json(absolute(folder), SWEEP_FILE)
    if values is None:
        raise ValueError(f"--resume {folder}: no {SWEEP_FILE} in it: give the folder that tune named as its sweep")
    return values


def trial_recipe(recipe: Recipe, draw: Draw) -> Recipe:
    """What one trial trains: the draw, a trial's length, and as its best what the sweep looks for."""
    train = recipe.train.model_copy(
        update={"steps": recipe.tune.trial_steps or recipe.train.steps, "keep_best": recipe.tune.objective}
    )
    return apply(recipe.model_copy(update={"train": train}), draw)


class Watch(tune.Callback):
    """Keeps the sweep's records while Tune runs, in the process that started it."""

    def __init__(self, sweep: Sweep, total: int):
        self.sweep, self.total = sweep, total
        self.counted: dict[str, float] = {}  # until when each trial's seconds are in its record
        self.unsaved: dict[str, Record] = {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial begins, or goes on."""
        self.counted.setdefault(trial.trial_id, time.time())
        self._save(self._record(trial))

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict, **info: Any) -> None:
        """A trial was validated, or says why it can't go on."""
        record = self._record(trial)
        self._count(trial, record)
        record.error, record.impossible = result.get("error"), bool(result.get("impossible"))
        if record.add(result):
            self._save(record)
            say(f"{label(record.draw)}: {self.sweep.metric} {result[self.sweep.metric]:.2f} at step {result['step']}")

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has all its steps, was stopped, or can't go on."""
        record = self._record(trial)
        steps = trial_recipe(self.sweep.recipe, record.draw).train.steps
        whole = record.history and record.history[-1]["step"] >= steps
        failed = DIVERGED if trial.last_result.get("diverged") else FAILED
        self._end(trial, failed if record.error else FINISHED if whole else STOPPED)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has crashed too often."""
        record = self._record(trial)
        record.error = "its process died, see the log"
        with suppress(OSError):  # Tune may not have written it yet
            record.error = str(trial.get_error() or record.error).strip().splitlines()[-1]
        self._end(trial, FAILED)

    def finish(self) -> None:
        """After Tune: writes what the store refused before. Raises ValueError if it goes on doing so."""
        seconds, folder = self.sweep.recipe.tracking.patience_seconds, self.sweep.folder

        def words(error: Exception) -> str:
            return f"{self._refused(error)}: trying again for {duration(seconds)}"

        try:
            keep_trying(self._save_all, seconds, words, f"{folder}: records of trials are written")
        except OSError as error:
            mend = f"free space or mend the store, then --resume {folder}"
            raise ValueError(f"{self._refused(error)}: {mend}") from error

    def _save(self, record: Record) -> None:
        """With what was refused before. A store that refuses it ends no sweep: records are here too."""
        is_first = not self.unsaved
        self.unsaved[label(record.draw)] = record
        try:
            self._save_all()
        except OSError as error:
            if is_first:
                say(f"warning: {self._refused(error)}: trying again with the next result")

    def _refused(self, error: Exception) -> str:
        return f"{self.sweep.folder}: records of trials can't be written ({one_line(error)})"

    def _save_all(self) -> None:
        for name, record in list(self.unsaved.items()):
            self.sweep.save(record)
            del self.unsaved[name]

    def _count(self, trial: Trial, record: Record) -> None:
        """With each result that is saved, so that a resume finds them."""
        now = time.time()
        record.seconds += now - self.counted.get(trial.trial_id, now)
        self.counted[trial.trial_id] = now

    def _end(self, trial: Trial, status: str) -> None:
        record = self._record(trial)
        record.status = status
        self._count(trial, record)
        self._save(record)
        done = sum(each.status != RUNNING for each in self.sweep.records.values())
        reason = f" ({record.error})" if record.error else ""
        say(f"{label(record.draw)}: {status.lower()}{reason}, {done} of {self.total} trials")

    def _record(self, trial: Trial) -> Record:
        return self.sweep.record(trial.config["draw"])


def ended(records: Iterable[Record]) -> list[Record]:
    """Trials that are not to be run again."""
    return [record for record in records if record.status != RUNNING]
