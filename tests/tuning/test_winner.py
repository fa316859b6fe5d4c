"""What is done with a sweep's best: said before hours of trials if it can't be, and never mixed up."""

import argparse

import pytest

from pipelines.recipe import load_recipe
from tuning import winner


def arguments(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    winner.add_arguments(parser)
    return parser.parse_args(argv)


def test_settings_of_the_retraining_are_looked_at_first():
    recipe = load_recipe("tune_token_rank_smoke")
    winner.check(arguments("--retrain-set", "train.steps=4"), recipe)
    with pytest.raises(ValueError, match=r"unknown key train\.stepz: did you mean train\.steps"):
        winner.check(arguments("--retrain-set", "train.stepz=4"), recipe)
