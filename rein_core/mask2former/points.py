"""Values of maps at points: masks are compared on points, never on whole images (PointRend, CVPR 2020)."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_maps(maps_bchw: Tensor, points_bp2: Tensor) -> Tensor:
    """Bilinear values [b, c, p] at points (x, y) in 0 to 1."""
    grid = (2 * points_bp2[:, :, None]).sub_(1)
    return F.grid_sample(maps_bchw, grid, align_corners=False).squeeze(-1)


def with_rim(labels_bhw: Tensor) -> Tensor:
    """Class ids in 0 to 255 → the same, uint8 [b, h + 2, w + 2], with a pixel of no class around each map."""
    return F.pad(labels_bhw.to(torch.uint8), (1, 1, 1, 1), value=255)


def sample_classes(rimmed_bhw: Tensor, image_m: Tensor, classes_m: Tensor, points_mp2: Tensor) -> Tensor:
    """Bilinear values [m, p] of the masks `labels == class` at points in 0 to 1, without building the masks.

    Args:
        rimmed_bhw: labels, from `with_rim`.
        image_m: which image each mask is of.
        classes_m: the class of each mask.
    """
    first_m1, labels = rimmed_bhw[0].numel() * image_m[:, None], rimmed_bhw.flatten()
    total = torch.zeros(points_mp2.shape[:2], device=points_mp2.device)
    for place, weight in _corners(rimmed_bhw.shape[1:], points_mp2):
        total += weight.masked_fill_(labels[place.add_(first_m1)] != classes_m[:, None], 0)
    return total


def class_weights(rimmed_bhw: Tensor, points_bp2: Tensor, num_classes: int) -> Tensor:
    """As `sample_classes` for all classes: [b, classes, p]."""
    total = torch.zeros(*points_bp2.shape[:2], 256, device=points_bp2.device)
    labels = rimmed_bhw.flatten(1)
    for place, weight in _corners(rimmed_bhw.shape[1:], points_bp2):
        total.scatter_add_(2, labels.gather(1, place)[..., None].long(), weight[..., None])
    return total[..., :num_classes].transpose(1, 2).contiguous()


def _corners(size: tuple[int, int], points: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The four pixels around each point in 0 to 1, as index into a flattened map, whose `size` is with its rim, and
    their weights.
    """
    height, width = size
    x, y = points[..., 0] * (width - 2) + 0.5, points[..., 1] * (height - 2) + 0.5
    left, top = x.floor(), y.floor()
    x, y, place = x.sub_(left), y.sub_(top), top.long().mul_(width).add_(left.long())
    for along_y, down in ((0, 1 - y), (width, y)):
        for along_x, across in ((0, 1 - x), (1, x)):
            yield place + (along_y + along_x), across * down


@torch.no_grad()
def uncertain_points(
    logits_mhw: Tensor,
    draw: Callable[[int], Tensor],
    num_points: int,
    oversample_ratio: float,
    importance_ratio: float,
) -> Tensor:
    """Points [m, p, 2]: of `oversample_ratio` times as many random ones those with a logit nearest to 0, and the rest
    random anew (PointRend, section 3.1).

    Args:
        draw: number n → random points [m, n, 2]; called once, so that a mask's points don't hang on how many masks
            are taken together.
    """
    num_candidates, num_uncertain = int(num_points * oversample_ratio), int(importance_ratio * num_points)
    drawn = draw(num_candidates + num_points - num_uncertain)
    candidates, others = drawn[:, :num_candidates], drawn[:, num_candidates:]
    distance = sample_maps(logits_mhw[:, None], candidates).squeeze(1).abs_()
    nearest = distance.topk(num_uncertain, dim=1, largest=False, sorted=False).indices
    chosen = candidates.gather(1, nearest[..., None].expand(-1, -1, 2))
    return torch.cat([chosen, others], dim=1)
