"""`load_authors` against what the authors' own code computed, recorded for two small models."""

import json

import pytest
import torch
from mmengine.structures import PixelData
from safetensors.torch import load_file

from rein_core import load_authors


@pytest.fixture(scope="module", params=["lora_tokens", "full_tokens"])
def golden(shared, request):
    folder = shared("golden")
    record = json.loads((folder / f"{request.param}.json").read_text())
    weights = load_file(folder / f"{request.param}.weights.safetensors")
    return record, weights, load_file(folder / f"{request.param}.io.safetensors")


@pytest.fixture(scope="module")
def segmentor(golden):
    return load_authors(golden[0]["model"], golden[1])


def close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)


def test_features_queries_and_predictions(golden, segmentor):
    record = golden[2]
    with torch.no_grad():
        features, queries = segmentor.extract_feat(record["input.image"])
        cls, masks = segmentor.decode_head((features, queries), None)
    for i, level in enumerate(features):
        close(level, record[f"backbone.feature.{i}"])
    close(queries, record["backbone.queries"])
    for i, (classes, mask) in enumerate(zip(cls, masks, strict=True)):
        close(classes, record[f"head.cls.{i}"])
        close(mask, record[f"head.mask.{i}"])


def test_whole_and_sliding_logits(golden, segmentor):
    record = golden[2]
    with torch.no_grad():
        segmentor.test_cfg["mode"] = "whole"
        whole = segmentor.inference(record["input.image"], [{"img_shape": (64, 64), "ori_shape": (64, 64)}] * 2)
        segmentor.test_cfg["mode"] = "slide"
        meta = {"img_shape": (96, 176), "ori_shape": (96, 176)}
        slide = segmentor.inference(record["slide.image"], [meta])
    close(whole, record["whole.logits"])
    close(slide, record["slide.logits"])


def test_gradients_of_the_adapter(golden, segmentor):
    record = golden[2]
    segmentor.zero_grad()
    cls, masks = segmentor.decode_head(segmentor.extract_feat(record["input.image"]), None)
    scalar = sum((c**2).mean() for c in cls) + sum(m.tanh().mean() for m in masks)
    scalar.backward()
    close(scalar.detach(), record["grad.scalar"].reshape(()))
    for name, parameter in segmentor.backbone.reins.named_parameters():
        expected = record[f"grad.backbone.reins.{name}"]
        assert (parameter.grad - expected).norm() <= 1e-3 * expected.norm(), name


def test_losses(golden, segmentor):
    """Each term's mean over draws of its random points, within 1 % of the authors' mean."""
    from mmseg.structures import SegDataSample

    record, _, io = golden
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label.long())) for label in io["loss.gt"]]
    torch.manual_seed(0)
    with torch.no_grad():
        features = segmentor.extract_feat(io["input.image"])
        draws = [segmentor.decode_head.loss(features, samples, None) for _ in range(100)]
    for name, (mean, _) in record["loss_mean_std_over_300_draws"].items():
        ours = torch.stack([draw[name] for draw in draws]).mean().item()
        assert abs(ours / mean - 1) < 0.01, (name, ours, mean)


def test_nothing_loads_half(golden):
    record, weights, _ = golden
    broken = dict(weights)
    del broken["decode_head.cls_embed.bias"]
    broken["surplus"] = torch.zeros(1)
    broken["backbone.reins.scale"] = torch.zeros(2)
    with pytest.raises(ValueError) as caught:
        load_authors(record["model"], broken)
    for part in ("1 missing: decode_head.cls_embed.bias", "1 left over: surplus", "backbone.reins.scale (2,) for ()"):
        assert part in str(caught.value)
