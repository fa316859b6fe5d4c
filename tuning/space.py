"""The search space: which draws `tune.*` allows, and how a draw changes a recipe.

A draw is a dict such as {"adapter": "rein", "token_length": 100, "rank": 16, "lr": 1e-4}. It holds only what its kind
of adapter knows, so two draws are equal where the models are.
"""

import inspect
import itertools
import math
import random
from collections.abc import Callable
from typing import Any

from pipelines.recipe import parse_recipe
from pipelines.settings import Recipe
from rein_core.adapters import ADAPTERS

Draw = dict[str, Any]
Choose = Callable[[str, list], Any]
_SCALES = {"rein": "scale_init", "fada": "scale_init", "adaptformer": "scale", "lora": "alpha", "dora": "alpha"}
_PLACES = 12


class Space:
    """All draws of a recipe's `tune` settings.

    Raises:
        ValueError: an adapter kind that doesn't exist, a setting that none of them has, or a model without adapter.
    """

    def __init__(self, recipe: Recipe):
        if isinstance(recipe.model, dict):
            raise ValueError("recipe: model is one of mmseg's own, without an adapter to search: use a recipe with one")
        self.settings = recipe.tune
        self.kinds = recipe.tune.adapter or [recipe.model.adapter.get("type", "none")]
        self._check()

    def _check(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in ADAPTERS]
        if unknown:
            raise ValueError(f"recipe: tune.adapter={unknown[0]!r}: choose among {', '.join(ADAPTERS)}")
        for name in ("scale", "layers"):
            if getattr(self.settings, name) and not any(name in self.choices(kind) for kind in self.kinds):
                raise ValueError(f"recipe: tune.{name}: none of {', '.join(self.kinds)} has such a setting: leave it")
        low, high = self.settings.lr_range or (1, 2)
        if not 0 < low < high or (self.settings.lr and self.settings.lr_range):
            raise ValueError("recipe: tune.lr_range: give least and largest, both above 0, and no tune.lr")
        if self.settings.lr_range and self.settings.sampler == "grid":
            raise ValueError("recipe: tune.lr_range: a grid needs single values: tune.lr=[1e-4, 3e-4]")

    def choices(self, kind: str) -> dict[str, list]:
        """Values of each setting that this kind of adapter has."""
        known = inspect.signature(ADAPTERS[kind]).parameters
        settings = self.settings
        choices: dict[str, list] = {name: getattr(settings, name) for name in ("token_length", "rank") if name in known}
        if settings.layers and "layers" in known:
            choices["layers"] = settings.layers
        if settings.scale and kind in _SCALES:
            choices["scale"] = settings.scale
        return choices | ({"lr": settings.lr} if settings.lr else {})

    def draw(self, choose: Choose, uniform: Callable[[str, float, float], float]) -> Draw:
        """One draw.

        Args:
            choose: takes one of a list, given a name that is unique for the kind and setting.
            uniform: takes a number between two, evenly in the logarithm.
        """
        kind = choose("adapter", self.kinds)
        chosen = {name: choose(f"{kind}.{name}", values) for name, values in self.choices(kind).items()}
        if self.settings.lr_range:
            chosen["lr"] = uniform("lr", *self.settings.lr_range)
        return {"adapter": kind} | chosen

    def grid(self) -> list[Draw]:
        """All draws, without learning rates of a range."""
        draws = []
        for kind in self.kinds:
            choices = self.choices(kind)
            for values in itertools.product(*choices.values()):
                draws.append({"adapter": kind} | dict(zip(choices, values, strict=True)))
        return list({label(draw): draw for draw in draws}.values())

    def random(self, count: int, seed: int) -> list[Draw]:
        """Different draws, as many as asked for or as there are."""
        numbers = random.Random(seed)
        if not self.settings.lr_range:
            grid = self.grid()
            numbers.shuffle(grid)
            return grid[:count]  # more draws begin with the same ones
        return [self.draw(*by_chance(numbers)) for _ in range(count)]


def by_chance(numbers: random.Random) -> tuple[Choose, Callable[[str, float, float], float]]:
    """Arguments of `Space.draw`: all values are as likely."""
    return (
        lambda _, values: numbers.choice(values),
        lambda _, low, high: math.exp(numbers.uniform(math.log(low), math.log(high))),
    )


def label(draw: Draw) -> str:
    """A draw as a part of file names, another one for each: `rein-m100-r16-lr0.0001`."""
    letters = {"token_length": "m", "rank": "r", "lr": "lr", "scale": "s", "layers": "layers"}
    parts = [f"{letters[name]}{_short(draw[name])}" for name in letters if name in draw]
    return "-".join([draw.get("adapter", "own"), *parts])


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ".".join(map(str, value))
    return "all" if value is None else f"{value:.{_PLACES}g}"


def apply(recipe: Recipe, draw: Draw) -> Recipe:
    """The recipe with one draw from the space. Raises ValueError if it isn't valid then."""
    values = recipe.model_dump(mode="json")
    adapter = values["model"]["adapter"]
    kind = draw.get("adapter", adapter.get("type", "none"))
    if kind != adapter.get("type", "none"):
        adapter = {"type": kind}  # another kind has other settings
    adapter = adapter | {name: draw[name] for name in ("token_length", "rank", "layers") if name in draw}
    if "scale" in draw:
        factor = adapter.get("rank", 8) if _SCALES[kind] == "alpha" else 1
        adapter[_SCALES[kind]] = draw["scale"] * factor
    values["model"]["adapter"] = adapter
    if "lr" in draw:
        values["optimizer"]["lr"] = draw["lr"]
    return parse_recipe(values)
