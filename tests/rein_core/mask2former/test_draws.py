"""Random points: uniform, an image's own, and torch's seed decides where none is given."""

import pytest
import torch

from rein_core.mask2former.draws import Draws
from rein_core.mask2former.losses import MaskLosses

CPU = torch.device("cpu")


def test_points_are_uniform():
    points = Draws([3, 4], CPU).points([5, 2], 10_000)
    assert points.shape == (7, 10_000, 2) and points.dtype == torch.float32 and 0 <= points.min() < points.max() < 1
    for axis in points.unbind(-1):
        assert torch.histc(axis, 10, 0, 1).sub(7_000).abs().max() < 400  # five standard deviations
    correlation = torch.corrcoef(points.flatten(0, 1).T)[0, 1]
    assert abs(correlation) < 0.02


def test_an_image_has_the_same_points_in_any_company():
    together = Draws([3, 4, 3], CPU).points([2, 1, 2], 50)
    assert torch.equal(together[:2], together[3:]) and not torch.equal(together[0], together[2])
    alone = Draws([4], CPU)
    assert torch.equal(alone.points([1], 50), together[2:3]) and not torch.equal(alone.points([1], 50), together[2:3])


def test_they_do_not_hang_on_how_many_are_drawn_at_once():
    at_once = Draws([5], CPU).points([6], 30)
    bit_by_bit = Draws([5], CPU)
    assert torch.equal(torch.cat([bit_by_bit.points([n], 30) for n in (1, 3, 0, 2)]), at_once)


@pytest.mark.parametrize("seeds", [None, [5]])
def test_losses_without_seeds_follow_torchs(factors, seeds):
    torch.manual_seed(0)
    cls, masks, labels = torch.randn(2, 1, 6, 5), factors(torch.randn(2, 1, 6, 8, 8)), torch.randint(0, 4, (1, 16, 16))
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(torch.stack(list(MaskLosses(num_points=24)(cls, masks, labels, seeds).values())))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2]) == (seeds is not None)
