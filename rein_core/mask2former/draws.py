"""Random points that belong to an image and not to the process that holds it."""

import torch
from torch import Tensor


class Draws:
    """Random numbers of each image of a batch: however workers share the batch, an image's points are the same.

    Args:
        seeds: one an image; None: all draw from torch's global generator.
        device: where points are made.
    """

    def __init__(self, seeds: list[int] | None, device: torch.device):
        self.device = device
        self.generators = seeds and [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def points(self, per_image: list[int], num_points: int) -> Tensor:
        """Points [Σ per_image, num_points, 2] in 0 to 1, image by image."""
        if not self.generators:
            return torch.rand(sum(per_image), num_points, 2, device=self.device)
        images = zip(per_image, self.generators, strict=True)
        return torch.cat([torch.rand(n, num_points, 2, device=self.device, generator=own) for n, own in images])
