"""Expected calibration error: by hand, and against a loop over pixels."""

import numpy as np
import pytest

from rein_core.calibration import CalibrationMeter


def test_by_hand():
    """Two pixels at 0.9, one right; one at 0.2, wrong; one ignored."""
    meter = CalibrationMeter(bins=10)
    meter.update(np.array([[0.9, 0.9, 0.2, 0.5]]), np.array([[1, 1, 1, 1]]), np.array([[1, 0, 0, 255]]))
    assert meter.compute() == pytest.approx(100 * (2 * abs(0.9 - 0.5) + abs(0.2 - 0)) / 3)


def test_against_a_loop_and_summed_over_images():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(size=(2, 20, 30))
    prediction, truth = rng.integers(0, 3, (2, 2, 20, 30))
    meters = [CalibrationMeter() for _ in range(2)]
    for each, *maps in zip(meters, confidence, prediction, truth, strict=True):
        each.update(*maps)
    meters[0].counts += meters[1].counts
    gap = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        gap += inside.sum() * abs(confidence[inside].mean() - (prediction == truth)[inside].mean())
    assert meters[0].compute() == pytest.approx(100 * gap / confidence.size)


def test_a_model_that_is_as_right_as_it_is_sure_has_no_error():
    right = np.arange(100).reshape(1, 100) < 70
    meter = CalibrationMeter()
    meter.update(np.full((1, 100), 0.7), right.astype(int), np.ones((1, 100), int))
    assert meter.compute() == pytest.approx(0) and np.isnan(CalibrationMeter().compute())
