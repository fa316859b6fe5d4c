"""Pictures of a sweep: heat map of token length × rank, parallel coordinates, score against cost with its front."""

import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from tuning.results import COSTS, SETTINGS, Row, pareto

_DPI = 110
_MARKS = 8
_WORDS = {"trained_parameters": "trained parameters", "step_seconds": "seconds a step", "token_length": "token length"}


def draw(table: list[Row], metric: str, folder: Path) -> list[Path]:
    """Writes those pictures that the trials allow into a folder, as PNGs, and returns their paths.

    Args:
        table: of `tuning.results.rows`.
        metric: the score's name.
    """
    scored = [row for row in table if row["score"] is not None]
    pictures = {"heat_map": heat_map, "parallel_coordinates": parallel_coordinates, "pareto": score_against_cost}
    return save({name: picture(scored, metric) for name, picture in pictures.items()}, folder)


def save(figures: dict[str, plt.Figure | None], folder: Path) -> list[Path]:
    """Writes those figures that there are into a folder, as PNGs of their names, and returns their paths."""
    written = []
    for name, figure in figures.items():
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
    values = {name: [_value(row, name) for row in table] for name in SETTINGS}
    values = {name: column for name, column in values.items() if len(set(column)) > 1}
    if not values:
        return None
    scores = np.array([row["score"] for row in table])
    heights = (scores - scores.min()) / (np.ptp(scores) or 1)
    places = [_in_logarithm(column) if _continuous(column) else _by_order(column) for column in values.values()]
    places.append((heights.tolist(), [(0.0, f"{scores.min():.1f}"), (1.0, f"{scores.max():.1f}")]))
    figure, axes = plt.subplots(figsize=(1.5 + 1.9 * len(values), 4))
    for i in np.argsort(scores):
        line = [column[i] for column, _ in places]
        axes.plot(range(len(line)), line, color=plt.cm.viridis(heights[i]), lw=1.5, alpha=0.85, marker="o", ms=4)
    for x, (_, ticks) in enumerate(places):
        _axis(axes, x, ticks)
    names = [*(_WORDS.get(name, name) for name in values), metric]
    axes.set(xticks=range(len(names)), xticklabels=names, yticks=[], xlim=(-0.2, len(values) + 0.4), ylim=(-0.06, 1.1))
    axes.spines[:].set_visible(False)
    return figure


def _value(row: Row, name: str) -> float | str:
    """A number, or words for what is none."""
    value = row.get(name, "–")
    if value is None:
        return "all"
    return f"{value[0]}…{value[-1]}: {len(value)}" if isinstance(value, list) else value


def _continuous(values: list[float | str]) -> bool:
    return len(set(values)) > _MARKS and all(isinstance(value, int | float) and value > 0 for value in values)


def _in_logarithm(values: list[float]) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights from 0 to 1, and the marks of the axis."""
    low, high = math.log(min(values)), math.log(max(values))
    marks = [(height, f"{math.exp(low + height * (high - low)):.1e}") for height in (0.0, 0.5, 1.0)]
    return [(math.log(value) - low) / (high - low) for value in values], marks


def _by_order(values: list[float | str]) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights and marks where each value is as far from the next: words first, then numbers."""
    different = sorted(set(values), key=lambda value: (0, 0, value) if isinstance(value, str) else (1, value, ""))
    height = {value: i / max(1, len(different) - 1) for i, value in enumerate(different)}
    marks = [(height[value], value if isinstance(value, str) else f"{value:g}") for value in different]
    return [height[value] for value in values], marks[:: max(1, len(marks) // _MARKS)]


def _axis(axes: Axes, x: int, ticks: list[tuple[float, str]]) -> None:
    axes.axvline(x, ymax=0.95, color="black", lw=0.8)
    for height, words in ticks:
        box = {"color": "white", "alpha": 0.7, "pad": 0.5}
        axes.text(x + 0.04, height, words, fontsize=8, va="bottom", bbox=box)


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
        if cost == "trained_parameters":
            axes.xaxis.set_major_formatter(lambda number, _: f"{number / 1e6:.3g} M")
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel(metric)
    figure.tight_layout()
    marks, words = panels[0][0].get_legend_handles_labels()
    figure.legend(marks, words, ncols=len(words), loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
    return figure
