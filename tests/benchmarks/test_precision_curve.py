"""Loss curves of precisions: the same steps, but for what is compared."""

import json
import sys

import pytest
import torch

from benchmarks import precision_curve, train_step

CPU = torch.device("cpu")


def test_a_curve_is_compared_with_that_of_other_points(monkeypatch, capsys):
    small = {"num_encoder_layers": 1, "num_decoder_layers": 1, "feat_channels": 32}
    monkeypatch.setattr(train_step, "HEAD", train_step.HEAD | small)
    words = "--vfm vit_tiny --size 64 --batch 1 --steps 2 --window 1 --precisions fp32 bf16 --json"
    monkeypatch.setattr(sys, "argv", ["precision_curve", *words.split()])
    precision_curve.main()
    told = json.loads(capsys.readouterr().out)
    assert set(told["relative_difference"]) == {"bf16", "other points"}
    assert all(0 < one["mean"] < 0.05 for one in told["relative_difference"].values())
    assert all(len(losses) == 2 for losses in told["smoothed"].values())


def test_points_alone_differ():
    (images, samples), (others, other_samples) = (precision_curve.batch(2, 32, CPU, 5, points) for points in (0, 7))
    assert torch.equal(images, others) and not torch.equal(images, precision_curve.batch(2, 32, CPU, 6, 0)[0])
    for one, other in zip(samples, other_samples, strict=True):
        assert torch.equal(one.gt_sem_seg.data, other.gt_sem_seg.data) and one.seed != other.seed


def test_differences_are_of_means_over_a_window():
    assert precision_curve.compare([1, 3, 4], [2, 2, 5], 2) == pytest.approx(
        {"mean": 0.125, "largest": 0.25, "signed": 0.125}
    )
