"""Multi-scale deformable attention in plain torch (Zhu et al., Deformable DETR, ICLR 2021, eq. 3)."""

import math
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


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
        extent = pixels(shapes, query_bnc.device)
        places = reference_n2[:, None, None, None] * extent[:, None] - 0.5 + offsets
        mixed = mix(self.value_proj(value_bnc), places, weights.unflatten(-1, offsets.shape[3:5]), shapes)
        return self.output_proj(mixed)


def mix(value_bnc: Tensor, places: Tensor, weights: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """Weighted sums [b, n, c] of bilinear values, which are zero outside of a level.

    Args:
        value_bnc: all levels, flattened one after the other; channels are split among the heads.
        places: (x, y) in pixels of each level [b, n, heads, levels, points, 2]; 0 is the first pixel's centre.
        weights: [b, n, heads, levels, points].
    """
    how = mix_by_matrix if value_bnc.device.type == "cpu" else mix_by_grid
    return how(value_bnc, places, weights, shapes)


def mix_by_grid(value_bnc: Tensor, places: Tensor, weights: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """As `mix`, by `grid_sample` level by level."""
    b, n, heads = places.shape[:3]
    extent = pixels(shapes, places.device)
    grids = ((2 * places + 1) / extent[:, None] - 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 1).to(value_bnc.dtype)
    values = value_bnc.transpose(1, 2).reshape(b * heads, value_bnc.shape[2] // heads, -1)
    levels = values.split([h * w for h, w in shapes], dim=-1)
    sampled = [
        F.grid_sample(level.unflatten(-1, shape), grids[:, i], mode="bilinear", align_corners=False)
        for i, (level, shape) in enumerate(zip(levels, shapes, strict=True))
    ]
    weights = weights.flatten(3).permute(0, 2, 1, 3).reshape(b * heads, 1, n, -1)
    mixed = (torch.cat(sampled, dim=-1) * weights).sum(dim=-1)
    return mixed.view(b, -1, n).transpose(1, 2)


def mix_by_matrix(value_bnc: Tensor, places: Tensor, weights: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """As `mix`, as one product with a sparse matrix, several times faster on a CPU; in float32."""
    heads = places.shape[2]
    extent = pixels(shapes, places.device)
    starts = torch.tensor([0, *(h * w for h, w in shapes[:-1])], device=places.device).cumsum(0)
    x, y = (axis.flatten(3).flatten(0, 2) for axis in places.float().unbind(-1))
    width, height, starts = (part.repeat_interleave(places.shape[4]) for part in (*extent.T, starts))
    rows = value_bnc.reshape(-1, value_bnc.shape[2] // heads).float()
    weights = weights.float().flatten(3).flatten(0, 2)
    return SparseMix.apply(rows, x, y, weights, width, height, starts, heads, len(value_bnc)).view_as(value_bnc)


class SparseMix(torch.autograd.Function):
    """out = M value, where a row of M holds a query's four bilinear corners of each of its k points.

    The gradient of M is sampled where M has entries; that of the values is Mᵀ grad, for which scipy's product needs no
    transposed copy and torch's does.
    """

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx, rows, x, y, weights, width, height, starts, heads, batch):
        """rows [b·cells·heads, d]; x, y, weights [b·n·heads, k]; width, height, starts [k] → [b·n·heads, d]."""
        xs, in_x, along_x = _corners(x, width)
        ys, in_y, along_y = _corners(y, height)
        first = torch.arange(0, len(rows), len(rows) // batch, dtype=torch.int32)[:, None, None]
        first = first + torch.arange(heads, dtype=torch.int32)
        first = first.expand(batch, len(x) // batch // heads, heads).reshape(-1, 1)
        columns = [first + heads * (starts + yi * width + xi).int() for yi in ys for xi in xs]
        bilinear = [wy * wx for wy in along_y for wx in along_x]
        columns = torch.stack(columns, dim=1)
        values = torch.stack([weights * part for part in bilinear], dim=1)
        matrix = _matrix(columns, values, len(rows))
        ctx.save_for_backward(rows, weights, columns, values, *in_x, *in_y, *along_x, *along_y)
        return matrix @ rows

    @staticmethod
    @custom_bwd(device_type="cpu")
    def backward(ctx, grad):
        """Gradients of rows, x, y and weights."""
        rows, weights, columns, values, ix0, ix1, iy0, iy1, wx0, wx1, wy0, wy1 = ctx.saved_tensors
        grad = grad.contiguous()
        matrix = _matrix(columns, values, len(rows))
        sampled = torch.sparse.sampled_addmm(matrix, grad, rows.t(), beta=0.0).values().view_as(values)
        g00, g01, g10, g11 = sampled.unbind(1)  # by y, then x
        left, right = wy0 * g00 + wy1 * g10, wy0 * g01 + wy1 * g11
        top, bottom = wx0 * g00 + wx1 * g01, wx0 * g10 + wx1 * g11
        grad_weights = wx0 * left + wx1 * right
        grad_x, grad_y = weights * (ix1 * right - ix0 * left), weights * (iy1 * bottom - iy0 * top)
        grad_rows = _transposed_product(columns, values, len(rows), grad)
        return grad_rows, grad_x, grad_y, grad_weights, None, None, None, None, None


def _corners(place: Tensor, length: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Of the two pixels beside each place along one axis: index, whether inside (1 or 0), and weight."""
    low = place.floor()
    fraction = place - low
    corners = [low, low + 1]
    inside = [((corner >= 0) & (corner < length)).to(place.dtype) for corner in corners]
    index = [torch.minimum(corner.clamp(min=0), length - 1) for corner in corners]
    return index, inside, [(1 - fraction) * inside[0], fraction * inside[1]]


def _matrix(columns: Tensor, values: Tensor, width: int) -> Tensor:
    num_rows, per_row = len(columns), columns[0].numel()
    bounds = torch.arange(0, num_rows * per_row + 1, per_row, dtype=torch.int32)
    return torch.sparse_csr_tensor(bounds, columns.view(-1), values.view(-1), (num_rows, width), check_invariants=False)


def _transposed_product(columns: Tensor, values: Tensor, width: int, grad: Tensor) -> Tensor:
    bounds = np.arange(0, values.numel() + 1, values[0].numel(), dtype=np.int32)
    matrix = csr_matrix((values.numpy().ravel(), columns.numpy().ravel(), bounds), shape=(len(grad), width))
    return torch.from_numpy(matrix.T @ grad.numpy())


def pixels(shapes: list[tuple[int, int]], device: torch.device) -> Tensor:
    """(width, height) of each level, [levels, 2]."""
    return torch.tensor([(w, h) for h, w in shapes], dtype=torch.float32).to(device, non_blocking=True)


def reference_points(shapes: list[tuple[int, int]], device: torch.device) -> Tensor:
    """Centres of all cells of all levels, (x, y) in 0 to 1, [n, 2]."""
    centres = []
    for height, width in shapes:
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        centres.append(torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1).flatten(0, 1))
    return torch.cat(centres)
