"""Real sweeps: trials train, report to Tune and MLflow, and the best one's checkpoint is there."""

import csv
import json
import re
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipelines.models import resolve
from pipelines.recipe import load_recipe, parse_recipe
from pipelines.runs import Run
from tuning.search import _concurrent, check
from tuning.trial import earlier


def settings(streets, storage: Path, **changes) -> list[str]:
    values = {"data.train": streets.game, "data.val": streets.camera, "tracking.storage": storage, **changes}
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def swept(streets, storage, run_command) -> dict:
    """TPE and ASHA over two kinds of adapter, two trials at a time, compared on the target domain."""
    changes = {
        "tune.objective": "target",
        "tune.adapter": ["rein", "lora"],
        "tune.layers": [None, [8, 9, 10, 11]],
        "tune.num_trials": 3,
        "tune.max_concurrent": 2,
        "tune.scale": [],
    }
    argv = settings(streets, storage, **changes)
    return run_command("tune", "tune_asha_tpe_smoke", "--name", "sweep", *argv)


def children(storage: Path, result: dict) -> list:
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    parent = client.get_run(result["mlflow_run_id"])
    return client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")


def test_the_best_trial_is_found(swept):
    scores = [trial["score"] for trial in swept["trials"]]
    assert len(scores) == 3 and swept["best"]["score"] == scores[0] == max(scores)
    assert swept["best"]["score"] == swept["best"]["mIoU"], "of the validation that was its best"
    assert resolve(swept["best"]["checkpoint"]).name == "best"
    assert all(trial["trained_parameters"] > 1000 and trial["step_seconds"] > 0 for trial in swept["trials"])
    assert {trial["status"] for trial in swept["trials"]} <= {"FINISHED", "STOPPED"}


def test_the_result_says_that_target_domains_chose(swept, streets, storage):
    assert swept["objective"]["metric"] == "mIoU" and swept["objective"]["shards"] == [streets.camera]
    assert "no test of generalisation" in swept["objective"]["words"]
    tested = r"camera: 2, short edge 64, \d+×64, windows of 64×64, stride 42"
    assert re.fullmatch(tested, swept["objective"]["tested"]), swept["objective"]["tested"]
    parent = MlflowClient(f"sqlite:///{storage}/mlflow.db").get_run(swept["mlflow_run_id"])
    assert "no test of generalisation" in parent.data.tags["tune.objective"]


def test_trials_are_nested_runs_that_ended(swept, storage):
    nested = children(storage, swept)
    assert len(nested) == 3
    by_id = {run.info.run_id: run for run in nested}
    for trial in swept["trials"]:
        run = by_id[trial["mlflow_run_id"]]
        assert run.info.status == {"FINISHED": "FINISHED", "STOPPED": "KILLED"}[trial["status"]]
        assert run.data.params["model.adapter.type"] == trial["adapter"]
        assert run.data.params["model.adapter.rank"] == str(trial["rank"])
        assert float(run.data.params["optimizer.lr"]) == trial["lr"]


def test_table_and_pictures_are_in_the_folder_and_in_mlflow(swept, storage):
    folder = Path(swept["sweep_dir"])
    assert folder == storage / "sweep"
    read = list(csv.DictReader((folder / "results.csv").open()))
    assert [float(row["score"]) for row in read] == [trial["score"] for trial in swept["trials"]]
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    logged = {Path(file.path).name for file in client.list_artifacts(swept["mlflow_run_id"], "sweep")}
    pictures = {Path(path).name for path in swept["pictures"]}
    assert {"parallel_coordinates.png", "pareto.png"} <= pictures
    assert logged == pictures | {"results.csv", "results.json"} and all((folder / name).exists() for name in logged)


def test_what_a_sweep_needs(streets, storage, run_command):
    argv = ["tune", "rein_dinov2_s_camvid_smoke", *settings(streets, storage)]
    with pytest.raises(ValueError, match=r"data\.source_val is empty.*--set data\.source_val=SHARDS"):
        run_command(*argv)
    argv += ["--set", f"data.source_val={streets.game}"]
    with pytest.raises(ValueError, match=r"train\.validate_every"):
        run_command(*argv)
    argv += ["--set", "train.validate_every=2"]
    with pytest.raises(ValueError, match="several workers need a GPU each"):
        run_command(*argv, "--set", "tune.gpus_per_trial=0.5", "--set", "train.num_workers=2")
    with pytest.raises(ValueError, match="give --register NAME too"):
        run_command(*argv, "--alias", "champion")
    with pytest.raises(ValueError, match=r"use letters, digits"):
        run_command(*argv, "--register", "a/b")
    with pytest.raises(ValueError, match=r"data\.val is empty"):
        run_command(*argv, "--set", "tune.objective=target", "--set", "data.val=[]")
    with pytest.raises(ValueError, match=r"no sweep\.json in it"):
        run_command("tune", "--resume", storage)
    with pytest.raises(ValueError, match="name a recipe"):
        run_command("tune")


def test_who_lacks_held_out_samples_is_told_how_to_make_some():
    with pytest.raises(ValueError, match="gtav-val --limit 500, .* shards/gtav-train --without 500"):
        check(load_recipe("tune_asha_tpe", ["data.train=shards/gtav"]))


def test_trials_at_a_time():
    waiting = {"train": {"use_gpu": True}, "data": {"cpus_per_worker": 4}}
    with pytest.raises(ValueError, match=r"say how many trials run at a time, --set tune\.max_concurrent="):
        _concurrent(parse_recipe(waiting), 32, [{"CPU": 0.0}])
    assert _concurrent(parse_recipe(waiting | {"tune": {"max_concurrent": 8}}), 32, [{"CPU": 0.0}]) == 8
    assert _concurrent(parse_recipe(waiting), 32, [{"CPU": 1.0, "GPU": 2.0}]) == 2
    assert (
        _concurrent(parse_recipe({}), 32, [{"CPU": 4.0}]) == 4 and _concurrent(parse_recipe({}), 3, [{"CPU": 4.0}]) == 3
    )


def test_more_trials_at_a_time_than_fit_name_their_setting():
    many = parse_recipe({"tune": {"max_concurrent": 40}})
    few, of_gpus = (rf"^tune\.max_concurrent: 40 trials at a time: 40 workers {words}: set fewer" for words in (
        "are too many for 2 CPUs, of which some must decode images", "need a GPU each, and the cluster has 2"
    ))  # fmt: skip
    with pytest.raises(ValueError, match=few):
        _concurrent(many, 99, [{"CPU": 2.0}])
    with pytest.raises(ValueError, match=of_gpus):
        _concurrent(many, 99, [{"CPU": 64.0, "GPU": 2.0}])
    wide = parse_recipe({"train": {"num_workers": 30, "batch_size": 30}})
    with pytest.raises(ValueError, match=r"^train\.num_workers: 30 workers are too many"):
        _concurrent(wide, 99, [{"CPU": 2.0}])


def test_a_sweep_goes_on_as_it_began(swept, run_command):
    with pytest.raises(ValueError, match=r"other values of optimizer\.weight_decay"):
        run_command("tune", "--resume", swept["sweep_dir"], "--set", "optimizer.weight_decay=0.2")
    with pytest.raises(ValueError, match=r"other values of tune\.sampler"):
        run_command("tune", "--resume", swept["sweep_dir"], "--set", "tune.sampler=random")


def test_a_trial_that_can_not_be_built_is_told_and_the_others_go_on(streets, storage, run_command):
    changes = {
        "data.val": [],
        "data.source_val": streets.game,
        "tune.token_length": [5],
        "tune.rank": [2],
        "tune.layers": [[0, 1], [0, 99]],
    }
    argv = settings(streets, storage, **changes)
    result = run_command("tune", "tune_token_rank_smoke", *argv, "--register", "of-the-others")
    good, bad = result["trials"]
    assert result["registered"]["lineage"]["run_id"] == good["mlflow_run_id"]
    assert good["status"] == "FINISHED" and good["layers"] == [0, 1] and result["best"] == good
    assert result["objective"]["metric"] == "source_mIoU" and good["score"] == good["source_mIoU"]
    assert bad["status"] == "FAILED" and "name rising block numbers from 0 to 11" in bad["error"]
    assert bad["score"] is None and bad["checkpoint"] is None


def test_a_trial_that_goes_on_tells_what_tune_had_missed(swept, storage):
    """It goes on after its last checkpoint, and may have been killed before Tune had heard of that one's validation."""
    for file in (storage / "sweep" / "trials").glob("*.json"):
        record = json.loads(file.read_text())
        folder, history = storage / record["run"], record["history"]
        run = Run(str(folder), parse_recipe(json.loads((folder / "run.json").read_text())["recipe"]), "")
        told = earlier(run, history[:-1])
        assert [result["step"] for result in told] == [result["step"] for result in history]
        assert told[-1]["mIoU"] == history[-1]["mIoU"]
        assert [result.get("again", False) for result in told] == [True] * (len(history) - 1) + [False]
        assert earlier(run, history) == [result | {"again": True} for result in history] and earlier(None, []) == []
