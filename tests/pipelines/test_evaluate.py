"""Scores: coarser labels, names of domains, and what is drawn."""

import argparse

import numpy as np
import pytest

from datasets.labels import CITYSCAPES, IDD_LITE, IGNORE
from datasets.shards import Shards
from pipelines.evaluate import domain_names, evaluate_shards, evenly_spread, summarize
from pipelines.report import colorize, legend, overlay, panel
from rein_core.metrics import ConfusionMeter


def test_predictions_are_collapsed_to_groups():
    train_ids = np.array([[0, 1, 9, 11, 12], [13, 18, 3, 7, 2], [8, 10, 255, 255, 255]], np.uint8)
    groups = [[0, 1, 1, 2, 2], [3, 3, 4, 4, 5], [5, 6, 255, 255, 255]]
    assert IDD_LITE.collapse(train_ids).tolist() == groups
    assert sorted(i for member in IDD_LITE.members for i in member) == list(range(19))


def test_scores_of_a_perfect_segmentor(streets, monkeypatch):
    """With the truth as prediction every class that occurs scores 100, and no other is mentioned."""
    from datasets.shards import decode
    from pipelines import evaluate

    shards = Shards(streets.camera)
    truths = [decode(shards.read(i))[1] for i in range(len(shards))]
    answers = iter(np.where(truth == IGNORE, 0, truth).astype(np.uint8) for truth in truths)
    monkeypatch.setattr(evaluate, "predict_labels", lambda *_: next(answers))
    scores = summarize(evaluate_shards(None, shards, None, range(len(shards))), CITYSCAPES)
    present = {CITYSCAPES.classes[i] for i in np.unique(truths) if i != IGNORE}
    assert scores["mIoU"] == scores["aAcc"] == 100 and set(scores["IoU"]) == present


def test_summary_counts_by_hand():
    meter = ConfusionMeter(19)
    meter.update(np.array([[0, 0, 2, 2]], np.uint8), np.array([[0, 2, 2, 255]], np.uint8))
    scores = summarize(meter, CITYSCAPES)
    assert scores == {
        "mIoU": 50.0, "IoU": {"road": 50.0, "building": 50.0},
        "mAcc": 75.0, "Acc": {"road": 100.0, "building": 50.0}, "aAcc": 66.67, "fwIoU": 50.0
    }  # fmt: skip


def test_names_of_domains_never_collide():
    def shards(dataset, split, uri):
        return argparse.Namespace(manifest=argparse.Namespace(dataset=dataset, split=split), uri=uri)

    apart = [shards("a", "val", "/1"), shards("b", "val", "/2")]
    assert domain_names(apart) == ["a", "b"]
    assert domain_names([*apart, shards("a", "train", "/3")]) == ["a/val", "b", "a/train"]
    assert domain_names([*apart, shards("a", "val", "/3/")]) == ["/1", "b", "/3"]


@pytest.mark.parametrize(
    ("total", "wanted", "expected"), [(5, None, [0, 1, 2, 3, 4]), (101, 3, [0, 50, 100]), (2, 9, [0, 1])]
)
def test_samples_are_spread_evenly(total, wanted, expected):
    assert evenly_spread(total, wanted) == expected


@pytest.mark.parametrize("size", [(64, 128), (360, 480), (700, 300)])
def test_pictures_show_the_classes_in_their_colours(size):
    labels = np.zeros(size, np.uint8)
    labels[:, size[1] // 2 :] = 13
    image = np.full((*size, 3), 100, np.uint8)
    assert colorize(labels, CITYSCAPES)[0, -1].tolist() == [0, 0, 142]
    drawn = panel(image, labels, labels, CITYSCAPES)
    assert drawn.shape[1] == 3 * 480 and drawn.dtype == np.uint8
    key = legend(CITYSCAPES, np.array([0, 13]), 480)
    assert (key == [0, 0, 142]).all(axis=2).any() and not (key == [220, 20, 60]).all(axis=2).any()
    ignored = np.full(size, IGNORE, np.uint8)
    assert np.array_equal(overlay(image, ignored, CITYSCAPES), image)
