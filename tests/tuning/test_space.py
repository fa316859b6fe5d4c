"""Draws: which there are, that each is another model, and what each does to a recipe."""

import random

import pytest

from pipelines.recipe import load_recipe, parse_recipe
from rein_core import build_segmentor
from tuning.space import Space, apply, by_chance, label


def recipe(**tune):
    return load_recipe("demo", [f"tune.{name}={value!r}" for name, value in tune.items()])


def test_a_draw_changes_the_recipe():
    drawn = apply(load_recipe("demo"), {"token_length": 7, "rank": 3, "lr": 0.5})
    assert drawn.model.adapter["token_length"] == 7 and drawn.model.adapter["rank"] == 3 and drawn.optimizer.lr == 0.5


def test_the_papers_grid():
    grid = Space(load_recipe("tune_token_rank")).grid()
    assert len(grid) == 30
    assert {(draw["token_length"], draw["rank"]) for draw in grid} == {
        (m, r) for m in (50, 75, 100, 125, 150, 200) for r in (4, 8, 16, 32, 64)
    }


def test_kinds_have_only_what_they_know():
    kinds = ["none", "rein", "lora", "vpt", "adaptformer"]
    grid = Space(recipe(adapter=kinds, token_length=[5, 7], rank=[2, 4], scale=[0.1, 1.0])).grid()
    settings = {kind: [draw.keys() - {"adapter"} for draw in grid if draw["adapter"] == kind] for kind in kinds}
    assert settings["none"] == [set()], "one draw, whatever the token lengths"
    assert settings["rein"] == [{"token_length", "rank", "scale"}] * 8
    assert settings["lora"] == [{"rank", "scale"}] * 4
    assert settings["vpt"] == [{"token_length"}] * 2 and settings["adaptformer"] == [{"scale"}] * 2
    assert len({label(draw) for draw in grid}) == len(grid)


def test_equal_values_are_drawn_once():
    assert len(Space(recipe(token_length=[5, 5], rank=[2, 4, 2])).grid()) == 2


@pytest.mark.parametrize("kind", ["none", "rein", "lora", "dora", "soma", "vpt", "adaptformer", "fada"])
def test_every_draw_is_a_model(kind):
    layers = {"layers": [None, [1, 3]]} if kind == "rein" else {}
    scale = {"scale": [0.5]} if kind in ("rein", "fada", "lora", "dora", "adaptformer") else {}
    drawn = recipe(adapter=[kind], token_length=[5], rank=[2], **layers, **scale)
    for draw in Space(drawn).grid():
        changed = apply(drawn, draw)
        reins = build_segmentor(changed.model_section()).backbone.reins
        if kind == "rein":
            assert reins.scale.item() == 0.5 and reins.layers == (draw["layers"] or list(range(12)))
        if kind == "lora":
            assert reins.alpha / reins.rank == 0.5


def test_random_draws_differ_and_more_begin_alike():
    space = Space(recipe(token_length=[1, 2, 3], rank=[1, 2, 3]))
    few, many, all_there_are = (space.random(count, seed=1) for count in (3, 6, 100))
    assert many[:3] == few and len(all_there_are) == 9 == len({label(draw) for draw in all_there_are})
    ranged = Space(recipe(lr_range=(1e-4, 1e-2))).random(20, seed=1)
    assert all(1e-4 <= draw["lr"] <= 1e-2 for draw in ranged) and len({draw["lr"] for draw in ranged}) == 20


def test_rates_of_a_range_are_as_likely_in_each_decade():
    space = Space(recipe(lr_range=(1e-4, 1e-2)))
    rates = [space.draw(*by_chance(random.Random(seed)))["lr"] for seed in range(400)]
    assert 150 < sum(rate < 1e-3 for rate in rates) < 250


@pytest.mark.parametrize(
    "tune, words",
    [
        ({"adapter": ["rain"]}, "choose among none, full, rein"),
        ({"adapter": ["none", "vpt"], "layers": [[1]]}, "none of none, vpt has such a setting"),
        ({"lr_range": (1e-2, 1e-4)}, "least and largest"),
        ({"lr_range": (1e-4, 1e-2), "lr": [1e-3]}, "no tune.lr"),
        ({"lr": [1e-3, 0.0]}, r"tune\.lr\.1=0"),
        ({"lr_range": (1e-4, 1e-2), "sampler": "grid"}, "a grid needs single values"),
    ],
)
def test_what_can_not_be_searched_is_refused(tune, words):
    with pytest.raises(ValueError, match=words):
        Space(recipe(**tune))


def test_models_of_mmsegs_own_have_no_adapter():
    with pytest.raises(ValueError, match="without an adapter"):
        Space(parse_recipe({"model": {"type": "EncoderDecoder"}}))
