"""A real sweep, one trial after the other, of which one is stopped for what the first three scored, and one diverges;
then its best is registered, and retrained."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipelines.models import resolve

pytestmark = pytest.mark.slow

STEPS, EVERY, TOO_HIGH = 6, 2, 1e30
RATES, WORSE = [1e-9, 2e-9, 3e-9], 5e-3
"""In so few steps what hardly changes scores more than what finds out that most is road."""


@pytest.fixture(scope="module")
def swept(streets, tmp_path_factory, run_command) -> tuple[dict, dict]:
    """What `tune` returns, and what it does when it is resumed."""
    storage = tmp_path_factory.mktemp("bad")
    values = {
        "data.train": streets.game, "data.source_val": streets.game, "tracking.storage": storage, "train.steps": STEPS,
        "train.validate_every": EVERY, "tune.max_concurrent": 1, "tune.token_length": [5], "tune.rank": [2],
        "tune.lr": [*RATES, WORSE, TOO_HIGH], "tune.scheduler": "median", "tune.grace_steps": 2 * EVERY,
    }  # fmt: skip
    argv = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    first = run_command("tune", "tune_token_rank_smoke", "--name", "sweep", *argv)
    return first, run_command("tune", "--resume", first["sweep_dir"], "--register", "as-it-is")


def test_the_best_is_registered_as_it_is(swept):
    result = swept[1]
    client = MlflowClient(f"sqlite:///{Path(result['sweep_dir']).parent}/mlflow.db")
    assert client.get_model_version("as-it-is", "1").run_id == result["best"]["mlflow_run_id"]
    assert "retrained" not in result and result["registered"]["uri"] == "models:/as-it-is/1"


def test_the_best_is_retrained_alone(swept, run_command):
    result = run_command("tune", "--resume", swept[0]["sweep_dir"], "--retrain")
    assert result["retrained"]["metrics"]["step"] == STEPS and "registered" not in result
    recipe = json.loads((resolve(result["retrained"]["checkpoint"]) / "recipe.json").read_text())["recipe"]
    assert recipe["optimizer"]["lr"] == swept[0]["best"]["lr"] and swept[0]["best"]["lr"] in RATES


def test_the_median_rule_stops_one_that_is_worse(swept):
    """At its second validation, with its grace over; the same after a resume."""
    for result in swept:
        trials = {trial["lr"]: trial for trial in result["trials"]}
        assert [trials[rate]["status"] for rate in RATES] == ["FINISHED"] * 3
        assert trials[WORSE]["status"] == "STOPPED"
    folder = Path(swept[0]["sweep_dir"])
    (record,) = (json.loads(file.read_text()) for file in (folder / "trials").glob(f"*lr{WORSE}.json"))
    assert [told["step"] for told in record["history"]] == [EVERY, 2 * EVERY]


def test_one_whose_loss_is_no_number_is_tried_once(swept):
    first, again = (next(trial for trial in result["trials"] if trial["lr"] == TOO_HIGH) for result in swept)
    assert first["status"] == "DIVERGED" and "the loss is" in first["error"] and again == first
    folder = Path(swept[0]["sweep_dir"])
    run_id = json.loads((folder.parent / Path(first["run_dir"]).name / "run.json").read_text())["mlflow_run_id"]
    assert MlflowClient(f"sqlite:///{folder.parent}/mlflow.db").get_run(run_id).info.status == "FAILED"
