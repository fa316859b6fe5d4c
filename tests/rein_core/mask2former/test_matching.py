"""Matching against every permutation, and sampled masks against masks that are really built."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from rein_core.mask2former.matching import match
from rein_core.mask2former.points import (
    _smallest,
    class_weights,
    four_corners,
    sample_classes,
    sample_maps,
    uncertain_points,
)

WEIGHTS = (2.0, 5.0, 5.0)


def literal_cost(cls_qk, mask_qp, truth_p, class_id, query) -> float:
    """Class, cross-entropy and dice cost of one query for one class, term by term."""
    probability = mask_qp[query].sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(mask_qp[query], truth_p)
    dice = 1 - (2 * (probability * truth_p).sum() + 1) / (probability.sum() + truth_p.sum() + 1)
    terms = -cls_qk[query].softmax(-1)[class_id], cross_entropy, dice
    return float(sum(weight * term for weight, term in zip(WEIGHTS, terms, strict=True)))


def test_pairs_have_the_least_cost_of_all_permutations(factors):
    torch.manual_seed(0)
    cls, masks = torch.randn(2, 2, 4, 6), torch.randn(2, 2, 4, 8, 8)
    labels = torch.randint(0, 3, (2, 16, 16))
    labels[1][labels[1] == 2] = 255
    classes = [torch.tensor([0, 1, 2]), torch.tensor([0, 1])]
    torch.manual_seed(1)
    pairs = match(cls, factors(masks), labels, four_corners(labels), torch.rand(len(labels), 50, 2), WEIGHTS)
    assert pairs.per_image == [6, 4] and pairs.num_classes.tolist() == [3, 2]
    torch.manual_seed(1)
    points = torch.rand(2, 50, 2)
    for layer, image in itertools.product(range(2), range(2)):
        sampled = sample_maps(masks[layer, image][None], points[image][None])[0]
        cost = {
            (query, int(c)): literal_cost(
                cls[layer, image],
                sampled,
                sample_maps((labels[image] == c).float()[None, None], points[image][None])[0, 0],
                int(c),
                query,
            )
            for query in range(4)
            for c in classes[image]
        }
        options = [
            list(zip(queries, classes[image].tolist(), strict=True))
            for queries in itertools.permutations(range(4), len(classes[image]))
        ]
        best = min(options, key=lambda option: sum(cost[pair] for pair in option))
        chosen = (pairs.layer == layer) & (pairs.image == image)
        found = zip(pairs.query[chosen].tolist(), pairs.label[chosen].tolist(), strict=True)
        assert set(found) == set(best)


def test_an_image_without_labels_matches_nothing(factors):
    labels = torch.full((1, 8, 8), 255)
    cls, masks, points = torch.randn(3, 1, 4, 6), factors(torch.randn(3, 1, 4, 8, 8)), torch.rand(1, 10, 2)
    pairs = match(cls, masks, labels, four_corners(labels), points, WEIGHTS)
    assert pairs.per_image == [0] and len(pairs.query) == 0 and pairs.num_classes.tolist() == [0]


def test_sampled_classes_are_those_of_built_masks():
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (3, 9, 7))
    classes, points = torch.tensor([0, 3, 2]), torch.rand(3, 200, 2)
    points[:, :4] = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    masks = (labels == classes[:, None, None]).float()
    expected = sample_maps(masks[:, None], points)[:, 0]
    corners = four_corners(labels)
    torch.testing.assert_close(
        sample_classes(corners, torch.arange(3), classes, points), expected, rtol=1e-4, atol=1e-5
    )
    others = sample_classes(corners, torch.tensor([2, 0]), classes[[2, 0]], points[[2, 0]])
    torch.testing.assert_close(others, expected[[2, 0]], rtol=1e-4, atol=1e-5)
    of_all = class_weights(corners, points, 4)
    torch.testing.assert_close(of_all[torch.arange(3), classes], expected, rtol=1e-4, atol=1e-5)


def test_uncertain_points_lie_near_the_border():
    """Of a map that is sure everywhere but on one column, three quarters of the points lie there."""
    torch.manual_seed(0)
    logits = torch.full((1, 32, 32), 9.0)
    logits[:, :, 16:] = -9.0
    points = uncertain_points(logits, lambda n: torch.rand(len(logits), n, 2), 400, 3.0, 0.75)
    assert points.shape == (1, 400, 2) and points.min() >= 0 and points.max() <= 1
    value = sample_maps(logits[None], points)[0, 0].abs()
    random = sample_maps(logits[None], torch.rand(1, 400, 2))[0, 0].abs()
    assert (value < 9).float().mean() > 2 * (random < 9).float().mean()


@pytest.mark.parametrize("count", [1, 7, 99, 100])
def test_smallest_are_those_of_topk(count):
    values = torch.rand(3, 100, generator=torch.Generator().manual_seed(0))
    values[0, :3] = torch.nan  # comes last
    found = values.gather(1, _smallest(values, count)).sort(dim=1).values
    expected = values.topk(count, dim=1, largest=False).values
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
