"""What finished trials gave: read from MLflow, and kept in one JSON file that the page is made from."""

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from benchmarks import common
from benchmarks.evidence import streets
from benchmarks.evidence.studies import Arm, Study, Trial
from datasets import storage
from datasets.shards import read_manifest
from pipelines.runs import last_checkpoint
from pipelines.tracking import commits
from rein_core.checkpoint import RECIPE

EXPERIMENT = "evidence"
_SPEED = "images_per_second"
_DIGITS = 12


@dataclass(frozen=True)
class Found:
    """One finished trial.

    Args:
        scores: mIoU in percent of the held-out samples and of each domain.
        classes: of each of these the IoU by class.
        trained_parameters: adapter and head.
        step_seconds: median over the run.
        memory_gib: the worker's peak, validation included.
        steps: trained.
        commit: of the code that trained; several, "abc, def", if the trial went on with other code.
        device: the machine.
        mlflow_run_id: where the rest is.
        data: by name the digests of the shards, of source, held-out samples and domains; None of trials that were kept
            before this was.
        weights: the VFM's digest; None as with `data`.
    """

    scores: dict[str, float]
    classes: dict[str, dict[str, float]]
    trained_parameters: int
    step_seconds: float
    memory_gib: float
    steps: int
    commit: str
    device: str
    mlflow_run_id: str
    data: dict[str, str] | None = None
    weights: str | None = None


def digests(study: Study, work: Path) -> dict[str, str]:
    """Of the shards of a study by name: the first digits. Raises ValueError if one is not there or damaged."""
    names = (study.source, study.held_out, *study.domains)
    return {name: read_manifest(streets.shards(work, name)).digest[:_DIGITS] for name in names}


class Results:
    """Finished trials by name.

    Args:
        file: where they are kept; it need not be there.
        work: the folder of the runs, for new ones.
    """

    def __init__(self, file: Path, work: Path):
        self.file, self.work = file, work
        self.trials = self._read()

    def _read(self) -> dict[str, Found]:
        values = json.loads(self.file.read_text()) if self.file.is_file() else {}
        return {name: Found(**value) for name, value in values.items()}

    def reload(self) -> None:
        """Sees what other processes have kept meanwhile."""
        self.trials = self._read()

    def find(self, trial: Trial) -> Found | None:
        """What is known of this trial."""
        return self.trials.get(trial.name)

    def collect(self, trial: Trial) -> Found:
        """Reads a trial that has just finished from its MLflow run, and keeps it beside those of other processes.

        Raises:
            ValueError: MLflow has no finished run of this name, or as `check`.
        """
        client = MlflowClient(f"sqlite:///{(self.work / 'runs').resolve()}/mlflow.db")
        found = _read(client, _finished(client, trial.name), self.work, trial)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.file.with_suffix(".lock")):
            self.reload()
            self.check(trial.study, found.data or {})
            self.trials[trial.name] = found
            self._write()
        return found

    def _write(self) -> None:
        partial = self.file.with_suffix(".partial")
        kept = {name: _known(asdict(value)) for name, value in sorted(self.trials.items())}
        partial.write_text(json.dumps(kept, indent=1) + "\n")
        partial.replace(self.file)

    def check(self, study: Study, data: dict[str, str]) -> None:
        """Raises ValueError if a kept trial of the study had other shards of the same name than `data` says."""
        letters = {study.name, *(arm.study for arm in study.arms)}
        for name, found in self.trials.items():
            before = (found.data or {}) if name.split("-")[0] in letters else {}
            for shards in sorted(before.keys() & data.keys()):
                if before[shards] != data[shards]:
                    raise ValueError(
                        f"evidence: the shards {shards} are {data[shards]}, but {name} in {self.file} had "
                        f"{before[shards]}: give another --results, or a --work with the shards as they were"
                    )

    def of_arm(self, study: Study, arm: Arm) -> dict[float, dict[int, Found]]:
        """Its finished trials by learning rate and seed."""
        found = {rate: {seed: self.find(Trial(study, arm, rate, seed)) for seed in arm.seeds} for rate in arm.rates}
        return {rate: {seed: each for seed, each in seeds.items() if each} for rate, seeds in found.items()}

    def best_rate(self, study: Study, arm: Arm) -> float | None:
        """The rate whose first seed is best on held-out samples of the source; None before any is finished."""
        first = {rate: seeds.get(arm.seeds[0]) for rate, seeds in self.of_arm(study, arm).items()}
        scores = {rate: found.scores[study.held_out] for rate, found in first.items() if found}
        return max(scores, key=scores.get) if scores else None

    def kept_seeds(self, study: Study, arm: Arm) -> dict[int, Found]:
        """The trials of the arm's best rate by seed."""
        return self.of_arm(study, arm).get(self.best_rate(study, arm), {})

    def kept(self, study: Study, arm: Arm) -> list[Found]:
        """The trials of the arm's best rate, a seed each."""
        return list(self.kept_seeds(study, arm).values())


def _known(values: dict) -> dict:
    """Without what trials of earlier code don't have."""
    return {name: value for name, value in values.items() if value is not None}


def spread(values: Iterable[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None for the second where there is one value only."""
    numbers = list(values)
    return statistics.mean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else None


def _finished(client: MlflowClient, name: str) -> MlflowRun:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    wanted = f"attributes.run_name = '{name}' and attributes.status = 'FINISHED'"
    runs = client.search_runs([experiment.experiment_id], wanted) if experiment else []
    if not runs:
        raise ValueError(f"evidence: no finished MLflow run {name}: look for the reason in its log, and run it again")
    return runs[0]


def _read(client: MlflowClient, run: MlflowRun, work: Path, trial: Trial) -> Found:
    domains = (trial.study.held_out, *trial.study.domains)
    metrics, batch = run.data.metrics, int(run.data.params["train.batch_size"])
    speeds = [point.value for point in client.get_metric_history(run.info.run_id, _SPEED)]
    checkpoint = last_checkpoint(str(work / "runs" / trial.name))
    return Found(
        scores={name: round(metrics[f"val/{name}/mIoU"], 2) for name in domains},
        classes={name: _by_class(metrics, f"val/{name}/IoU/") for name in domains},
        trained_parameters=storage.read_json(checkpoint, RECIPE)["provenance"]["trained_parameters"],
        step_seconds=round(batch / statistics.median(speeds), 3),
        memory_gib=round(metrics["memory_gib"], 2),
        steps=int(run.data.params["train.steps"]),
        commit=", ".join(commits(run)),
        device=str(common.machine(common.device())["device"]),
        mlflow_run_id=run.info.run_id,
        data=digests(trial.study, work),
        weights=run.data.tags.get("vfm.digest"),
    )


def _by_class(metrics: dict[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): round(v, 1) for name, v in metrics.items() if name.startswith(prefix)}
