"""Numbers of an evaluation as the parts of a page: bars, heat maps, a reliability diagram, samples."""

import math
from typing import Any

import numpy as np

from datasets.labels import IGNORE, LabelSpace
from pipelines.html import embed
from pipelines.html.contents import Domain, Picture
from rein_core.calibration import CalibrationMeter

_WHYS = ("worst", "best", "random")
_NAMED_CONFUSIONS, _NAMED_CLASSES = 6, 4
_THUMBNAIL = 480


def colour(rgb: np.ndarray) -> str:
    """RGB [3] as CSS writes it."""
    red, green, blue = (int(value) for value in rgb)
    return f"rgb({red} {green} {blue})"


def legend(space: LabelSpace) -> list[dict[str, str]]:
    """Each class's name and colour."""
    return [{"name": name, "colour": colour(rgb)} for name, rgb in zip(space.classes, space.palette, strict=True)]


def known(value: float | None) -> float | None:
    """A score, or None where it is missing or NaN."""
    return None if value is None or math.isnan(value) else float(value)


def class_bars(domain: Domain) -> list[dict[str, Any]]:
    """A bar a class in the label space's order: IoU, Acc and boundary IoU (None if absent), share of true pixels."""
    pixels = domain.confusion.sum(axis=1)
    shares = 100 * pixels / max(1, pixels.sum())
    rows = []
    for entry, share in zip(legend(domain.space), shares, strict=True):
        scores = {
            key: known(domain.scores.get(score, {}).get(entry["name"]))
            for key, score in (("iou", "IoU"), ("acc", "Acc"), ("boundary", "boundary_IoU"))
        }
        rows.append(entry | scores | {"share": float(share)})
    return rows


def confusion_cells(domain: Domain) -> list[dict[str, Any]]:
    """The confusion heat map's rows: shares of a true class's pixels, with what colours and explains each cell."""
    names, rows = domain.space.classes, []
    for true, counts in enumerate(domain.confusion):
        total = int(counts.sum())
        cells = [
            _confusion_cell(names[true], names[guess], int(count), total, true == guess)
            for guess, count in enumerate(counts)
        ]
        rows.append({"name": names[true], "absent": total == 0, "cells": cells})
    return rows


def _confusion_cell(true: str, guess: str, count: int, total: int, hit: bool) -> dict[str, Any]:
    if total == 0:
        return {"hit": hit, "text": "", "heat": 0.0, "title": f"{true} is not in the truth"}
    share = count / total
    heat = share if hit else math.sqrt(share)  # most errors are a few percent, which a linear scale would not show
    said = f"{true} is right in" if hit else f"{true} taken for {guess} in"
    return {
        "hit": hit,
        "text": f"{100 * share:.0f}" if hit or share >= 0.005 else "",
        "heat": round(100 * heat, 1),
        "title": f"{said} {100 * share:.2f} % of its pixels ({count:,} of {total:,})",
    }


def largest_confusions(domain: Domain) -> list[dict[str, Any]]:
    """The errors with most pixels: true and predicted class, share of the true class and of all errors."""
    wrong = domain.confusion.astype(np.int64).copy()
    np.fill_diagonal(wrong, 0)
    rows = domain.confusion.sum(axis=1)
    found = []
    for flat in np.argsort(wrong, axis=None)[::-1][:_NAMED_CONFUSIONS]:
        true, guess = np.unravel_index(flat, wrong.shape)
        if wrong[true, guess]:
            share, part = wrong[true, guess] / rows[true], wrong[true, guess] / wrong.sum()
            names = {"true": domain.space.classes[true], "guess": domain.space.classes[guess]}
            found.append(names | {"share": 100 * float(share), "part": 100 * float(part)})
    return found


def reliability(calibration: np.ndarray) -> dict[str, Any]:
    """A reliability diagram from [bins, 3] (pixels, sum of confidences, hits): bars and the ECE, in percent."""
    pixels, confidences, hits = np.asarray(calibration, np.float64).T
    total, most, width = max(1.0, pixels.sum()), max(1.0, pixels.max()), 100 / len(pixels)
    bars = []
    for place in np.flatnonzero(pixels):
        said, right = 100 * confidences[place] / pixels[place], 100 * hits[place] / pixels[place]
        part = {"share": 100 * pixels[place] / total, "of_most": pixels[place] / most}
        bars.append({"left": place * width, "width": width, "said": said, "right": right} | part)
    meter = CalibrationMeter(len(calibration))
    meter.counts = np.asarray(calibration, np.float64)
    return {"bars": bars, "ece": known(meter.compute())}


def robustness_rows(kinds: dict[str, list[float | None]], clean: float) -> list[dict[str, Any]]:
    """The heat map of corruptions: a row a kind with a cell a severity, coloured by the part of the clean mIoU left."""
    rows = []
    for kind, scores in kinds.items():
        values = [known(score) for score in scores]
        ran = [value for value in values if value is not None]
        cells = [score_cell(value, clean) for value in values]
        rows.append({"name": kind, "cells": cells, "mean": score_cell(sum(ran) / len(ran) if ran else None, clean)})
    return rows


def score_cell(value: float | None, best: float = 100.0) -> dict[str, Any]:
    """A score's text (None: not measured) and how strongly it is coloured."""
    value = known(value)
    heat = 0.0 if value is None else min(1.0, max(0.0, value / best if best else 0.0))
    return {"text": None if value is None else f"{value:.1f}", "heat": round(100 * heat, 1)}


def thumbnail(domain: Domain) -> dict[str, str] | None:
    """A small photograph and its prediction: the first of the random samples, else of all."""
    pictures = [p for p in domain.pictures if p.why == "random"] or domain.pictures
    if not pictures:
        return None
    image = embed.photograph(embed.fit(pictures[0].image, _THUMBNAIL))
    prediction = embed.fit(pictures[0].prediction, _THUMBNAIL, labels=True)
    return {"image": image, "prediction": embed.label_map(prediction, domain.space.palette)}


def sample_groups(domain: Domain) -> list[dict[str, Any]]:
    """The pictures by why they were chosen, worst first; empty groups are left out."""
    groups = [(why, [p for p in domain.pictures if p.why == why]) for why in _WHYS]
    return [{"why": why, "samples": [_sample(p, domain.space) for p in chosen]} for why, chosen in groups if chosen]


def _sample(picture: Picture, space: LabelSpace) -> dict[str, Any]:
    image = embed.fit(picture.image)
    truth, prediction = (embed.fit(labels, labels=True) for labels in (picture.truth, picture.prediction))
    found, judged = embed.errors(truth, prediction), picture.truth != IGNORE
    wrong = 100 * float((picture.truth != picture.prediction)[judged].mean()) if judged.any() else None
    return {
        "name": picture.name,
        "miou": known(picture.miou),
        "wrong": wrong,
        "width": image.shape[1],
        "height": image.shape[0],
        "image": embed.photograph(image),
        "truth": embed.label_map(truth, space.palette),
        "truth_says": _main_classes(truth, space),
        "prediction": embed.label_map(prediction, space.palette),
        "prediction_says": _main_classes(prediction, space),
        "errors": embed.error_map(found),
    }


def _main_classes(labels: np.ndarray, space: LabelSpace) -> str:
    """The largest classes with their shares, in words: what a label map says to who can't see it."""
    counts = np.bincount(labels.ravel(), minlength=256)[: len(space.classes)]
    largest = [i for i in np.argsort(counts)[::-1][:_NAMED_CLASSES] if counts[i]]
    return ", ".join(f"{space.classes[i]} {100 * counts[i] / labels.size:.0f} %" for i in largest)
