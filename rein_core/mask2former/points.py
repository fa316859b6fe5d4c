"""Values of maps at points: masks are compared on points, never on whole images (PointRend, CVPR 2020)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_maps(maps_bchw: Tensor, points_bp2: Tensor) -> Tensor:
    """Bilinear values [b, c, p] at points (x, y) in 0 to 1."""
    grid = 2 * points_bp2[:, :, None] - 1
    return F.grid_sample(maps_bchw, grid, align_corners=False).squeeze(-1)


def sample_classes(labels_mhw: Tensor, classes_m: Tensor, points_mp2: Tensor) -> Tensor:
    """Bilinear values [m, p] of the masks `labels == class` at points in 0 to 1, without building the masks.

    Args:
        labels_mhw: class ids, one map a mask (it may be an expanded view).
        classes_m: the class of each mask.
    """
    height, width = labels_mhw.shape[1:]
    place = points_mp2 * points_mp2.new_tensor([width, height]) - 0.5
    corner = place.floor()
    fraction = place - corner
    total = torch.zeros(points_mp2.shape[:2], device=points_mp2.device)
    rows = torch.arange(len(labels_mhw), device=labels_mhw.device)[:, None]
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = (corner[..., 0] + dx).long(), (corner[..., 1] + dy).long()
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            label = labels_mhw[rows, y.clamp(0, height - 1), x.clamp(0, width - 1)]
            weight = (1 - dx - fraction[..., 0]).abs() * (1 - dy - fraction[..., 1]).abs()
            total += weight * ((label == classes_m[:, None]) & inside)
    return total


@torch.no_grad()
def uncertain_points(logits_mhw: Tensor, num_points: int, oversample_ratio: float, importance_ratio: float) -> Tensor:
    """Points [m, p, 2]: of `oversample_ratio` times as many random ones those with a logit nearest to 0, and the rest
    random anew (PointRend, section 3.1)."""
    count, device = len(logits_mhw), logits_mhw.device
    candidates = torch.rand(count, int(num_points * oversample_ratio), 2, device=device)
    distance = sample_maps(logits_mhw[:, None], candidates).squeeze(1).abs()
    num_uncertain = int(importance_ratio * num_points)
    nearest = distance.topk(num_uncertain, dim=1, largest=False, sorted=False).indices
    chosen = candidates.gather(1, nearest[..., None].expand(-1, -1, 2))
    return torch.cat([chosen, torch.rand(count, num_points - num_uncertain, 2, device=device)], dim=1)
