"""The measurement of sweeps: made-up rounds give what can be worked out by hand, and trials differ only in rank."""

import json

import pytest

from benchmarks import sweep
from pipelines.recipe import load_recipe
from tuning import search
from tuning.space import Space


def test_shares():
    loop = {"seconds": 100.0, "training": 80.0}
    tune = {"trials": [50.0] * 4, "places": 2}
    rounds = [{"loop": loop, "tune": tune | {"seconds": s}} for s in (105.0, 110.0, 120.0)]
    told = sweep.report(rounds)
    assert told["over_trials"] == 0.1
    assert (told["overhead"], told["over_training"], told["ratio"]) == (0.1, 0.375, 0.909)


@pytest.mark.parametrize(
    ("changes", "nodes", "places"),
    [
        ([], [{"CPU": 2.0}], 2),
        ([], [{"CPU": 16.0}], 4),
        (["train.num_workers=2"], [{"CPU": 2.0}, {"CPU": 4.0}], 3),
        ([], [{"CPU": 16.0, "GPU": 1.0}], 1),
        (["tune.gpus_per_trial=0.5"], [{"CPU": 16.0, "GPU": 1.0}], 2),
        (["tune.max_concurrent=1"], [{"CPU": 16.0}], 1),
    ],
)
def test_places_are_those_that_tune_has(changes, nodes, places):
    """Not a trial a core: workers may be several, or on GPUs."""
    assert sweep.places(load_recipe("demo", changes), 4, nodes) == places
    assert search._concurrent(load_recipe("demo", changes), 4, nodes) == places


def test_trials_cost_the_same(tmp_path):
    args = sweep.parser().parse_args(["--trials", "3", "--shards", "s", "--steps", "7"])
    asked = load_recipe(args.recipe, sweep.changes(args, str(tmp_path)))
    assert [(draw["token_length"], draw["rank"]) for draw in Space(asked).grid()] == [(40, 4), (40, 5), (40, 6)]
    assert asked.train.steps == 7 and asked.train.validate_every is None and asked.tune.max_concurrent is None


def test_the_folder_of_runs_is_made(tmp_path, monkeypatch, capsys):
    """With shards of one's own too, which nothing is drawn for."""
    work, seen = tmp_path / "not" / "there", []

    def measured(module: str, *options: str) -> dict:
        seen.append((options[options.index("--work") + 1], work.is_dir()))
        return {"seconds": 1.0, "training": 1.0, "trials": [0.5], "places": 1}

    monkeypatch.setattr(sweep.common, "in_a_process", measured)
    sweep.main(["--shards", "s", "--work", str(work), "--json"])
    assert seen == [(str(work), True)] * 2 and json.loads(capsys.readouterr().out)["ratio"] == 1.0
