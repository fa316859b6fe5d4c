"""Sine position encoding of a feature map (Carion et al., ECCV 2020), normalised to the map's size."""

import math

import torch
from torch import Tensor

_TEMPERATURE = 10_000


def sine_positions(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Position encodings [channels, height, width], float32: the first half of the channels for y, the second for x."""
    half = channels // 2
    index = torch.arange(half, device=device)
    frequency = _TEMPERATURE ** (2 * (index // 2) / half)

    def encode(length: int) -> Tensor:
        place = torch.arange(1, length + 1, device=device) / (length + 1e-6) * 2 * math.pi
        angle = place[:, None] / frequency
        return torch.where(index % 2 == 0, angle.sin(), angle.cos()).T

    rows = encode(height)[:, :, None].expand(half, height, width)
    columns = encode(width)[:, None, :].expand(half, height, width)
    return torch.cat([rows, columns])
