"""Pictures of a sweep: heat map of token length × rank, parallel coordinates, score against cost with its front."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from tuning.results import COSTS, SETTINGS, Row, pareto

_DPI = 110
_WORDS = {"trained_parameters": "trained parameters", "step_seconds": "seconds a step", "token_length": "token length"}


def draw(table: list[Row], metric: str, folder: Path) -> list[Path]:
    """Writes those pictures that the trials allow into a folder, as PNGs, and returns their paths.

    Args:
        table: of `tuning.results.rows`.
        metric: the score's name.
    """
    scored = [row for row in table if row["score"] is not None]
    pictures = {"heat_map": heat_map, "parallel_coordinates": parallel_coordinates, "pareto": score_against_cost}
    written = []
    for name, picture in pictures.items():
        figure = picture(scored, metric)
        if figure is not None:
            written.append(folder / f"{name}.png")
            figure.savefig(written[-1], dpi=_DPI, bbox_inches="tight")
            plt.close(figure)
    return written


def heat_map(table: list[Row], metric: str) -> plt.Figure | None:
    """The best score of each token length and rank; None if no trial has both."""
    both = [row for row in table if row.get("token_length") is not None and row.get("rank") is not None]
    if not both:
        return None
    lengths, ranks = (sorted({row[name] for row in both}) for name in ("token_length", "rank"))
    cells = np.full((len(ranks), len(lengths)), np.nan)
    for row in both:
        place = ranks.index(row["rank"]), lengths.index(row["token_length"])
        cells[place] = np.nanmax([cells[place], row["score"]])
    figure, axes = plt.subplots(figsize=(1.2 + 0.9 * len(lengths), 1.2 + 0.6 * len(ranks)))
    shown = axes.imshow(cells, aspect="auto", origin="lower", cmap="viridis")
    middle = (np.nanmin(cells) + np.nanmax(cells)) / 2
    for (y, x), score in np.ndenumerate(cells):
        tried, colour = not np.isnan(score), "black" if score > middle or np.isnan(score) else "white"
        axes.text(x, y, f"{score:.1f}" if tried else "–", ha="center", va="center", color=colour)
    axes.set(xticks=range(len(lengths)), xticklabels=lengths, yticks=range(len(ranks)), yticklabels=ranks,
             xlabel="token length", ylabel="rank", title=f"best {metric}")  # fmt: skip
    figure.colorbar(shown, label=metric)
    return figure


def parallel_coordinates(table: list[Row], metric: str) -> plt.Figure | None:
    """A line a trial through its settings and its score, coloured by the score; None if nothing varied."""
    names = [name for name in SETTINGS if len({str(row.get(name)) for row in table}) > 1]
    if not names:
        return None
    figure, axes = plt.subplots(figsize=(2 + 1.8 * len(names), 4))
    places = [_places([row.get(name) for row in table]) for name in names]
    scores = np.array([row["score"] for row in table])
    heights = (scores - scores.min()) / (np.ptp(scores) or 1)
    for i in np.argsort(scores):
        line = [places[k][0][i] for k in range(len(names))] + [heights[i]]
        axes.plot(range(len(line)), line, color=plt.cm.viridis(heights[i]), lw=1.5, alpha=0.85, marker="o", ms=4)
    for k, (_, ticks) in enumerate(places):
        _axis(axes, k, ticks)
    _axis(axes, len(names), [(0.0, f"{scores.min():.1f}"), (1.0, f"{scores.max():.1f}")])
    axes.set(xticks=range(len(names) + 1), xticklabels=[*(_WORDS.get(name, name) for name in names), metric],
             yticks=[], xlim=(-0.4, len(names) + 0.5), ylim=(-0.06, 1.06))  # fmt: skip
    axes.spines[:].set_visible(False)
    return figure


def _places(values: list[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights from 0 to 1 of values of one setting, and the marks of its axis: each value is as far from the next."""
    different = sorted(set(map(_key, values)))
    height = {key: i / max(1, len(different) - 1) for i, key in enumerate(different)}
    step = max(1, len(different) // 8)
    return [height[_key(value)] for value in values], [(height[key], key[2]) for key in different[::step]]


def _key(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, then words; what a trial doesn't have comes first."""
    if isinstance(value, int | float):
        return True, float(value), f"{value:.3g}" if isinstance(value, float) else str(value)
    return value is not None, 0.0, "–" if value is None else str(value)


def _axis(axes: Axes, x: int, ticks: list[tuple[float, str]]) -> None:
    axes.axvline(x, color="black", lw=0.8)
    for height, words in ticks:
        axes.text(x + 0.04, height, words, fontsize=8, va="bottom",
                  bbox={"color": "white", "alpha": 0.7, "pad": 0.5})  # fmt: skip


def score_against_cost(table: list[Row], metric: str) -> plt.Figure | None:
    """A panel a cost, a point a trial, and the line of those that nobody beats; None without any cost."""
    costs = [cost for cost in COSTS if any(row[cost] is not None for row in table)]
    if not costs:
        return None
    figure, panels = plt.subplots(1, len(costs), figsize=(5 * len(costs), 3.6), squeeze=False, sharey=True)
    for cost, axes in zip(costs, panels[0], strict=True):
        shown = [row for row in table if row[cost] is not None]
        for kind in sorted({row["adapter"] for row in shown}):
            points = [(row[cost], row["score"]) for row in shown if row["adapter"] == kind]
            axes.scatter(*zip(*points, strict=True), label=kind, alpha=0.8, s=25)
        front = [(row[cost], row["score"]) for row in pareto(table, cost)]
        axes.step(*zip(*front, strict=True), where="post", color="black", lw=1, label="Pareto front")
        axes.set(xlabel=_WORDS[cost])
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel(metric)
    panels[0][0].legend(fontsize=8)
    figure.tight_layout()
    return figure
