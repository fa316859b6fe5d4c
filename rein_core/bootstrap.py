"""Whether one model is better than another on the same images, or only by the luck of which images there were."""

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A difference of mIoU in percent, and the ends of its confidence interval."""

    difference: float
    low: float
    high: float


def paired_bootstrap(
    confusions_a: np.ndarray, confusions_b: np.ndarray, draws: int = 1000, seed: int = 0, confidence: float = 0.95
) -> Interval:
    """mIoU of b minus mIoU of a, with a percentile interval (Efron and Tibshirani, 1993, chapter 13).

    Args:
        confusions_a, confusions_b: of the same images, int64 [images, classes, classes], true by predicted.
        draws: resamples of the images, with replacement, the same for both.

    Raises:
        ValueError: there are fewer than two images, whose draws would all be alike, or not the same number of them.
    """
    return mean_interval([(confusions_a, confusions_b)], draws, seed, confidence)


def mean_interval(
    pairs: list[tuple[np.ndarray, np.ndarray]], draws: int = 1000, seed: int = 0, confidence: float = 0.95
) -> Interval:
    """As `paired_bootstrap`, of the mean over domains, whose images are drawn independently.

    Draws without any labelled pixel in a domain have no mIoU and are left out; where there are no others, all is NaN.

    Args:
        pairs: each domain's confusions of both models.
    """
    for a, b in pairs:
        if len(a) != len(b) or len(a) < 2:
            raise ValueError(
                f"{len(a)} images for one model and {len(b)} for the other: both need the same, at least two"
            )
    rng = np.random.default_rng(seed)
    drawn = np.mean([_drawn_differences(a, b, draws, rng) for a, b in pairs], axis=0)
    difference = np.mean([_miou(b.sum(axis=0)) - _miou(a.sum(axis=0)) for a, b in pairs])
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(difference), float(low), float(high))


def _drawn_differences(a: np.ndarray, b: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """[draws]: how often each image is drawn, times its counts, is a resample's sum."""
    weights = rng.multinomial(len(a), np.full(len(a), 1 / len(a)), size=draws).astype(np.float64)
    sums = [(weights @ each.reshape(len(each), -1)).reshape(draws, *each.shape[1:]) for each in (a, b)]
    return _miou(sums[1]) - _miou(sums[0])


def _miou(counts: np.ndarray) -> np.ndarray:
    """Mean IoU in percent over the classes that the truth shows, of counts [..., classes, classes]."""
    hit = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    true, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    iou = np.where(true > 0, 100 * hit / np.maximum(true + predicted - hit, 1), np.nan)
    return np.nanmean(iou, axis=-1)
