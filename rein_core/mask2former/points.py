"""Values of maps at points: masks are compared on points, never on whole images (PointRend, CVPR 2020)."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def sample_maps(maps_bchw: Tensor, points_bp2: Tensor) -> Tensor:
    """Bilinear values [b, c, p] at points (x, y) in 0 to 1."""
    grid = (2 * points_bp2[:, :, None]).sub_(1)
    return F.grid_sample(maps_bchw, grid, align_corners=False).squeeze(-1)


def four_corners(labels_bhw: Tensor) -> Tensor:
    """Class ids in 0 to 255 → uint8 [b, h + 1, w + 1, 4]: for each place between pixels those of the four around it,
    top left, top right, bottom left, bottom right; 255 outside of the map.
    """
    rimmed = F.pad(labels_bhw.to(torch.uint8), (1, 1, 1, 1), value=255)
    upper, lower = rimmed[:, :-1], rimmed[:, 1:]
    return torch.stack([upper[..., :-1], upper[..., 1:], lower[..., :-1], lower[..., 1:]], dim=-1)


def sample_classes(corners_bhw4: Tensor, image_m: Tensor, classes_m: Tensor, points_mp2: Tensor) -> Tensor:
    """Bilinear values [m, p] of the masks `labels == class` at points in 0 to 1, without building the masks.

    Args:
        corners_bhw4: of the labels, from `four_corners`.
        image_m: which image each mask is of.
        classes_m: the class of each mask.
    """
    around, x, y = _around(corners_bhw4, image_m, points_mp2)
    inside = around == classes_m[:, None, None].to(torch.uint8)
    top_left, top_right, bottom_left, bottom_right = inside.float().unbind(-1)
    return top_left.lerp(top_right, x).lerp(bottom_left.lerp(bottom_right, x), y)


def class_weights(corners_bhw4: Tensor, points_bp2: Tensor, num_classes: int) -> Tensor:
    """As `sample_classes` for all classes: [b, classes, p]."""
    every = torch.arange(len(corners_bhw4), device=points_bp2.device)
    around, x, y = _around(corners_bhw4, every, points_bp2)
    across, down = torch.stack([1 - x, x], dim=-1), torch.stack([1 - y, y], dim=-1)
    shares = (down[..., None] * across[..., None, :]).flatten(2)
    total = torch.zeros(*x.shape, 256, device=x.device).scatter_add_(2, around.long(), shares)
    return total[..., :num_classes].transpose(1, 2).contiguous()


def _around(corners_bhw4: Tensor, image_m: Tensor, points_mp2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The ids around each point, uint8 [m, p, 4] fetched as one number, and its way past the first, x and y."""
    _, height, width, _ = corners_bhw4.shape
    x, y = points_mp2[..., 0] * (width - 1) + 0.5, points_mp2[..., 1] * (height - 1) + 0.5
    left, top = x.floor(), y.floor()
    places = (image_m[:, None] * height + top.long()) * width + left.long()
    around = corners_bhw4.view(torch.int32).flatten()[places]
    return around.view(torch.uint8).unflatten(1, (-1, 4)), x.sub_(left), y.sub_(top)


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
    nearest = _smallest(distance, num_uncertain)
    chosen = candidates.gather(1, nearest[..., None].expand(-1, -1, 2))
    return torch.cat([chosen, others], dim=1)


def _smallest(values_mn: Tensor, count: int) -> Tensor:
    """Where the smallest of each row are, [m, count] in no order; NumPy finds them three times as fast on a CPU."""
    if values_mn.device.type == "cpu":
        return torch.from_numpy(np.argpartition(values_mn.numpy(), count - 1, axis=1)[:, :count])
    return values_mn.topk(count, dim=1, largest=False, sorted=False).indices
