"""Curves of several MLflow runs side by side, and how far the others' losses are from the first's.

`python -m benchmarks.curves undisturbed=STORE:RUN_ID killed=STORE:RUN_ID --out curves.png`; STORE is an MLflow URI or
the folder that was `tracking.storage`.
"""

import argparse
import json
import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from mlflow import MlflowClient

Curves = dict[str, dict[int, float]]


def main(argv: list[str] | None = None) -> None:
    """Draws and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=STORE:RUN_ID")
    parser.add_argument("--metrics", nargs="+", default=["loss", "source_mIoU", "mIoU"])
    parser.add_argument("--out", required=True, help="a PNG")
    args = parser.parse_args(argv)
    runs = logged({name: read(place, args.metrics) for name, place in (run.split("=", 1) for run in args.runs)})
    draw(runs, args.out)
    print(json.dumps(compare(runs), indent=1))


def read(place: str, metrics: list[str]) -> Curves:
    """Values by step of each metric of the run at STORE:RUN_ID."""
    store, _, run_id = place.rpartition(":")
    client = MlflowClient(store if ":" in store else f"sqlite:///{Path(store).resolve()}/mlflow.db")
    return {name: {m.step: m.value for m in client.get_metric_history(run_id, name)} for name in metrics}


def logged(runs: dict[str, Curves]) -> dict[str, Curves]:
    """Without the metrics that no run has.

    Raises:
        ValueError: only some of the runs have one, or none has any.
    """
    metrics = [metric for metric in next(iter(runs.values())) if any(curves[metric] for curves in runs.values())]
    for metric in metrics:
        if missing := [name for name, curves in runs.items() if not curves[metric]]:
            raise ValueError(f"{', '.join(missing)}: no {metric}, which other runs have: leave it out of --metrics")
    if not metrics:
        raise ValueError(f"none of the runs has any of --metrics: {', '.join(next(iter(runs.values())))}")
    return {name: {metric: curves[metric] for metric in metrics} for name, curves in runs.items()}


def compare(runs: dict[str, Curves]) -> dict[str, dict]:
    """For each metric the last value of every run and, of the others, how they differ from the first.

    Returns:
        by metric and run `last`, `points`, and of the others `equal` points and the `largest_difference`, relative: NaN
        where one of the runs is NaN at any step.
    """
    (first, reference), *others = runs.items()
    table = {}
    for metric, wanted in reference.items():
        table[metric] = {first: {"last": wanted[max(wanted)], "points": len(wanted)}}
        for name, curves in others:
            table[metric][name] = _differences(wanted, curves[metric])
    return table


def _differences(wanted: dict[int, float], found: dict[int, float]) -> dict[str, float]:
    if wanted.keys() != found.keys():
        raise ValueError(f"steps that only one of the runs has: {sorted(wanted.keys() ^ found.keys())[:10]} …")
    far = [_difference(value, found[step]) for step, value in wanted.items()]
    largest = math.nan if any(map(math.isnan, far)) else max(far)  # `max` alone may pass over a NaN
    equal = sum(found[step] == value for step, value in wanted.items())
    return {"last": found[max(found)], "points": len(found), "equal": equal, "largest_difference": largest}


def _difference(wanted: float, found: float) -> float:
    """As a share of the first; infinite if that is zero and the other is not."""
    if wanted == found:
        return 0.0
    return abs(found / wanted - 1) if wanted else abs(found) * math.inf


def draw(runs: dict[str, Curves], out: str) -> None:
    """A panel a metric, a line a run; the later ones are dashed, as they may lie on the first."""
    metrics = list(next(iter(runs.values())))
    figure, panels = plt.subplots(1, len(metrics), figsize=(4.5 * len(metrics), 3.2), squeeze=False)
    for metric, panel in zip(metrics, panels[0], strict=True):
        for number, (name, curves) in enumerate(runs.items()):
            panel.plot(*zip(*sorted(curves[metric].items()), strict=True), label=name, lw=2.5 - number,
                       ls="--" if number else "-", marker="o" if len(curves[metric]) < 20 else None)  # fmt: skip
        panel.set(title=metric, xlabel="step")
        panel.grid(alpha=0.3)
    panels[0][0].legend()
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
