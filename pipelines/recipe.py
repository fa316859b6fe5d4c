"""A recipe: one experiment as an mmengine config file, checked against `pipelines.settings`."""

import ast
import difflib
import typing
from pathlib import Path
from typing import Any

from mmengine.config import Config
from pydantic import ValidationError

from pipelines.model_settings import check_test_cfg
from pipelines.settings import Recipe, Settings

RECIPES = Path(__file__).parent / "recipes"
_SMOKE = "_smoke"


def load_recipe(path: str, overrides: list[str] | None = None) -> Recipe:
    """Reads a recipe file (a path, or the name of one in pipelines/recipes) and applies `key=value` overrides.

    NAME_smoke, where there is no such file, is recipe NAME made small by pipelines/recipes/_smoke.py.

    Raises:
        ValueError: an unknown key (with the nearest valid one), a wrong value (with the reason), or a file that is no
            recipe.
        FileNotFoundError: no such recipe.
    """
    return _merged(_config(path), overrides or [])


def change_recipe(recipe: Recipe, overrides: list[str]) -> Recipe:
    """A recipe with `key=value` overrides. Raises ValueError as `load_recipe` does."""
    return _merged(Config(recipe.model_dump(mode="json")), overrides)


def _merged(config: Config, overrides: list[str]) -> Recipe:
    changes = dict(_override(item) for item in overrides)
    try:
        for part in ("adapter", "decode_head"):
            _start_anew(config, part, _kind(changes, part))
        config.merge_from_dict(changes)
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(
            f"--set {' --set '.join(overrides)}: what is before a dot must be a section of the recipe ({error})"
        ) from error
    return parse_recipe(config.to_dict())


def _kind(changes: dict[str, Any], part: str) -> str | None:
    """Which kind of adapter or head the overrides ask for, alone or with its settings."""
    whole = changes.get(f"model.{part}")
    return changes.get(f"model.{part}.type") or (whole.get("type") if isinstance(whole, dict) else None)


def _start_anew(config: Config, part: str, kind: str | None) -> None:
    """Another kind of adapter or head has other settings: it begins with its own defaults."""
    if kind and "model" in config and config.model.get(part, {}).get("type") != kind:
        config.model[part] = {"type": kind}


def parse_recipe(values: dict[str, Any]) -> Recipe:
    """Checks a recipe that is already a dict, such as a checkpoint's. Raises ValueError as `load_recipe` does."""
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise ValueError("; ".join(map(_explain, error.errors()))) from None
    return _check(recipe)


def _config(path: str) -> Config:
    if file := _find(path):
        return _read(file)
    if whole := _find(path.removesuffix(_SMOKE)):
        return _smaller(_read(whole), Path(path).name)
    known = ", ".join(sorted(file.stem for file in RECIPES.glob("[!_]*.py")))
    raise FileNotFoundError(f"recipe {path!r} is neither a file nor one of the recipes here: {known}")


def _find(path: str) -> Path | None:
    candidates = (Path(path), RECIPES / path, RECIPES / f"{path}.py")
    return next((file for file in candidates if file.is_file()), None)


def _read(file: Path) -> Config:
    try:
        return Config.fromfile(str(file), lazy_import=False)
    except Exception as error:  # a recipe is a program, which may raise anything
        raise ValueError(f"recipe {file}: correct it: {type(error).__name__}: {error}") from error


def _smaller(config: Config, name: str) -> Config:
    """The same in small, at one resolution; a learning rate that is warmed up still is, for a few steps."""
    small = _read(RECIPES / f"{_SMOKE}.py").to_dict() | {"name": name}
    adapter = config.get("model", {}).get("adapter", {})
    if adapter.get("type", "rein") != "rein":  # which may have none of Rein's settings
        small["model"]["adapter"] = {key: value for key, value in small["model"]["adapter"].items() if key in adapter}
    config.merge_from_dict(small)
    config.test.short_edge_of = {}
    if config.get("optimizer", {}).get("warmup_steps"):
        config.optimizer.warmup_steps = config.train.steps // 3
    return config


def _override(item: str) -> tuple[str, Any]:
    key, separator, value = item.partition("=")
    if not separator:
        raise ValueError(f"--set {item}: write key=value, for example --set train.steps=200")
    parsed = _literal(value)
    return key, "none" if key == "model.adapter.type" and parsed is None else parsed  # that is an adapter's name


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "none": None, "null": None}.get(text.lower(), text)


def _explain(problem: dict) -> str:
    keys = [str(key) for key in problem["loc"] if key != "vfm_model"]
    name = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(name, known_keys(), n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known there: {', '.join(_siblings(name))}"
        return f"recipe: unknown key {name}: {hint}"
    if problem["type"] == "value_error":  # our own, which says all that may be said of the input
        return f"recipe: {name}: {problem['ctx']['error']}"
    return f"recipe: {name}={problem['input']!r}: {problem['msg'].lower()}"


def _siblings(name: str) -> list[str]:
    parent = name.rpartition(".")[0]
    return [key for key in known_keys() if key.rpartition(".")[0] == parent]


def known_keys(settings: type[Settings] = Recipe, prefix: str = "") -> list[str]:
    """All dotted keys that a recipe may set."""
    keys = []
    for name, field in settings.model_fields.items():
        keys.append(prefix + name)
        for part in _parts(field.annotation):
            keys += known_keys(part, f"{prefix}{name}.")
    return keys


def _parts(annotation: Any) -> list[type[Settings]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Settings) else []
    return [part for option in typing.get_args(annotation) for part in _parts(option)]


def _check(recipe: Recipe) -> Recipe:
    train, weights = recipe.train, recipe.data.weights
    if isinstance(recipe.model, dict):
        _check_own_test_cfg(recipe.model.get("test_cfg"))
    if weights is not None and (len(weights) != len(recipe.data.train) or min(weights) <= 0):
        raise ValueError(
            f"recipe: data.weights={weights}: give one number above 0 for each of the {len(recipe.data.train)} "
            "folders of data.train"
        )
    if train.min_workers:
        _check_elastic(recipe)
    elif train.batch_size % (train.num_workers * train.accumulate):
        raise ValueError(
            f"recipe: train.batch_size={train.batch_size} does not divide by train.num_workers={train.num_workers}"
            + (f" times train.accumulate={train.accumulate}" if train.accumulate > 1 else "")
        )
    return recipe


def _check_own_test_cfg(values: Any) -> None:
    """Of a model of mmseg's own, which may have none."""
    if values is not None and not isinstance(values, dict):
        raise ValueError(f"recipe: model.test_cfg={values!r}: give a dict such as {{'mode': 'whole'}}")
    try:
        check_test_cfg({"mode": "whole"} if values is None else values)
    except ValueError as error:
        raise ValueError(f"recipe: model.test_cfg: {error}") from None


def _check_elastic(recipe: Recipe) -> None:
    """Ranks may then have unequal shares of a batch, but not parts of a sample."""
    train = recipe.train
    sizes = range(train.min_workers, train.num_workers + 1)
    if not sizes or train.num_workers > train.batch_size:
        raise ValueError(
            f"recipe: train.min_workers={train.min_workers}, train.num_workers={train.num_workers}, "
            f"train.batch_size={train.batch_size}: each must be at least the one before"
        )
    if train.accumulate > 1 and any(train.batch_size % (size * train.accumulate) for size in sizes):
        raise ValueError(
            f"recipe: train.batch_size={train.batch_size} does not divide by train.accumulate={train.accumulate} times "
            f"each of {train.min_workers} to {train.num_workers} workers"
        )
