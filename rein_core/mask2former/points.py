"""Values of maps at points: masks are compared on points, never on whole images (PointRend, CVPR 2020)."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_maps(maps_bchw: Tensor, points_bp2: Tensor) -> Tensor:
    """Bilinear values [b, c, p] at points (x, y) in 0 to 1."""
    grid = (2 * points_bp2[:, :, None]).sub_(1)
    return F.grid_sample(maps_bchw, grid, align_corners=False).squeeze(-1)


def sample_classes(labels_bhw: Tensor, image_m: Tensor, classes_m: Tensor, points_mp2: Tensor) -> Tensor:
    """Bilinear values [m, p] of the masks `labels == class` at points in 0 to 1, without building the masks.

    Args:
        labels_bhw: class ids.
        image_m: which image each mask is of.
        classes_m: the class of each mask.
    """
    total = torch.zeros(points_mp2.shape[:2], device=points_mp2.device)
    labels, first_m1 = labels_bhw.flatten(), labels_bhw[0].numel() * image_m[:, None]
    for place, weight in _corners(labels_bhw.shape[1:], points_mp2):
        total += weight * (labels[first_m1 + place] == classes_m[:, None])
    return total


def class_weights(labels_bhw: Tensor, points_bp2: Tensor, num_classes: int) -> Tensor:
    """As `sample_classes` for all classes: [b, classes, p]."""
    total = torch.zeros(*points_bp2.shape[:2], 256, device=points_bp2.device)
    for place, weight in _corners(labels_bhw.shape[1:], points_bp2):
        total.scatter_add_(2, labels_bhw.flatten(1).gather(1, place)[..., None], weight[..., None])
    return total[..., :num_classes].transpose(1, 2).contiguous()


def _corners(size: tuple[int, int], points: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The four pixels around each point, as index into a flattened map, and their weights, 0 outside."""
    height, width = size
    x, y = (points[..., 0] * width - 0.5), (points[..., 1] * height - 0.5)
    left, top = x.floor(), y.floor()
    for column, across in ((left, left + 1 - x), (left + 1, x - left)):
        for row, down in ((top, top + 1 - y), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            yield place.long(), across * down * inside


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
        draw: number n → random points [m, n, 2].
    """
    candidates = draw(int(num_points * oversample_ratio))
    distance = sample_maps(logits_mhw[:, None], candidates).squeeze(1).abs()
    num_uncertain = int(importance_ratio * num_points)
    nearest = distance.topk(num_uncertain, dim=1, largest=False, sorted=False).indices
    chosen = candidates.gather(1, nearest[..., None].expand(-1, -1, 2))
    return torch.cat([chosen, draw(num_points - num_uncertain)], dim=1)
