"""FADA's wavelets against the filters written out, and its refinement band by band."""

import pytest
import torch

from rein_core.adapters.fada import Fada, haar, instance_norm, inverse_haar

LOW, HIGH = torch.tensor([1.0, 1.0]) / 2**0.5, torch.tensor([1.0, -1.0]) / 2**0.5


@pytest.mark.parametrize("grid", [(4, 6), (2, 2), (5, 6), (4, 3), (5, 7)])
def test_the_transform_comes_back(grid):
    feat = torch.randn(2, grid[0] * grid[1], 3)
    torch.testing.assert_close(inverse_haar(haar(feat, grid), grid), feat)


def test_bands_are_convolutions_with_the_haar_filters():
    feat = torch.randn(2, 4 * 6, 3)
    maps = feat.unflatten(1, (4, 6)).permute(0, 3, 1, 2).flatten(0, 1)[:, None]
    filters = torch.stack([torch.outer(y, x) for y in (LOW, HIGH) for x in (LOW, HIGH)])[:, None]
    expected = torch.conv2d(maps, filters, stride=2).view(2, 3, 4, 6).permute(2, 0, 3, 1)
    torch.testing.assert_close(haar(feat, (4, 6)), expected)
    torch.testing.assert_close(haar(feat, (4, 6)).square().sum(), feat.square().sum())


def test_a_flat_map_has_no_high_frequencies():
    assert not haar(torch.ones(1, 24, 3), (4, 6))[1:].any()


def adapter() -> Fada:
    torch.manual_seed(0)
    fada = Fada(2, 8, token_length=5, rank=2, query_dims=6, scale_init=0.7)
    fada.grid = (4, 6)
    return fada


def test_low_and_high_bands_are_refined_apart():
    fada, feat = adapter(), torch.randn(2, 24, 8)
    change = haar(fada.refine(feat, 1) - feat, (4, 6))
    bands = haar(feat, (4, 6))
    torch.testing.assert_close(change[0], fada.low.delta(bands[0], 1), atol=1e-5, rtol=1e-4)
    for band, changed in zip(bands[1:], change[1:], strict=True):
        normal = (band - band.mean(1, keepdim=True)) / (band.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(changed, fada.high.delta(normal, 1), atol=1e-5, rtol=1e-4)


def test_the_style_of_high_bands_does_not_matter():
    bands = torch.randn(3, 2, 6, 8)
    torch.testing.assert_close(instance_norm(7 * bands + 3, (4, 6)), instance_norm(bands, (4, 6)), atol=1e-4, rtol=1e-4)


def test_queries_come_from_the_low_tokens():
    fada = adapter()
    assert torch.equal(fada.queries(), fada.low.queries()) and fada.queries().shape == (5, 6)
    assert Fada(2, 8, link_queries=False).queries() is None
