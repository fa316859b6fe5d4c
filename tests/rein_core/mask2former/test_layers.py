"""What the blocks do in place against torch's own, and in which memory gradients come."""

import copy

import pytest
import torch
from torch import nn

from rein_core.mask2former.layers import ConvNorm, FeedForward
from rein_core.mask2former.products import MaskProducts


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_feed_forward_is_torchs(precision):
    """Values and all gradients, twice through the same graph, and nothing but these changes."""
    torch.manual_seed(0)
    block = FeedForward(16, 32)
    plain = copy.deepcopy(block)
    plain.layers[0][1] = nn.ReLU()
    x, grad = torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    found = []
    for one in (block, plain):
        own = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
            out = one(own)
        given = grad.clone()
        out.backward(given, retain_graph=True)
        out.backward(given)
        assert torch.equal(given, grad) and torch.equal(own, x)
        found.append((out.detach(), own.grad, *(parameter.grad for parameter in one.parameters())))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(block(x), plain(x), rtol=0, atol=0)
    assert block.state_dict().keys() == {f"layers.{name}" for name in ("0.0.weight", "0.0.bias", "1.weight", "1.bias")}


def test_fine_maps_and_their_gradient_stay_channels_last():
    """From a ViT's map, which is, to masks: else each norm, ReLU and convolution on the way back copies whole maps."""
    torch.manual_seed(0)
    tokens = torch.randn(2, 64, 32, requires_grad=True)
    fine = ConvNorm(32, 32, 3, bias=False, relu=True)(tokens.mT.unflatten(2, (8, 8)))
    assert fine.is_contiguous(memory_format=torch.channels_last)
    seen = []
    fine.register_hook(seen.append)  # `retain_grad` would keep a copy in another memory format
    products = MaskProducts(torch.randn(3, 2, 5, 32), torch.randn(3, 2, 5), fine)
    layer, image, query = torch.tensor([0, 2, 1]), torch.tensor([0, 0, 1]), torch.tensor([4, 0, 2])
    maps = products.of_pairs(layer, image, query, [2, 1])
    maps.square().sum().backward()
    assert len(seen) == 1 and seen[0].is_contiguous(memory_format=torch.channels_last)
    whole = torch.stack([products.full(i)[b, q] for i, b, q in zip(layer, image, query, strict=True)])
    torch.testing.assert_close(maps, whole)
