"""The meter against mmseg's own IoUMetric over several images."""

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from rein_core.metrics import IoUMeter


def test_scores_are_mmsegs():
    rng = np.random.default_rng(0)
    images = [(rng.integers(0, 5, (20, 30)), rng.integers(0, 5, (20, 30))) for _ in range(4)]
    metric = IoUMetric()
    metric.dataset_meta = {"classes": ["road", "sidewalk", "building", "wall", "fence"]}
    meter = IoUMeter(5)
    for prediction, truth in images:
        truth[:3] = 255
        meter.update(prediction, truth)
        metric.process(
            {},
            [{"pred_sem_seg": {"data": torch.tensor(prediction)}, "gt_sem_seg": {"data": torch.tensor(truth)}}],
        )
    theirs, ours = metric.compute_metrics(metric.results), meter.compute()
    assert ours["mIoU"] == pytest.approx(theirs["mIoU"], abs=0.01)
    assert ours["aAcc"] == pytest.approx(theirs["aAcc"], abs=0.01)


def test_a_class_that_the_truth_never_shows_has_no_score():
    meter = IoUMeter(3)
    meter.update(np.array([[0, 2, 1]]), np.array([[0, 1, 1]]))
    scores = meter.compute()
    assert scores["IoU"][:2] == [100, 50] and np.isnan(scores["IoU"][2]) and scores["mIoU"] == 75
