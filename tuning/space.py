"""The search space: what `tune` draws, and how a draw changes a recipe."""

from typing import Any

from ray import tune

from pipelines.recipe import parse_recipe
from pipelines.settings import Recipe


def search_space(recipe: Recipe) -> dict[str, Any]:
    """Token length, rank and, if the recipe lists any, learning rates (Wei et al., CVPR 2024, tables 8 and 9)."""
    settings = recipe.tune
    space = {"token_length": tune.choice(settings.token_length), "rank": tune.choice(settings.rank)}
    return space | ({"lr": tune.choice(settings.lr)} if settings.lr else {})


def apply(recipe: Recipe, draw: dict[str, Any]) -> Recipe:
    """The recipe with one draw from the space."""
    values = recipe.model_dump(mode="json")
    values["model"]["adapter"] |= {key: draw[key] for key in ("token_length", "rank")}
    if "lr" in draw:
        values["optimizer"]["lr"] = draw["lr"]
    return parse_recipe(values)
