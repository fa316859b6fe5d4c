"""What is done with a sweep's best: said before hours of trials if it can't be, and never mixed up."""

import argparse
from contextlib import nullcontext

import pytest
from mlflow import MlflowClient

from pipelines import tracking
from pipelines.recipe import change_recipe, load_recipe
from tuning import search, winner
from tuning.sweep import FAILED, FINISHED, Sweep

BEST = {"adapter": "rein", "rank": 2, "score": 1.0, "checkpoint": "runs/best", "run_dir": "runs"}


def arguments(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    winner.add_arguments(parser)
    return parser.parse_args(argv)


def test_settings_of_the_retraining_are_looked_at_first():
    recipe = load_recipe("tune_token_rank_smoke")
    winner.check(arguments("--retrain-set", "train.steps=4"), recipe)
    with pytest.raises(ValueError, match=r"unknown key train\.stepz: did you mean train\.steps"):
        winner.check(arguments("--retrain-set", "train.stepz=4"), recipe)


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    """Two of its trials failed."""
    recipe = load_recipe("tune_token_rank_smoke", [f"tracking.storage={tmp_path}"])
    made = Sweep(f"{tmp_path}/sweep", recipe, "0" * 32, {})
    for rank, status, error in ((2, FINISHED, None), (4, FAILED, "MLflow was away"), (8, FAILED, None)):
        record = made.record({"adapter": "rein", "rank": rank})
        record.status, record.error = status, error
    return made


@pytest.fixture
def done(monkeypatch) -> list[str]:
    """Words for what became of the best."""
    calls = []
    monkeypatch.setattr(winner, "train", lambda *args, **settings: calls.append("retrained") or {"checkpoint": "c"})
    monkeypatch.setattr(winner.register, "register", lambda *args, **settings: calls.append("registered"))
    return calls


@pytest.mark.parametrize("asked", [["--register", "model"], ["--retrain"], ["--retrain-set", "seed=7"]])
def test_the_best_of_what_an_outage_left_is_not_used(sweep, done, asked):
    """One that was lost may have been better."""
    words = "2 of 3 trials failed .MLflow was away.: --resume .*/sweep tries them again, or register .* hand: runs/best"
    with pytest.raises(ValueError, match=words):
        winner.use(arguments(*asked), sweep, BEST)
    assert not done and winner.use(arguments(), sweep, BEST) == {}


def test_draws_that_are_no_model_are_no_loss(sweep, done):
    for record in sweep.records.values():
        record.impossible = record.status == FAILED
    winner.use(arguments("--retrain", "--register", "model"), sweep, BEST)
    assert done == ["retrained", "registered"] and sweep.lost() is None


def test_the_best_is_registered_where_the_sweep_is(sweep, monkeypatch):
    """Whatever MLFLOW_TRACKING_URI says."""
    places = []
    monkeypatch.setattr(winner.register, "register", lambda *args, **place: places.append(place))
    for offline in (False, True):
        recipe = change_recipe(sweep.recipe, [f"tracking.offline={offline}"])
        winner.use(arguments("--register", "model"), Sweep(sweep.folder, recipe, "0" * 32, {}), BEST)
    assert places == [{"storage": sweep.recipe.tracking.storage, "offline": offline} for offline in (False, True)]


def test_a_sweep_ends_in_its_own_store(monkeypatch, tmp_path):
    """Not in that of the retraining, which was the last to be configured; and also where something failed."""
    recipe = load_recipe("tune_token_rank_smoke", [f"tracking.storage={tmp_path / 'mine'}", "tracking.offline=True"])

    def use(*args: object) -> dict:
        tracking.configure(str(tmp_path / "theirs"))
        if fails:
            raise ValueError("no such checkpoint")
        return {}

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name, made in (("search", None), ("conclude", {"best": BEST})):
        monkeypatch.setattr(search, name, lambda sweep, made=made: made)
    monkeypatch.setattr(winner, "use", use)
    for fails, status in ((False, "FINISHED"), (True, "FAILED")):
        sweep = Sweep(f"{tmp_path}/sweep", recipe, tracking.create_run("sweep", recipe), {})
        with pytest.raises(ValueError, match="no such checkpoint") if fails else nullcontext():
            search._run(arguments(), sweep)
        run = MlflowClient(f"sqlite:///{tmp_path}/mine/mlflow.db").get_run(sweep.mlflow_run_id)
        assert run.info.status == status


def test_another_best_or_other_changes_are_another_run():
    """A run of the same name goes on, and is refused where it is not the same."""
    sweep = Sweep("/runs/sweep", load_recipe("tune_token_rank_smoke"), "0" * 32, {})
    best, other = ({"adapter": "rein", "token_length": 5, "rank": rank, "score": 1.0} for rank in (2, 4))
    plain = winner.run_name(sweep, best, [])
    assert plain == "sweep-retrained-rein-m5-r2" and winner.run_name(sweep, other, []) == "sweep-retrained-rein-m5-r4"
    names = [winner.run_name(sweep, best, [change]) for change in ("train.steps=14", "train.steps=16", "seed=7")]
    assert len({plain, *names}) == 4 and all(name.startswith(f"{plain}-") for name in names)
    assert names[0] == winner.run_name(sweep, best, ["train.steps=14"])
    assert plain == winner.run_name(sweep, best, ["train.log_every=3"]), "which a run that goes on may change"
