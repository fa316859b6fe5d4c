"""The same frames under each method, by the last checkpoints of the kept trials.

Photographs and labels of the real data sets may not be passed on: the page shows what models made of them, and only
the work folder gets a picture with the photograph and the truth beside.
"""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.evidence import streets
from benchmarks.evidence.results import Results
from benchmarks.evidence.studies import Arm, Study, Trial
from datasets.shards import Shards
from pipelines import models
from pipelines.report import colorize, titled
from pipelines.runs import last_checkpoint
from pipelines.scoring import Domain, Protocol


def draw(study: Study, results: Results, out: Path) -> Path | None:
    """Writes `out` with the predictions, and STUDY-frames.png in the work folder with photograph and truth too.

    Returns:
        `out`; None if no run is on this machine.
    """
    checkpoints = {arm.name: _checkpoint(study, arm, results) for arm in study.arms}
    checkpoints = {name: found for name, found in checkpoints.items() if found}
    if not checkpoints:
        return None
    domains = [_domain(results.work, name) for name in (study.held_out, *study.domains)]
    samples = [domain.sample(domain.indices[0]) for domain in domains]
    truths = [colorize(truth, domain.space) for domain, (_, _, truth) in zip(domains, samples, strict=True)]
    given = {"image": [image[..., ::-1] for _, image, _ in samples], "truth": truths}
    predictions = {name: _predictions(checkpoint, domains, samples) for name, checkpoint in checkpoints.items()}
    _write(out, predictions)
    _write(results.work / f"{study.name.lower()}-frames.png", given | predictions)
    return out


def _checkpoint(study: Study, arm: Arm, results: Results) -> str | None:
    rate = results.best_rate(study, arm)
    folder = results.work / "runs" / Trial(study, arm, rate, arm.seeds[0]).name if rate else None
    return last_checkpoint(str(folder)) if folder and folder.is_dir() else None


def _domain(work: Path, name: str) -> Domain:
    """One frame from the middle of these shards."""
    found = Shards(streets.shards(work, name))
    return Domain(name, found, [len(found) // 2])


def _predictions(checkpoint: str, domains: list[Domain], samples: list[tuple]) -> list[np.ndarray]:
    """What a checkpoint makes of each frame at its recipe's resolution, in colours, RGB uint8 [h, w, 3]."""
    segmentor, recipe = models.load(checkpoint)[:2]
    edge = recipe["test"]["short_edge"]
    tested = [replace(domain, short_edge=edge) for domain in domains]
    pairs = zip(tested, samples, strict=True)
    return [colorize(Protocol().predict(segmentor, image, d)[0], d.space) for d, (_, image, _) in pairs]


def _write(file: Path, columns: dict[str, list[np.ndarray]]) -> None:
    """A row a column of `columns`, so that many methods fit below each other."""
    rows = [np.hstack([titled(name, part) for part in _even(parts)]) for name, parts in columns.items()]
    cv2.imwrite(str(file), np.vstack(rows)[..., ::-1])


def _even(parts: list[np.ndarray]) -> list[np.ndarray]:
    """All as high as the flattest at the same width."""
    height = min(part.shape[0] / part.shape[1] for part in parts)
    return [part[: round(part.shape[1] * height)] for part in parts]
