"""The meter against mmseg's own IoUMetric over several images, and by hand."""

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from rein_core.metrics import ConfusionMeter

CLASSES = ["road", "sidewalk", "building", "wall", "fence"]


def scored(predicted: int, true: int) -> tuple[dict, dict, dict]:
    """Scores of random images, of which so many classes are predicted and so many are true: ours, mmseg's, and these
    by class."""
    rng = np.random.default_rng(0)
    images = [(rng.integers(0, predicted, (20, 30)), rng.integers(0, true, (20, 30))) for _ in range(4)]
    metric = IoUMetric(iou_metrics=["mIoU"])
    metric.dataset_meta = {"classes": CLASSES}
    meter = ConfusionMeter(5)
    for prediction, truth in images:
        truth[:3] = 255
        meter.update(prediction, truth)
        metric.process(
            {},
            [{"pred_sem_seg": {"data": torch.tensor(prediction)}, "gt_sem_seg": {"data": torch.tensor(truth)}}],
        )
    by_class = IoUMetric.total_area_to_metrics(*(sum(areas) for areas in zip(*metric.results, strict=True)))
    return meter.compute(), metric.compute_metrics(metric.results), by_class


def test_scores_are_mmsegs():
    ours, theirs, by_class = scored(predicted=5, true=5)
    for score in ("mIoU", "mAcc", "aAcc"):
        assert ours[score] == pytest.approx(theirs[score], abs=0.01)
    assert ours["IoU"] == pytest.approx(100 * by_class["IoU"]) and ours["Acc"] == pytest.approx(100 * by_class["Acc"])


def test_mmseg_counts_a_class_that_is_only_predicted_as_a_zero():
    """The fourth class of five; the fifth is nowhere, and in neither mean. Ours has no score for either."""
    ours, theirs, by_class = scored(predicted=4, true=3)
    assert ours["IoU"][:3] == pytest.approx(100 * by_class["IoU"][:3]) and np.isnan(ours["IoU"][3:]).all()
    assert by_class["IoU"][3] == 0 and np.isnan(by_class["IoU"][4])
    assert theirs["mIoU"] == pytest.approx(ours["mIoU"] * 3 / 4, abs=0.01) and ours["mIoU"] > 10
    assert theirs["mAcc"] == pytest.approx(ours["mAcc"], abs=0.01)


def test_a_class_that_the_truth_never_shows_has_no_score():
    meter = ConfusionMeter(3)
    meter.update(np.array([[0, 2, 1]]), np.array([[0, 1, 1]]))
    scores = meter.compute()
    assert scores["IoU"][:2] == [100, 50] and np.isnan(scores["IoU"][2]) and scores["mIoU"] == 75


def test_frequent_classes_weigh_more():
    meter = ConfusionMeter(3)
    meter.update(np.array([[0, 0, 0, 0]]), np.array([[0, 0, 0, 1]]))
    assert meter.counts.tolist() == [[3, 0, 0], [1, 0, 0], [0, 0, 0]]
    scores = meter.compute()
    assert scores["fwIoU"] == pytest.approx(75 * 3 / 4) and scores["mAcc"] == 50 and scores["aAcc"] == 75


@pytest.mark.parametrize(
    ("prediction", "words"), [([[0, 3]], "ids up to 3 where there are 3 classes"), ([[0]], r"\(1, 1\) for .* \(1, 2\)")]
)
def test_what_is_no_prediction_is_refused(prediction, words):
    with pytest.raises(ValueError, match=words):
        ConfusionMeter(3).update(np.array(prediction), np.array([[0, 1]]))
