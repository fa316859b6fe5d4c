"""Multi-scale deformable attention in plain torch (Zhu et al., Deformable DETR, ICLR 2021, eq. 3)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiScaleDeformableAttention(nn.Module):
    """Every query looks at a few learned points on each level.

    Args:
        embed_dims, num_heads, num_levels, num_points: channels c, heads, levels, and points a head and level.
    """

    def __init__(self, embed_dims: int, num_heads: int = 8, num_levels: int = 3, num_points: int = 4):
        super().__init__()
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        total = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(embed_dims, 2 * total)
        self.attention_weights = nn.Linear(embed_dims, total)
        self.value_proj = nn.Linear(embed_dims, embed_dims)
        self.output_proj = nn.Linear(embed_dims, embed_dims)

    def init_weights(self) -> None:
        """Points start on a ring around the query, one direction a head and one distance a point; weights are equal."""
        angle = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)
        distance = torch.arange(1, self.num_points + 1)
        ring = direction[:, None, None] * distance[None, None, :, None]
        nn.init.zeros_(self.sampling_offsets.weight)
        self.sampling_offsets.bias.data = ring.expand(-1, self.num_levels, -1, -1).reshape(-1).clone()
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, query_bnc: Tensor, value_bnc: Tensor, reference_n2: Tensor, shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Attention output [b, n, c], without the residual.

        Args:
            query_bnc: features with positions added.
            value_bnc: features of all levels, flattened one after the other.
            reference_n2: each query's own place (x, y) in 0 to 1.
            shapes: (height, width) of each level.
        """
        b, n, _ = query_bnc.shape
        offsets = self.sampling_offsets(query_bnc).view(b, n, self.num_heads, self.num_levels, self.num_points, 2)
        weights = self.attention_weights(query_bnc).view(b, n, self.num_heads, -1).softmax(dim=-1)
        extent = torch.tensor([[w, h] for h, w in shapes], device=query_bnc.device, dtype=offsets.dtype)
        places = reference_n2[None, :, None, None, None] + offsets / extent[:, None]
        sampled = self._sample(self.value_proj(value_bnc), places, shapes)
        weights = weights.permute(0, 2, 1, 3).reshape(b * self.num_heads, 1, n, -1)
        mixed = (sampled * weights).sum(dim=-1)
        return self.output_proj(mixed.view(b, -1, n).transpose(1, 2))

    def _sample(self, value_bnc: Tensor, places: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
        """Values at the places [b·heads, c/heads, n, levels·points]; outside of a level they are zero."""
        b, _, c = value_bnc.shape
        grids = (2 * places - 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 1).to(value_bnc.dtype)
        values = value_bnc.transpose(1, 2).reshape(b * self.num_heads, c // self.num_heads, -1)
        levels = values.split([h * w for h, w in shapes], dim=-1)
        sampled = [
            F.grid_sample(level.unflatten(-1, shape), grids[:, i], mode="bilinear", align_corners=False)
            for i, (level, shape) in enumerate(zip(levels, shapes, strict=True))
        ]
        return torch.cat(sampled, dim=-1)


def reference_points(shapes: list[tuple[int, int]], device: torch.device) -> Tensor:
    """Centres of all cells of all levels, (x, y) in 0 to 1, [n, 2]."""
    centres = []
    for height, width in shapes:
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        centres.append(torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1).flatten(0, 1))
    return torch.cat(centres)
