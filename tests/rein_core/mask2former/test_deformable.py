"""Deformable attention against mmcv's own torch formula, and against a loop over its definition."""

import math

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

from rein_core.mask2former.deformable import (
    MultiScaleDeformableAttention,
    mix_by_grid,
    mix_by_matrix,
    reference_points,
)

SHAPES = [(2, 3), (4, 6), (8, 12)]


def random_attention() -> MultiScaleDeformableAttention:
    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention(16, num_heads=4)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return attention


def mmcv_forward(attention: MultiScaleDeformableAttention, query, value, reference) -> torch.Tensor:
    b, n, c = query.shape
    heads, levels, points = attention.num_heads, attention.num_levels, attention.num_points
    offsets = attention.sampling_offsets(query).view(b, n, heads, levels, points, 2)
    weights = attention.attention_weights(query).view(b, n, heads, -1).softmax(-1).view(b, n, heads, levels, points)
    extent = torch.tensor([[w, h] for h, w in SHAPES])
    places = reference[None, :, None, None, None] + offsets / extent[:, None]
    values = attention.value_proj(value).view(b, n, heads, c // heads)
    return attention.output_proj(multi_scale_deformable_attn_pytorch(values, torch.tensor(SHAPES), places, weights))


def test_forward_is_mmcvs():
    attention, n = random_attention(), sum(h * w for h, w in SHAPES)
    query, value = torch.randn(2, n, 16), torch.randn(2, n, 16)
    reference = reference_points(SHAPES, query.device)
    expected = mmcv_forward(attention, query, value, reference)
    torch.testing.assert_close(attention(query, value, reference, SHAPES), expected, rtol=1e-4, atol=1e-5)


def test_both_ways_to_mix_agree():
    """Values and all gradients, with places inside, on the rim and far outside."""
    torch.manual_seed(0)
    n = sum(h * w for h, w in SHAPES)
    value, weights = torch.randn(2, n, 16), torch.rand(2, n, 4, 3, 5)
    places = 16 * torch.rand(2, n, 4, 3, 5, 2) - 3
    results = []
    for how in (mix_by_grid, mix_by_matrix):
        given = [part.clone().requires_grad_() for part in (value, places, weights)]
        mixed = how(*given, SHAPES)
        gradients = torch.autograd.grad(mixed.square().sum(), given)
        results.append((mixed, *gradients))
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_mixed_in_float32():
    attention, n = random_attention(), sum(h * w for h, w in SHAPES)
    query = torch.randn(2, n, 16, requires_grad=True)
    reference = reference_points(SHAPES, query.device)
    exact = attention(query, query, reference, SHAPES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = attention(query, query, reference, SHAPES)
    rounded.float().square().mean().backward()
    assert (rounded - exact).norm() < 0.05 * exact.norm() and query.grad.isfinite().all()


def test_places_that_are_no_numbers_give_none():
    value, places = torch.randn(1, 126, 16), torch.rand(1, 126, 4, 3, 5, 2)
    places[0, 7] = torch.nan
    mixed = mix_by_matrix(value, places, torch.rand(1, 126, 4, 3, 5), SHAPES)
    assert mixed[0, 7].isnan().all() and mixed[0, :7].isfinite().all() and mixed[0, 8:].isfinite().all()


def test_reference_points_are_centres_of_cells():
    points = reference_points([(1, 2), (2, 2)], torch.device("cpu"))
    assert points.tolist()[:3] == [[0.25, 0.5], [0.75, 0.5], [0.25, 0.25]]
    assert points.shape == (6, 2)


@pytest.mark.parametrize("num_heads", [4, 8])
def test_initial_points_lie_on_a_ring(num_heads):
    attention = MultiScaleDeformableAttention(16, num_heads=num_heads)
    attention.init_weights()
    offsets = attention.sampling_offsets(torch.randn(1, 16)).view(num_heads, 3, 4, 2)
    assert torch.allclose(offsets.abs().amax(-1), torch.arange(1.0, 5).expand(num_heads, 3, 4))
    angles = torch.atan2(offsets[:, 0, 0, 1], offsets[:, 0, 0, 0]) % (2 * math.pi)
    assert torch.allclose(angles, torch.arange(num_heads) * 2 * math.pi / num_heads, atol=1e-5)
