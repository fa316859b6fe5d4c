"""Boundary IoU: a square by hand, and against distances measured pixel by pixel."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_cdt

from rein_core.boundary import BoundaryMeter


def square(size: int, start: int, stop: int) -> np.ndarray:
    labels = np.zeros((size, size), np.uint8)
    labels[start:stop, start:stop] = 1
    return labels


def test_a_square_that_is_one_pixel_too_large():
    """Rings one pixel wide: of a 4×4 and of a 6×6 square around it, which share nothing; the inside doesn't count."""
    meter = BoundaryMeter(2, width=0.02)
    meter.update(square(40, 17, 23), square(40, 18, 22))
    assert meter.counts[1].tolist() == [0, 12 + 20, 12]
    meter = BoundaryMeter(2, width=0.02)
    meter.update(square(40, 18, 22), square(40, 18, 22))
    assert meter.compute() == [100, 100]


def test_against_distances():
    rng = np.random.default_rng(0)
    truth, prediction = (np.kron(rng.integers(0, 3, (6, 8)), np.ones((10, 10), int)).astype(np.uint8) for _ in range(2))
    truth[:5] = 255
    meter = BoundaryMeter(3)
    meter.update(prediction, truth)
    for index in range(3):
        rings = [_ring((labels == index) & (truth != 255), steps=2) for labels in (truth, prediction)]
        assert meter.counts[index].tolist() == [
            (rings[0] & rings[1]).sum(),
            (rings[0] | rings[1]).sum(),
            rings[0].sum(),
        ]


def _ring(mask: np.ndarray, steps: int) -> np.ndarray:
    outside = distance_transform_cdt(np.pad(mask, 1), metric="chessboard")[1:-1, 1:-1]
    return mask & (outside <= steps)


@pytest.mark.parametrize("guess", [0, 1, 2, 255])
def test_what_is_predicted_where_nothing_is_labelled_makes_no_difference(guess):
    """Void cuts through a square and through the rest of the image; all labelled pixels are right."""
    truth = square(40, 10, 30)
    truth[:, 18:24] = 255
    meter = BoundaryMeter(3)
    meter.update(np.where(truth == 255, guess, truth).astype(np.uint8), truth)
    assert meter.compute()[:2] == [100, 100] and meter.counts[2].tolist() == [0, 0, 0]
    assert meter.counts[1].tolist() == [20 * 14 - 18 * 6 - 18 * 4] * 3  # rings one pixel wide of 20×8 and 20×6


def test_a_class_that_is_not_in_the_truth_has_no_score():
    meter = BoundaryMeter(3)
    meter.update(np.full((9, 9), 2, np.uint8), np.zeros((9, 9), np.uint8))
    scores = meter.compute()
    assert scores[0] == 0 and np.isnan(scores[1]) and np.isnan(scores[2])
    assert meter.counts[2].tolist() == [0, 9 * 9 - 7 * 7, 0]
