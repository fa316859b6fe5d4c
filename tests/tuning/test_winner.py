"""What is done with a sweep's best: said before hours of trials if it can't be, and never mixed up."""

import argparse

import pytest

from pipelines.recipe import load_recipe
from tuning import winner
from tuning.sweep import Sweep


def arguments(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    winner.add_arguments(parser)
    return parser.parse_args(argv)


def test_settings_of_the_retraining_are_looked_at_first():
    recipe = load_recipe("tune_token_rank_smoke")
    winner.check(arguments("--retrain-set", "train.steps=4"), recipe)
    with pytest.raises(ValueError, match=r"unknown key train\.stepz: did you mean train\.steps"):
        winner.check(arguments("--retrain-set", "train.stepz=4"), recipe)


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
