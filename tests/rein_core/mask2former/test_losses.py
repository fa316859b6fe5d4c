"""Losses by hand where every point gives the same value, and where nothing is labelled."""

import math

import pytest
import torch

from rein_core.mask2former import losses as mask_losses
from rein_core.mask2former.losses import MaskLosses


def test_losses_of_constant_masks_by_hand(factors):
    """One class all over the image; query 0 says so with logit 2 everywhere, query 1 says no.

    Maps are large and points few, so that none falls on the rim, where samples fade to zero.
    """
    torch.manual_seed(0)
    cls = torch.tensor([[[[3.0, 0.0, 0.0], [0.0, 0.0, 3.0]]]])
    masks = torch.stack([torch.full((512, 512), 2.0), torch.full((512, 512), -2.0)])[None, None]
    losses = MaskLosses(num_points=16, importance_sample_ratio=0)(
        cls, factors(masks), torch.zeros(1, 512, 512, dtype=torch.long)
    )
    p, n = 1 / (1 + math.exp(-2)), 16
    assert losses["mask"].item() == pytest.approx(5 * -math.log(p), rel=1e-5)
    assert losses["dice"].item() == pytest.approx(5 * (1 - (2 * n * p + 1) / (n * p + n + 1)), rel=1e-5)
    assert losses["cls"].item() == pytest.approx(2 * -math.log(math.exp(3) / (math.exp(3) + 2)), rel=1e-5)


def test_no_labels_give_a_gradient_of_zero(factors):
    masks = torch.randn(2, 1, 3, 4, 4, requires_grad=True)
    losses = MaskLosses(num_points=8)(torch.randn(2, 1, 3, 5), factors(masks), torch.full((1, 8, 8), 255))
    (losses["mask"] + losses["dice"]).sum().backward()
    assert losses["mask"].tolist() == [0, 0] and torch.equal(masks.grad, torch.zeros_like(masks))


def test_bfloat16_logits_are_scored_in_float32(factors):
    torch.manual_seed(0)
    cls, masks = torch.randn(1, 1, 3, 5).bfloat16(), torch.randn(1, 1, 3, 4, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = MaskLosses(num_points=8)(cls, factors(masks), torch.zeros(1, 8, 8, dtype=torch.long))
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in losses.values())


def test_an_image_has_the_same_points_in_any_batch(factors):
    """Seeded, the losses of a batch are the means of its images' losses; unseeded they are others every time."""
    torch.manual_seed(0)
    cls, masks = torch.randn(2, 3, 6, 5), torch.randn(2, 3, 6, 8, 8)
    labels, seeds = torch.randint(0, 4, (3, 32, 32)), [7, 11, 13]
    losses = MaskLosses(num_points=24)

    def of(*images: int, seeded: bool = True) -> torch.Tensor:
        some = list(images)
        own = [seeds[i] for i in some] if seeded else None
        return torch.stack(list(losses(cls[:, some], factors(masks[:, some]), labels[some], own).values()))

    assert all(len(image.unique()) == 4 for image in labels), "so that every image weighs the same"
    alone = torch.stack([of(0), of(1), of(2)])
    assert torch.allclose(of(0, 1, 2), alone.mean(0), rtol=1e-5) and torch.allclose(of(2, 0), alone[[2, 0]].mean(0))
    assert not torch.allclose(of(0, seeded=False)[1:], of(0, seeded=False)[1:])


def test_the_mean_over_parts_is_that_of_the_whole_batch(factors):
    """Images with one, two, four and no classes; more than the queries, and ids that are no class, among them."""
    torch.manual_seed(0)
    cls, masks = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 3, 8, 8)
    ids, seeds = [[0], [1, 3], [0, 1, 2, 3], [9]], [7, 11, 13, 17]
    labels = torch.stack([torch.tensor(own)[torch.arange(1024) % len(own)].view(32, 32) for own in ids])
    losses = MaskLosses(num_points=24)

    def of(some: slice, batch_ids: list | None) -> torch.Tensor:
        given = cls[:, some], factors(masks[:, some]), labels[some], seeds[some], batch_ids
        return torch.stack(list(losses(*given).values()))

    whole, halves = of(slice(4), None), (slice(2), slice(2, 4))
    assert torch.allclose(sum(of(half, ids) for half in halves) / 2, whole, rtol=1e-5)
    assert not torch.allclose(sum(of(half, None) for half in halves) / 2, whole, rtol=1e-2)


@pytest.mark.parametrize("seeds", [None, [7, 11, 13]])
def test_it_does_not_matter_how_many_masks_are_taken_together(factors, monkeypatch, seeds):
    labels = torch.randint(0, 4, (3, 32, 32), generator=torch.Generator().manual_seed(0))
    found = []
    for chunk in (1, 5, 1000):
        monkeypatch.setattr(mask_losses, "_CPU_CHUNK", chunk)
        torch.manual_seed(0)
        masks = torch.randn(2, 3, 6, 8, 8, requires_grad=True)
        values = MaskLosses(num_points=24)(torch.randn(2, 3, 6, 5), factors(masks), labels, seeds)
        torch.stack(list(values.values())).sum().backward()
        found.append((torch.stack(list(values.values())), masks.grad))
    for values, gradient in found[1:]:
        torch.testing.assert_close(values, found[0][0])
        torch.testing.assert_close(gradient, found[0][1])
