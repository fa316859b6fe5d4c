"""A sweep's folder: what a resume finds in it."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from ray.tune.error import TuneError

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


def drawn(rank: int) -> SimpleNamespace:
    """A trial as Tune names it."""
    draw = {"adapter": "rein", "rank": rank}
    return SimpleNamespace(trial_id=str(rank), config={"draw": draw}, last_result={})


@pytest.fixture
def on_a_disk(small_disk) -> Sweep:
    """A sweep of two trials, about to begin on a small file system, and patient for 5 s."""
    disk = small_disk(4)
    changes = [f"tracking.storage={disk}", "tracking.patience_seconds=5"]
    (disk / "sweep" / "trials").mkdir(parents=True)
    return Sweep(f"{disk}/sweep", load_recipe("tune_token_rank_smoke", changes), "0" * 32, {})


def saved(sweep: Sweep) -> dict[int, str]:
    """Ranks of trials whose records are there → their states."""
    found = Sweep.records_in(sweep.folder).values()
    return {record.draw["rank"]: record.status for record in found}


def test_a_full_disk_ends_no_sweep(on_a_disk, fill, capsys):
    """What it refuses is written with the next result; said once."""
    watch, (first, second) = Watch(on_a_disk, 2), (drawn(2), drawn(4))
    filler = fill(Path(on_a_disk.folder).parent)
    for trial in (first, second):
        watch.on_trial_start(0, [], trial)
    watch.on_trial_result(0, [], first, {"step": 2, "source_mIoU": 1.0})
    watch.on_trial_complete(0, [], first)
    assert saved(on_a_disk) == {} and set(watch.unsaved) == {"rein-r2", "rein-r4"}
    assert capsys.readouterr().err.count("No space left on device") == 1
    filler.unlink()
    watch.on_trial_result(0, [], second, {"step": 2, "source_mIoU": 1.0})
    assert saved(on_a_disk) == {2: STOPPED, 4: RUNNING} and not watch.unsaved


def test_what_no_result_follows_is_written_at_the_end(on_a_disk, fill, capsys):
    """Patiently."""
    watch = Watch(on_a_disk, 1)
    filler = fill(Path(on_a_disk.folder).parent)
    watch.on_trial_start(0, [], drawn(2))
    watch.on_trial_complete(0, [], drawn(2))
    threading.Timer(1.5, os.remove, [filler]).start()
    watch.finish()
    assert saved(on_a_disk) == {2: STOPPED} and "records of trials are written" in capsys.readouterr().err


def test_tune_that_fails_is_said_in_a_line_that_names_resume(on_a_disk, fill):
    def fit() -> None:
        raise TuneError("Traceback …\nRuntimeError: the reason\n")

    watch = Watch(on_a_disk, 1)
    with pytest.raises(ValueError, match=rf"Tune failed \(RuntimeError: the reason\): .* --resume {on_a_disk.folder}$"):
        search._fit(SimpleNamespace(fit=fit), watch)
    fill(Path(on_a_disk.folder).parent)
    watch.on_trial_start(0, [], drawn(2))
    words = rf"records of trials can't be written .*No space left.* --resume {on_a_disk.folder}$"
    with pytest.raises(ValueError, match=words):
        search._fit(SimpleNamespace(fit=lambda: None), watch)


def test_mlflow_that_is_away_when_the_best_is_used_is_said_in_a_line(sweep, monkeypatch):
    def away(*args: object) -> None:
        raise MlflowException("API request failed\nwith many words")

    monkeypatch.setattr(search, "search", lambda _: None)
    monkeypatch.setattr(search, "conclude", lambda _: {"best": {}})
    monkeypatch.setattr(search.winner, "use", away)
    monkeypatch.setattr(search.tracking, "end_run", lambda *args: None)
    with pytest.raises(ValueError, match="^MLflow at [^\n]*: API request failed$"):
        search._run(SimpleNamespace(), sweep)


def test_two_that_begin_together_dont_overwrite_each_other(tmp_path, run_command, monkeypatch):
    """The second finds no sweep, as the first is about to write it."""
    monkeypatch.setattr(search, "check", lambda _: None)
    argv = ("tune", "tune_token_rank_smoke", "--name", "both", "--set", f"tracking.storage={tmp_path}")
    busy = pytest.raises(ValueError, match="both is being worked on by another process")
    with runs.alone(str(tmp_path / "both")), busy:
        run_command(*argv)
    assert not (tmp_path / "both" / SWEEP_FILE).exists() and not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("run", ["again-rein-m5-r2", "again-rein", "again-retrained-rein-m5-r2"])
def test_a_new_sweep_under_an_old_name_is_refused(tmp_path, run):
    """Whose folder was removed, but not its trials' runs: their scores would be the new one's."""
    recipe = load_recipe("tune_token_rank_smoke", [f"tracking.storage={tmp_path}"])
    (tmp_path / run).mkdir()
    storage.write_json(str(tmp_path / run), runs.RUN_FILE, {})
    with pytest.raises(ValueError, match=rf"/again: runs of an older sweep .* beside it, {run}: choose another --name"):
        Sweep.create(recipe, new_folder(recipe, "again"))
    assert not (tmp_path / "again").exists() and not (tmp_path / "mlflow.db").exists()


def test_runs_of_others_are_in_nobodys_way(tmp_path, monkeypatch):
    monkeypatch.setattr("tuning.sweep.tracking.create_run", lambda *args: "0" * 32)
    recipe = load_recipe("tune_token_rank_smoke", [f"tracking.storage={tmp_path}"])
    for run in ("again-b-rein-m5-r2", "again-reinforced", "again", "other-rein-m5-r2"):
        (tmp_path / run).mkdir()
        storage.write_json(str(tmp_path / run), runs.RUN_FILE, {})
    (tmp_path / "again-rein-m5-r4").mkdir()  # without a run in it
    assert Sweep.create(recipe, new_folder(recipe, "again")).name == "again"


def test_a_sweep_that_appeared_meanwhile_stays(sweep):
    before = read(sweep.folder)
    assert new_folder(sweep.recipe, "sweep") == sweep.folder
    with pytest.raises(ValueError, match="has become another sweep's: the same command again goes on with that"):
        Sweep.create(sweep.recipe, sweep.folder)
    assert read(sweep.folder) == before
