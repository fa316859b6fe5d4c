"""With every head, all that is trained gets a gradient: ranks of a distributed training wait for each."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from rein_core import build_segmentor
from rein_core.vfms import VFMS

ADAPTERS = {
    "full": {"type": "full"},
    "rein": {"type": "rein", "token_length": 5, "rank": 2},
    "rein without shared MLPs": {"type": "rein", "token_length": 5, "rank": 2, "share_mlps": False},
    "lora": {"type": "lora", "rank": 2},
    "dora": {"type": "dora", "rank": 2},
    "vpt": {"type": "vpt", "token_length": 5},
    "adaptformer": {"type": "adaptformer", "bottleneck": 4},
    "soma": {"type": "soma", "rank": 2},
    "fada": {"type": "fada", "token_length": 5, "rank": 2},
}
HEADS = ["linear", "semantic_fpn", "mask2former"]
CONVOLUTIONAL = [("rein", "convnext_atto"), ("full", "convnext_atto"), ("full", "resnet18")]


def built(tiny, head: str, **parts) -> nn.Module:
    torch.manual_seed(0)
    return build_segmentor(tiny(**parts, **({} if head == "mask2former" else {"decode_head": {"type": head}})))


def loss_of(segmentor: nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 19, (1, 64, 64), generator=generator)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label))]
    losses = segmentor.loss(torch.randn(1, 3, 64, 64, generator=generator), samples)
    return segmentor.parse_losses(losses)[0]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("adapter", "architecture"), [(name, "vit_tiny_patch16_224") for name in ADAPTERS] + CONVOLUTIONAL
)
def test_all_that_is_trained_gets_a_gradient(tiny, monkeypatch, adapter, architecture, head):
    monkeypatch.setitem(VFMS, "any", architecture)
    segmentor = built(tiny, head, adapter=ADAPTERS[adapter], vfm={"name": "any"}).train()
    loss_of(segmentor).backward()
    assert not [name for name, p in segmentor.named_parameters() if p.requires_grad and p.grad is None]
    assert any(p.requires_grad for p in segmentor.backbone.parameters())


@pytest.mark.parametrize("patch", [8, 16])
def test_a_linear_head_says_something_of_each_patch(tiny, patch):
    """Of the last level of a plain ViT, which other heads get at half its size."""
    segmentor = built(tiny, "linear", vfm={"patch_size": patch}, adapter={"type": "none"}).eval()
    with torch.inference_mode():
        levels = segmentor._extract_for_head(torch.randn(1, 3, 64, 128))
        assert segmentor.decode_head(levels).shape == (1, 19, 64 // patch, 128 // patch)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_in_training_draws_nothing_from_a_ranks_own_generator(tiny, head):
    """So that one worker with a batch of four trains what two with batches of two do."""
    segmentor = built(tiny, head).train()
    levels = segmentor._extract_for_head(torch.randn(1, 3, 64, 64))
    state = torch.get_rng_state()
    first, second = (segmentor.decode_head(levels) for _ in range(2))
    torch.testing.assert_close(second, first, atol=0, rtol=0)
    assert torch.equal(torch.get_rng_state(), state)
