"""`evaluate`: sliding-window mIoU of a model on each domain, by class, with pictures."""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import nn

from datasets.labels import CITYSCAPES, LABEL_SPACES, LabelSpace
from datasets.shards import Shards, decode
from pipelines import models, tracking
from pipelines.recipe import parse_recipe
from pipelines.report import panel
from pipelines.settings import Recipe
from pipelines.terminal import duration, say
from rein_core import predict_labels
from rein_core.metrics import ConfusionMeter

MEANS = ("mIoU", "mAcc", "aAcc", "fwIoU")
"""The scores that are one number a domain."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `evaluate`."""
    parser.add_argument("model", help="checkpoint folder, run folder, runs:/ID/model or models:/NAME@ALIAS")
    parser.add_argument("shards", nargs="+", help="shard folders or URIs; each is a domain")
    parser.add_argument("--report", metavar="DIR", help="write metrics.json, report.md and pictures there")
    parser.add_argument("--limit", type=int, help="evaluate this many evenly spread samples a domain")
    parser.add_argument("--short-edge", type=int, help="resize images to this short edge first; default: the recipe's")
    parser.add_argument("--vfm-weights", metavar="PATH", help="the VFM's weights, if they moved since training")
    parser.add_argument("--pictures", type=int, default=4, help="pictures a domain, in the report and in MLflow")
    parser.add_argument("--storage", default="runs", help="folder of the default MLflow store")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: returns {"domains": {name: {"mIoU", "IoU", "mAcc", …}}, "mean_mIoU"}, in percent."""
    tracking.configure(args.storage)
    sources = [Shards(uri) for uri in args.shards]
    segmentor, values, provenance = models.load(args.model, args.vfm_weights)
    recipe = parse_recipe(values)
    short_edge = args.short_edge or recipe.test.short_edge
    domains, drawn = {}, {}
    for name, shards in zip(domain_names(sources), sources, strict=True):
        indices = evenly_spread(len(shards), args.limit)
        meter = evaluate_shards(segmentor, shards, short_edge, _with_progress(name, indices))
        domains[name] = summarize(meter, LABEL_SPACES[shards.manifest.label_space])
        domains[name] |= {"samples": len(indices), "resolution": resolution(short_edge)}
        drawn[name] = pictures(segmentor, shards, short_edge, evenly_spread(len(shards), args.pictures))
    result = {"domains": domains, "mean_mIoU": round(float(np.mean([d["mIoU"] for d in domains.values()])), 2)}
    say(table(result))
    _track(result, drawn, recipe, provenance.get("mlflow_run_id"))
    if args.report:
        write_report(Path(args.report), args.model, result, drawn)
    return result


def evenly_spread(total: int, wanted: int | None) -> list[int]:
    """Indices of `wanted` samples spread over `total`; all of them if None."""
    count = total if wanted is None else min(total, wanted)
    return sorted({int(i) for i in np.linspace(0, total - 1, count).round()})


def domain_names(sources: list[Shards]) -> list[str]:
    """The data sets' names; with the split, then the folder, where two are the same."""
    options = [
        [s.manifest.dataset for s in sources],
        [f"{s.manifest.dataset}/{s.manifest.split}" for s in sources],
        [s.uri.rstrip("/") for s in sources],
    ]
    names = []
    for choices in zip(*options, strict=True):
        unique = (choice for choice, column in zip(choices, options, strict=True) if Counter(column)[choice] == 1)
        names.append(next(unique, choices[-1]))
    return names


def evaluate_shards(
    segmentor: nn.Module, shards: Shards, short_edge: int | None, indices: Iterable[int]
) -> ConfusionMeter:
    """Counts over these samples. Where labels are coarser than the 19 classes, predictions are collapsed to them."""
    space = LABEL_SPACES[shards.manifest.label_space]
    meter = ConfusionMeter(len(space.classes))
    for index in indices:
        image, truth = decode(shards.read(index))
        meter.update(_collapse(predict_labels(segmentor, image, short_edge), space), truth)
    return meter


def pictures(
    segmentor: nn.Module, shards: Shards, short_edge: int | None, indices: Iterable[int]
) -> dict[str, np.ndarray]:
    """image | truth | prediction of these samples by name, RGB uint8."""
    space, drawn = LABEL_SPACES[shards.manifest.label_space], {}
    for index in indices:
        sample = shards.read(index)
        image, truth = decode(sample)
        prediction = _collapse(predict_labels(segmentor, image, short_edge), space)
        drawn[sample.name.replace("/", "_")] = panel(image, truth, prediction, space)
    return drawn


def _collapse(prediction: np.ndarray, space: LabelSpace) -> np.ndarray:
    return prediction if space is CITYSCAPES else space.collapse(prediction)


def summarize(meter: ConfusionMeter, space: LabelSpace) -> dict[str, Any]:
    """All of the meter's scores, those a class by name. Classes that the truth never shows are left out."""
    return {
        name: {c: round(v, 2) for c, v in zip(space.classes, score, strict=True) if v == v}
        if isinstance(score, list)
        else round(score, 2)
        for name, score in meter.compute().items()
    }


def resolution(short_edge: int | None) -> str:
    """At what size images were tested, in words."""
    return f"short edge {short_edge}" if short_edge else "as stored"


def table(result: dict[str, Any]) -> str:
    """The scores as a Markdown table, a row a class."""
    domains = result["domains"]
    classes = list(dict.fromkeys(name for domain in domains.values() for name in domain["IoU"]))
    head = ["IoU in %", *(f"{name} ({domain['samples']}, {domain['resolution']})" for name, domain in domains.items())]
    rows = [
        [name, *(f"{d['IoU'][name]:.1f}" if name in d["IoU"] else "" for d in domains.values())] for name in classes
    ]
    rows += [[f"**{key}**", *(f"**{d[key]:.1f}**" for d in domains.values())] for key in MEANS]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_report(folder: Path, model: str, result: dict[str, Any], drawn: dict[str, dict[str, np.ndarray]]) -> None:
    """metrics.json, report.md and its pictures."""
    lines = [f"# Evaluation of {model}", "", f"Mean mIoU over domains: {result['mean_mIoU']:.2f}", "", table(result)]
    for domain, images in drawn.items():
        lines += ["", f"## {domain}"]
        for name, picture in images.items():
            file = folder / domain.replace("/", "_") / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), picture[..., ::-1])
            lines += ["", f"![{name}]({file.relative_to(folder)})"]
    (folder / "metrics.json").write_text(json.dumps(result, indent=2))
    (folder / "report.md").write_text("\n".join(lines) + "\n")


def _track(result: dict, drawn: dict[str, dict[str, np.ndarray]], recipe: Recipe, run_id: str | None) -> None:
    ours = tracking.find_run(run_id)
    run_id = run_id if ours else tracking.create_run(f"evaluate-{recipe.name}", recipe)
    tracker = tracking.Tracker(**tracking.worker_arguments(recipe, run_id))
    for domain, scores in result["domains"].items():
        tracker.metrics(flat_metrics("evaluate", domain, scores), step=0)
        for name, picture in drawn[domain].items():
            tracker.picture(picture, f"evaluate/{domain}/{name}.png")
    tracker.finish()
    if not ours:
        tracking.end_run(run_id, "FINISHED")


def flat_metrics(kind: str, domain: str, scores: dict[str, Any]) -> dict[str, float]:
    """Scores under the names they have in MLflow: kind/domain/mIoU, …/mAcc, …/aAcc, …/fwIoU and …/IoU/class."""
    values = {f"{kind}/{domain}/{key}": scores[key] for key in MEANS}
    return values | {f"{kind}/{domain}/IoU/{name}": iou for name, iou in scores["IoU"].items()}


def _with_progress(name: str, indices: list[int], say_every: float = 10.0) -> Iterable[int]:
    started = last = time.time()
    for done, index in enumerate(indices):
        if time.time() - last > say_every:
            last = time.time()
            say(f"{name}: {done}/{len(indices)}  left {duration((last - started) / done * (len(indices) - done))}")
        yield index
