"""A sweep whose processes are killed: what is finished isn't repeated, what was interrupted goes on."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from pipelines.models import resolve

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
STEPS, EVERY = 60, 10


class SweepCommand:
    """`python -m pipelines tune …` in a process of its own, and what its folder says."""

    def __init__(self, folder: Path, *argv: object):
        self.folder, self.log = folder, folder.with_suffix(".log")
        self.before = len(self.said)
        line = [sys.executable, "-m", "pipelines", "tune", *map(str, argv), "--json"]
        with open(self.log, "a") as out:
            self.process = subprocess.Popen(line, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)

    @property
    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def trials(self) -> list[dict]:
        return [json.loads(file.read_text()) for file in sorted((self.folder / "trials").glob("*.json"))]

    def wait_for(self, met: Callable[[list[dict]], bool], seconds: float = 400) -> None:
        deadline = time.monotonic() + seconds
        while not met(self.trials()):
            assert time.monotonic() < deadline and self.process.poll() is None, self.said[-4000:]
            time.sleep(0.1)

    def kill_a_trial(self) -> None:
        """The process that drives it, not its training workers."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        next(each for each in below if each.cmdline() and each.cmdline()[0].startswith("ray::ImplicitFunc")).kill()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def in_midst(trials: list[dict], finished: int) -> bool:
    """So many trials are finished, and another one was validated, with some way to go."""
    ended = [trial for trial in trials if trial["status"] == "FINISHED"]
    midway = [trial for trial in trials if trial["status"] == "RUNNING" and 1 <= len(trial["history"]) <= 3]
    return len(ended) == finished and bool(midway)


@pytest.fixture(scope="module")
def resumed(streets, tmp_path_factory) -> Iterator[dict]:
    """Three trials, one at a time. In the second the command is killed (-9); resumed, in the third its driver is."""
    storage = tmp_path_factory.mktemp("killed")
    values = {
        "data.train": streets.game, "data.source_val": streets.game, "tracking.storage": storage, "train.steps": STEPS,
        "train.validate_every": EVERY, "train.checkpoint_every": EVERY, "tune.max_concurrent": 1,
        "tune.token_length": [5], "tune.rank": [1, 2, 4], "train.log_every": 1,
    }  # fmt: skip
    argv = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    folder = storage / "sweep"
    first = SweepCommand(folder, "tune_token_rank_smoke", "--name", "sweep", *argv)
    try:
        first.wait_for(lambda trials: in_midst(trials, finished=1))
        first.kill()
        before, logged = first.trials(), runs_of(storage)
        after = ["--register", "best-of-sweep", "--alias", "champion", "--retrain-set", "train.steps=4"]
        second = SweepCommand(folder, "--resume", folder, *after)
        try:
            second.wait_for(lambda trials: in_midst(trials, finished=2))
            second.kill_a_trial()
            assert second.process.wait(timeout=500) == 0, second.said[-4000:]
        finally:
            second.kill()
    finally:
        first.kill()
    result = json.loads(next(line for line in reversed(second.said.splitlines()) if line.startswith('{"')))
    yield {"storage": storage, "before": before, "logged": logged, "result": result, "said": second.said}


def runs_of(storage: Path) -> dict[str, tuple]:
    """By rank: when each trial's MLflow run ended, and all that it has of the loss."""
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("rein").experiment_id])
    trials = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    losses = {run.info.run_id: client.get_metric_history(run.info.run_id, "loss") for run in trials}
    return {
        run.info.run_name: (run.info.end_time, [(m.step, m.timestamp) for m in losses[run.info.run_id]])
        for run in trials
    }


def test_a_finished_trial_is_not_repeated(resumed):
    finished = next(trial for trial in resumed["before"] if trial["status"] == "FINISHED")
    assert runs_of(resumed["storage"])[finished["run"]] == resumed["logged"][finished["run"]]
    row = next(trial for trial in resumed["result"]["trials"] if trial["rank"] == finished["draw"]["rank"])
    assert row["score"] == max(result["source_mIoU"] for result in finished["history"])


def test_interrupted_trials_go_on_from_their_checkpoints(resumed):
    """Every trial has one MLflow run with every step once, though the command and a trial were killed."""
    now = runs_of(resumed["storage"])
    trials = {name: losses for name, (_, losses) in now.items() if "-retrained-" not in name}
    assert len(trials) == 3
    assert all([step for step, _ in losses] == list(range(1, STEPS + 1)) for losses in trials.values())
    assert resumed["said"].count("resuming after step") >= 2


def test_a_process_drives_one_trial_after_another(resumed):
    """One before the command was killed, one after it, and one for the trial whose driver was."""
    assert len(set(re.findall(r"\(func pid=(\d+)\)", resumed["said"]))) == 3


def test_the_result_has_all_trials(resumed):
    trials = resumed["result"]["trials"]
    assert sorted(trial["rank"] for trial in trials) == [1, 2, 4]
    assert {(trial["status"], trial["step"]) for trial in trials} == {("FINISHED", STEPS)}
    records = [json.loads(file.read_text()) for file in (resumed["storage"] / "sweep" / "trials").glob("*.json")]
    assert all([entry["step"] for entry in record["history"]] == list(range(EVERY, STEPS + 1, EVERY))
               for record in records)  # fmt: skip


def test_the_best_is_retrained_and_registered(resumed):
    retrained, registered = resumed["result"]["retrained"], resumed["result"]["registered"]
    assert retrained["metrics"]["step"] == 4
    recipe = json.loads((resolve(retrained["checkpoint"]) / "recipe.json").read_text())
    assert recipe["recipe"]["model"]["adapter"]["rank"] == resumed["result"]["best"]["rank"]
    assert recipe["provenance"]["mlflow_run_id"] == retrained["mlflow_run_id"]
    client = MlflowClient(f"sqlite:///{resumed['storage']}/mlflow.db")
    version = client.get_model_version_by_alias("best-of-sweep", "champion")
    assert version.run_id == retrained["mlflow_run_id"] and registered["uri"] == "models:/best-of-sweep@champion"
