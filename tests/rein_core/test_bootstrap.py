"""The paired bootstrap: against a loop over resamples, on models that differ and on models that don't."""

import numpy as np
import pytest
import torch

from rein_core.bootstrap import mean_interval, paired_bootstrap
from rein_core.metrics import ConfusionMeter

RNG = np.random.default_rng(0)


def confusions(images: int, hits: int) -> np.ndarray:
    """Random counts of three classes, with so many more on the diagonal; class 2 is in half of the images."""
    counts = RNG.integers(0, 20, (images, 3, 3)) + hits * np.eye(3, dtype=np.int64)
    counts[: images // 2, 2] = 0
    return counts


def miou(counts: np.ndarray) -> float:
    meter = ConfusionMeter(3)
    meter.counts += torch.from_numpy(counts.sum(axis=0))
    return meter.compute()["mIoU"]


def test_against_a_loop():
    a, b = confusions(30, 20), confusions(30, 30)
    drawn = []
    for _ in range(1000):
        places = RNG.integers(0, 30, 30)
        drawn.append(miou(b[places]) - miou(a[places]))
    found = paired_bootstrap(a, b)
    assert found.difference == pytest.approx(miou(b) - miou(a))
    assert found[1:] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.6)
    assert found == paired_bootstrap(a, b) and found.low > 0


def test_the_same_model_twice_differs_by_nothing():
    a = confusions(30, 20)
    assert paired_bootstrap(a, a) == (0, 0, 0)


def test_pairing_makes_it_narrow():
    """Both models find the same images hard; a small difference in every image is still sure."""
    hard = confusions(40, 5) * RNG.integers(1, 9, (40, 1, 1))
    found = paired_bootstrap(hard, hard + np.eye(3, dtype=np.int64) * hard.sum(axis=(1, 2), keepdims=True) // 50)
    assert 0 < found.low < found.high < 5


def test_the_mean_over_domains():
    pairs = [(confusions(20, 20), confusions(20, 30)), (confusions(10, 30), confusions(10, 20))]
    found = mean_interval(pairs)
    assert found.difference == pytest.approx(np.mean([miou(b) - miou(a) for a, b in pairs]))
    assert found.low < found.difference < found.high


def test_draws_without_a_labelled_pixel_are_left_out():
    """Of ten images two have labels: a tenth of all draws shows none of them."""
    a, b = np.zeros((2, 10, 3, 3), np.int64)
    a[:2], b[:2] = confusions(2, 20), confusions(2, 40)
    found = paired_bootstrap(a, b)
    assert found.low <= found.difference <= found.high and found.low > 0
    assert all(np.isnan(paired_bootstrap(a[2:], b[2:])))


def test_other_images_are_refused():
    with pytest.raises(ValueError, match="3 images for one model and 2"):
        paired_bootstrap(confusions(3, 1), confusions(2, 1))


def test_one_image_has_no_interval():
    with pytest.raises(ValueError, match="1 images for one model and 1 for the other: .* at least two"):
        paired_bootstrap(confusions(1, 1), confusions(1, 2))
