"""The page that puts several models side by side, with intervals of their differences to the first."""

import math
from typing import Any

from pipelines.html.figures import known
from pipelines.html.templates import render

_CLEAR = 4.0
"""A difference of IoU, in points, that is coloured half."""

_ENDS = ("low", "high", "difference")


def comparison_page(comparison: dict) -> str:
    """The whole HTML page.

    Args:
        comparison: {"models": [names, the first is the baseline], "domains": {domain: {"resolution", "samples",
            "mIoU": [one a model, or None], "difference": [None, {"difference", "low", "high"} or None …], "IoU":
            {class: [one a model, or None]}}}, "mean": {"mIoU": […], "difference": […]}, "confidence": 0.95,
            "draws": 1000, "warnings": [lines, if any]}. Scores and differences in percent; None, or NaN, where no
            labelled pixel tells.
    """
    groups = [_group(name, values, comparison["models"]) for name, values in comparison["domains"].items()]
    mean = _group("Mean over domains", comparison["mean"], comparison["models"])
    reach = _reach([*groups, mean])
    for group in (*groups, mean):
        for row in group["rows"]:
            row["interval"] = row["difference"] and _interval(row["difference"], reach)
    return render(
        "comparison.html",
        title="Comparison of models",
        models=comparison["models"],
        groups=groups,
        mean=mean,
        classes=[_class_table(name, values) for name, values in comparison["domains"].items()],
        reach=reach,
        confidence=f"{100 * comparison['confidence']:g} %",
        draws=comparison["draws"],
        warnings=comparison.get("warnings", []),
    )


def _group(name: str, values: dict[str, Any], models: list[str]) -> dict[str, Any]:
    scores, differences = [*map(known, values["mIoU"])], [*map(_told, values["difference"])]
    best = max((score for score in scores if score is not None), default=math.nan)
    rows = [
        {"model": model, "place": place, "miou": score, "best": score == best, "difference": difference}
        | {"verdict": difference and verdict(difference)}
        for place, (model, score, difference) in enumerate(zip(models, scores, differences, strict=True))
    ]
    return {"name": name, "resolution": values.get("resolution"), "samples": values.get("samples"), "rows": rows}


def _told(difference: dict[str, float] | None) -> dict[str, float] | None:
    """The difference, or None where it or an end of its interval is no number."""
    return difference if difference and all(math.isfinite(difference[end]) for end in _ENDS) else None


def verdict(difference: dict[str, float]) -> str:
    """What an interval says: "better" or "worse" if it lies on one side of zero, else "not told apart"."""
    if difference["low"] > 0:
        return "better"
    return "worse" if difference["high"] < 0 else "not told apart"


def _reach(groups: list[dict[str, Any]]) -> float:
    """How far the axis of differences goes from zero: a round number that all intervals stay within."""
    ends = [abs(row["difference"][end]) for g in groups for row in g["rows"] if row["difference"] for end in _ENDS]
    furthest = max(ends, default=0.0) or 1.0
    power = 10 ** math.floor(math.log10(furthest))
    return next(step * power for step in (1, 2, 3, 4, 5, 6, 8, 10) if furthest <= step * power * (1 + 1e-9))


def _interval(difference: dict[str, float], reach: float) -> dict[str, float]:
    """Where the interval and its middle lie on the axis, in percent of its width."""
    low, middle, high = (50 + 50 * difference[end] / reach for end in ("low", "difference", "high"))
    return {"left": low, "width": high - low, "middle": middle}


def _class_table(name: str, values: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for label, scores in values["IoU"].items():
        base, *others = map(known, scores)
        if base is not None or any(other is not None for other in others):
            rows.append({"name": label, "base": base, "cells": [_difference_cell(other, base) for other in others]})
    return {"name": name, "resolution": values["resolution"], "rows": rows}


def _difference_cell(score: float | None, base: float | None) -> dict[str, Any]:
    if score is None or base is None:
        return {"score": score, "difference": None, "heat": 0.0, "better": False}
    difference = score - base
    heat = 1 - 0.5 ** (abs(difference) / _CLEAR)
    return {
        "score": score,
        "difference": difference,
        "heat": round(100 * heat, 1),
        "better": difference > 0,
    }
