"""Random points that belong to an image and not to the process that holds it."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


class Draws:
    """Random numbers of each image of a batch: however workers share the batch, an image's points are the same.

    Args:
        seeds: one an image.
        device: where points are made; on a CPU by NumPy, in half of torch's time.
    """

    def __init__(self, seeds: list[int], device: torch.device):
        self.device = device
        self.fills = [_uniform(seed, device) for seed in seeds]

    def points(self, per_image: list[int], num_points: int) -> Tensor:
        """Points [Σ per_image, num_points, 2] in 0 to 1, image by image."""
        points = torch.empty(sum(per_image), num_points, 2, device=self.device)
        for fill, part in zip(self.fills, points.split(per_image), strict=True):
            fill(part)
        return points


def _uniform(seed: int, device: torch.device) -> Callable[[Tensor], object]:
    """Fills tensors with numbers in 0 to 1."""
    if device.type == "cpu":
        numbers = np.random.Generator(np.random.SFC64(seed))
        return lambda part: numbers.random(out=part.numpy(), dtype=np.float32)
    generator = torch.Generator(device).manual_seed(seed)
    return lambda part: part.uniform_(generator=generator)
