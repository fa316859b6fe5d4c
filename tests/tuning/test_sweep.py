"""A sweep's folder: what a resume finds in it."""

from types import SimpleNamespace

import pytest

from datasets import storage
from pipelines import runs
from pipelines.recipe import change_recipe, load_recipe, parse_recipe
from tuning import search
from tuning.sweep import (
    DIVERGED,
    FAILED,
    FINISHED,
    RUNNING,
    STOPPED,
    SWEEP_FILE,
    Record,
    Sweep,
    Watch,
    ended,
    new_folder,
    read,
)


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    """One that was begun, with nobody at work."""
    recipe = load_recipe("tune_token_rank_smoke", [f"tracking.storage={tmp_path}", "tune.num_trials=2"])
    folder = tmp_path / "sweep"
    (folder / "trials").mkdir(parents=True)
    values = {"recipe": recipe.model_dump(mode="json"), "mlflow_run_id": "0" * 32}
    storage.write_json(str(folder), SWEEP_FILE, values)
    return Sweep(str(folder), recipe, "0" * 32, {})


def test_a_resume_goes_on_with_what_the_one_before_asked_for(sweep):
    changed = change_recipe(sweep.recipe, ["tune.num_trials=32", "tune.max_failures=5"])
    Sweep(sweep.folder, changed, sweep.mlflow_run_id, {}).go_on()
    kept = read(sweep.folder)
    assert parse_recipe(kept["recipe"]).tune.num_trials == 32 and kept["mlflow_run_id"] == sweep.mlflow_run_id
    assert parse_recipe(kept["recipe"]) == changed


def test_what_failed_is_tried_again_by_a_resume(sweep, capsys):
    ends = {2: FAILED, 4: FINISHED, 8: STOPPED, 16: DIVERGED}
    for rank, status in ends.items():
        record = sweep.record({"adapter": "rein", "rank": rank})
        record.status, record.history = status, [{"step": 2, "source_mIoU": 1.0}]
        record.error = "MLflow can't be used" if status == FAILED else None
    sweep.go_on()
    (again,) = sweep.open_records()
    assert again.draw["rank"] == 2 and again.error is None and again.history, "from where it was"
    assert {record.draw["rank"] for record in ended(sweep.records.values())} == {4, 8, 16}
    assert storage.read_json(f"{sweep.folder}/trials", "rein-r2.json")["status"] == RUNNING
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert said.endswith("trials that failed are tried again: rein-r2")
    sweep.go_on()
    assert not capsys.readouterr().err


def test_a_draw_that_is_no_model_is_marked(sweep):
    """And no longer when a resume tries it again."""
    trial = SimpleNamespace(trial_id="1", config={"draw": {"adapter": "rein", "rank": 2}}, last_result={})
    watch = Watch(sweep, 1)
    watch.on_trial_start(0, [], trial)
    watch.on_trial_result(0, [], trial, {"step": 0, "error": "no such layer", "impossible": True})
    watch.on_trial_complete(0, [], trial)
    saved = Record(**storage.read_json(f"{sweep.folder}/trials", "rein-r2.json"))
    assert saved.impossible and saved.status == FAILED and sweep.lost() is None
    sweep.go_on()
    watch.on_trial_result(0, [], trial, {"step": 0, "error": "MLflow is away"})
    watch.on_trial_complete(0, [], trial)
    assert sweep.lost() == "1 of 1 trials failed (MLflow is away)"


def test_seconds_count_from_before_a_resume(sweep, monkeypatch):
    """Up to the last validation that was saved before it was killed."""
    trial = SimpleNamespace(trial_id="1", config={"draw": {"adapter": "rein", "rank": 2}}, last_result={})
    now = [1000.0]
    monkeypatch.setattr("tuning.sweep.time.time", lambda: now[0])
    watch = Watch(sweep, 1)
    watch.on_trial_start(0, [], trial)
    now[0] += 30
    watch.on_trial_result(0, [], trial, {"step": 2, "source_mIoU": 1.0})
    saved = Record(**storage.read_json(f"{sweep.folder}/trials", "rein-r2.json"))
    assert saved.seconds == 30
    now[0] += 1000
    resumed = Sweep(sweep.folder, sweep.recipe, sweep.mlflow_run_id, {"rein-r2": saved})
    watch = Watch(resumed, 1)
    watch.on_trial_start(0, [], trial)
    now[0] += 5
    watch.on_trial_result(0, [], trial, {"step": 4, "source_mIoU": 1.0})
    now[0] += 7
    watch.on_trial_complete(0, [], trial)
    assert saved.seconds == 42


def test_two_that_begin_together_dont_overwrite_each_other(tmp_path, run_command, monkeypatch):
    """The second finds no sweep, as the first is about to write it."""
    monkeypatch.setattr(search, "check", lambda _: None)
    argv = ("tune", "tune_token_rank_smoke", "--name", "both", "--set", f"tracking.storage={tmp_path}")
    busy = pytest.raises(ValueError, match="both is being worked on by another process")
    with runs.alone(str(tmp_path / "both")), busy:
        run_command(*argv)
    assert not (tmp_path / "both" / SWEEP_FILE).exists() and not (tmp_path / "mlflow.db").exists()


def test_a_sweep_that_appeared_meanwhile_stays(sweep):
    before = read(sweep.folder)
    assert new_folder(sweep.recipe, "sweep") == sweep.folder
    with pytest.raises(ValueError, match="has become another sweep's: the same command again goes on with that"):
        Sweep.create(sweep.recipe, sweep.folder)
    assert read(sweep.folder) == before
