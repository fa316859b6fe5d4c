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
    """Writes `out` with the predictions, a row an arm; with photograph and truth STUDY-frames.png in the work folder.

    Rows are kept beside `out` in `frames`, by trial, for arms whose runs are on another machine.

    Returns:
        `out`; None if no run is on this machine, and no row is kept.
    """
    trials = {arm.name: _first_kept(study, arm, results) for arm in study.arms}
    rows = {name: out.parent / "frames" / f"{trial.name}.png" for name, trial in trials.items() if trial}
    checkpoints = {name: _checkpoint(trials[name], results.work) for name in rows}
    here = {name: checkpoint for name, checkpoint in checkpoints.items() if checkpoint}
    given = _draw_rows(study, results.work, here, rows) if here else []
    kept = [cv2.imread(str(file)) for file in rows.values() if file.is_file()]
    if not kept:
        return None
    cv2.imwrite(str(out), np.vstack(kept))
    if given:
        cv2.imwrite(str(results.work / f"{study.name.lower()}-frames.png"), np.vstack(given + kept))
    return out


def _first_kept(study: Study, arm: Arm, results: Results) -> Trial | None:
    rate = results.best_rate(study, arm)
    return Trial(study, arm, rate, arm.seeds[0]) if rate else None


def _checkpoint(trial: Trial, work: Path) -> str | None:
    folder = work / "runs" / trial.name
    return last_checkpoint(str(folder)) if folder.is_dir() else None


def _draw_rows(study: Study, work: Path, checkpoints: dict[str, str], files: dict[str, Path]) -> list[np.ndarray]:
    """Writes the row of each checkpoint; returns those of photographs and truth, BGR uint8 [h, w, 3]."""
    domains = [_domain(work, name) for name in (study.held_out, *study.domains)]
    samples = [domain.sample(domain.indices[0]) for domain in domains]
    truths = [colorize(truth, domain.space) for domain, (_, _, truth) in zip(domains, samples, strict=True)]
    for name, checkpoint in checkpoints.items():
        files[name].parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(files[name]), _row(name, _predictions(checkpoint, domains, samples)))
    return [_row("image", [image[..., ::-1] for _, image, _ in samples]), _row("truth", truths)]


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


def _row(name: str, parts: list[np.ndarray]) -> np.ndarray:
    """RGB uint8 pictures beside each other, each below `name`: BGR uint8 [h, w, 3]."""
    return np.hstack([titled(name, part) for part in _even(parts)])[..., ::-1]


def _even(parts: list[np.ndarray]) -> list[np.ndarray]:
    """All as high as the flattest at the same width."""
    height = min(part.shape[0] / part.shape[1] for part in parts)
    return [part[: round(part.shape[1] * height)] for part in parts]
