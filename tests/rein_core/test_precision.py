"""Precisions: float16 trains as float32 does, within its rounding, and `auto` takes what the device is fast in."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from rein_core import build_segmentor
from rein_core.precision import autocast, grad_scaler, resolve

CPU = torch.device("cpu")


def losses(section: dict, precision: str, steps: int = 3) -> list[float]:
    """Of some steps of AdamW on one batch; none is left out at this loss scale."""
    torch.manual_seed(0)
    segmentor = build_segmentor(section).train()
    optimizer = torch.optim.AdamW((p for p in segmentor.parameters() if p.requires_grad), lr=1e-4)
    scaler = grad_scaler(CPU, precision)
    scaler.load_state_dict(scaler.state_dict() | {"scale": 1024.0})
    images, label = torch.randn(1, 3, 64, 64), torch.randint(0, 19, (1, 8, 8)).repeat_interleave(8, 1)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label.repeat_interleave(8, 2)))]
    found = []
    for _ in range(steps):
        torch.manual_seed(1)  # the same random points every step: only training changes the loss
        with autocast(CPU, precision):
            named = segmentor.loss(images, samples)
        loss, _ = segmentor.parse_losses(named)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        found.append(loss.item())
    assert scaler.get_scale() == (1024 if scaler.is_enabled() else 1)
    return found


@pytest.mark.parametrize(
    ("parts", "rounding"),
    [
        ({}, 2e-2),  # matches of queries, which start alike, may flip
        ({"adapter": {"type": "fada", "token_length": 10, "rank": 2}, "decode_head": {"type": "linear"}}, 1e-3),
        ({"adapter": {"type": "vpt", "token_length": 5}, "decode_head": {"type": "semantic_fpn"}}, 1e-3),
        ({"adapter": {"type": "dora"}, "decode_head": {"type": "linear"}}, 1e-3),
    ],
    ids=["rein", "fada", "vpt", "dora"],
)
def test_float16_trains_like_float32(tiny, parts, rounding):
    half, whole = losses(tiny(**parts), "fp16"), losses(tiny(**parts), "fp32")
    assert half == pytest.approx(whole, rel=rounding) and half != whole
    assert half[-1] < half[0]


def test_queries_are_made_in_float32(tiny):
    """Max, mean and last over the layers differ little at first: half precision would tell them apart wrongly."""
    adapter = build_segmentor(tiny()).backbone.reins
    expected = adapter.queries()
    with autocast(CPU, "bf16"):
        assert torch.equal(adapter.queries(), expected)


def test_what_autocast_does():
    weight = torch.randn(3, 3)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        with autocast(CPU, precision):
            assert (weight @ weight).dtype == dtype
        assert grad_scaler(CPU, precision).is_enabled() == (precision == "fp16")


@pytest.mark.parametrize("has_amx", [True, False])
def test_auto_is_bf16_only_where_that_is_fast(monkeypatch, has_amx):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    assert resolve(CPU, "auto") == ("bf16" if has_amx else "fp32")
    assert resolve(torch.device("cuda"), "auto") == "bf16"
    assert resolve(CPU, "fp16") == "fp16"
