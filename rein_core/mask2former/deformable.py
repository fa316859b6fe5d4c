"""Multi-scale deformable attention (Zhu et al., Deformable DETR, ICLR 2021, eq. 3)."""

import functools
import math
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

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
        offsets = self.sampling_offsets(query_bnc).view(b, n, self.num_heads, -1)
        weights = _softmax(self.attention_weights(query_bnc).view(b, n, self.num_heads, -1))
        own_nl2 = reference_n2[:, None] * pixels(shapes, query_bnc.device) - 0.5
        places = offsets + own_nl2.repeat_interleave(self.num_points, dim=1).flatten(1)[:, None]
        split = (self.num_levels, self.num_points)
        mixed = mix(self.value_proj(value_bnc), places.unflatten(3, (*split, 2)), weights.unflatten(3, split), shapes)
        return self.output_proj(mixed)


def _softmax(logits: Tensor) -> Tensor:
    """Over the last dimension; a CPU takes one as short as this row by row, and turned over many rows at once."""
    if logits.device.type != "cpu":
        return logits.softmax(dim=-1)
    return logits.flatten(0, -2).T.softmax(dim=0).T.contiguous().view_as(logits)


def mix(value_bnc: Tensor, places: Tensor, weights: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """Weighted sums [b, n, c] of bilinear values, which are zero outside of a level.

    Args:
        value_bnc: all levels, flattened one after the other; channels are split among the heads.
        places: (x, y) in pixels of each level [b, n, heads, levels, points, 2]; 0 is the first pixel's centre.
        weights: [b, n, heads, levels, points].
    """
    return _way_to_mix(value_bnc, places)(value_bnc, places, weights, shapes)


def _way_to_mix(value_bnc: Tensor, places: Tensor) -> Callable[..., Tensor]:
    if value_bnc.device.type == "cpu" and not torch.compiler.is_exporting():  # ONNX has no sparse products
        return mix_by_matrix
    kernels = _kernels() if value_bnc.is_cuda and not torch.compiler.is_compiling() else None
    return kernels.mix_by_triton if kernels and kernels.supports(value_bnc, places) else mix_by_grid


@functools.cache
@torch.inference_mode(False)
@torch.enable_grad()
def _kernels() -> ModuleType | None:
    """`deformable_triton`, unless it doesn't run: it needs Triton, a GPU that Triton knows, and a C compiler."""
    try:
        from rein_core.mask2former import deformable_triton

        value = torch.zeros(1, 1, 8, device="cuda", requires_grad=True)
        places = torch.zeros(1, 1, 1, 1, 1, 2, device="cuda")
        deformable_triton.mix_by_triton(value, places, places[..., 0], [(1, 1)]).sum().backward()
    except torch.OutOfMemoryError:  # says nothing about the kernels
        raise
    except Exception as error:
        warnings.warn(f"Deformable attention is slower without its Triton kernels: {error!r}", stacklevel=2)
        return None
    return deformable_triton


def mix_by_grid(value_bnc: Tensor, places: Tensor, weights: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """As `mix`, by `grid_sample` level by level; in float32, as half precision moves a point by parts of a pixel."""
    b, n, heads = places.shape[:3]
    extent = pixels(shapes, places.device)
    grids = ((2 * places.float() + 1) / extent[:, None] - 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 1)
    values = value_bnc.float().transpose(1, 2).reshape(b * heads, value_bnc.shape[2] // heads, -1)
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
    heads, points = places.shape[2], places.shape[4]
    x, y = (axis.float().flatten(3).flatten(0, 2) for axis in places.unbind(-1))
    weights = weights.float().flatten(3).flatten(0, 2)
    return SparseMix.apply(value_bnc.float(), x, y, weights, heads, points, shapes)


_RIM = 2
"""Cells of zeros around each level: two neighbours that both lie outside of it are there, and no case is special."""


class SparseMix(torch.autograd.Function):
    """out = M value, where a row of M holds a query's four bilinear corners of each of its k points.

    The gradient of M is sampled where M has entries; that of the values is Mᵀ grad, for which scipy's product needs no
    transposed copy and torch's does.
    """

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx, value_bnc, x, y, weights, heads, points, shapes):
        """value [b, cells, heads·d]; x, y, weights [b·n·heads, k], k = levels·points → [b, n, heads·d]."""
        padded = _with_rims(value_bnc, shapes)
        rows = padded.view(-1, value_bnc.shape[2] // heads)
        columns, x, y = _columns(x, y, len(value_bnc), heads, points, shapes)
        right = weights * x
        left = weights - right
        bottom_left, bottom_right = left * y, right * y
        values = torch.stack([left - bottom_left, right - bottom_right, bottom_left, bottom_right], dim=1)
        ctx.save_for_backward(rows, weights, x, y, columns, values)
        ctx.shapes, ctx.cells = shapes, padded.shape[1]
        mixed = rows.new_empty(len(columns), rows.shape[1])
        torch.addmm(mixed, _matrix(columns, values, len(rows)), rows, beta=0, out=mixed)  # `@` fills and copies
        return mixed.view(len(value_bnc), -1, value_bnc.shape[2])

    @staticmethod
    @custom_bwd(device_type="cpu")
    def backward(ctx, grad):
        """Gradients of value, x, y and weights."""
        rows, weights, x, y, columns, values = ctx.saved_tensors
        grad_rows = grad.reshape(-1, rows.shape[1])
        sampled = torch.zeros_like(values)
        matrix = _matrix(columns, sampled, len(rows))
        torch.sparse.sampled_addmm(matrix, grad_rows, rows.t(), beta=0.0, out=matrix)  # into `sampled`
        top_left, top_right, bottom_left, bottom_right = sampled.unbind(1)
        left, right = top_left.lerp(bottom_left, y), top_right.lerp(bottom_right, y)
        top, bottom = top_left.lerp(top_right, x), bottom_left.lerp(bottom_right, x)
        grad_x, grad_y, grad_weights = weights * (right - left), weights * (bottom - top), left.lerp(right, x)
        grad_padded = _transposed_product(columns, values, grad, ctx.cells)
        grad_value = torch.cat([level.flatten(1, 2) for level in _without_rims(grad_padded, ctx.shapes)], dim=1)
        return grad_value, grad_x, grad_y, grad_weights, None, None, None


def _with_rims(value_bnc: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    cells = sum((h + 2 * _RIM) * (w + 2 * _RIM) for h, w in shapes)
    padded = value_bnc.new_zeros(len(value_bnc), cells, value_bnc.shape[2])
    levels = value_bnc.split([h * w for h, w in shapes], dim=1)
    for place, level, shape in zip(_without_rims(padded, shapes), levels, shapes, strict=True):
        place.copy_(level.unflatten(1, shape))
    return padded


def _without_rims(padded_bnc: Tensor, shapes: list[tuple[int, int]]) -> list[Tensor]:
    """Views [b, h, w, c] of each level."""
    sizes = [(h + 2 * _RIM, w + 2 * _RIM) for h, w in shapes]
    levels = padded_bnc.split([h * w for h, w in sizes], dim=1)
    return [level.unflatten(1, size)[:, _RIM:-_RIM, _RIM:-_RIM] for level, size in zip(levels, sizes, strict=True)]


def _columns(
    x: Tensor, y: Tensor, batch: int, heads: int, points: int, shapes: list[tuple[int, int]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Where the corners of each point lie among padded rows, int32 [b·n·heads, 4, k]; fractions of x and y."""
    strides = torch.tensor([w + 2 * _RIM for _, w in shapes])
    cells = torch.tensor([(h + 2 * _RIM) * (w + 2 * _RIM) for h, w in shapes])
    starts = cells.cumsum(0) - cells + _RIM * (strides + 1)
    width, height = pixels(shapes, x.device).repeat_interleave(points, dim=0).T
    strides, starts = (part.repeat_interleave(points) for part in (strides, starts))
    x, y = x.clamp(torch.full_like(width, -_RIM), width), y.clamp(torch.full_like(height, -_RIM), height)
    left, top = x.floor().nan_to_num_(0), y.floor().nan_to_num_(0)  # an index must be one; the fractions stay NaN
    first = int(cells.sum()) * torch.arange(batch)[:, None] * heads + torch.arange(heads)
    first = first.int()[:, None].expand(batch, len(x) // batch // heads, heads).reshape(-1, 1)
    top_left = torch.add(first, (top * strides + (left + starts)).int(), alpha=heads)
    corners = heads * torch.stack([torch.zeros_like(strides), torch.ones_like(strides), strides, strides + 1]).int()
    return top_left[:, None] + corners, x - left, y - top


def _matrix(columns: Tensor, values: Tensor, width: int) -> Tensor:
    num_rows, per_row = len(columns), columns[0].numel()
    bounds = torch.arange(0, num_rows * per_row + 1, per_row, dtype=torch.int32)
    return torch.sparse_csr_tensor(bounds, columns.view(-1), values.view(-1), (num_rows, width), check_invariants=False)


def _transposed_product(columns: Tensor, values: Tensor, grad_bnc: Tensor, cells: int) -> Tensor:
    """Mᵀ grad [b, cells, c]; a thread an image, as scipy's product has one, and no row of M reaches another image."""
    images, per_row = len(grad_bnc), columns[0].numel()
    columns, values = columns.numpy().reshape(images, -1), values.numpy().reshape(images, -1)
    bounds = np.arange(0, values.shape[1] + 1, per_row, dtype=np.int32)
    grads = grad_bnc.numpy().reshape(images, len(bounds) - 1, -1)
    width = cells * grad_bnc.shape[2] // grads.shape[2]

    def of_image(i: int) -> np.ndarray:
        matrix = csr_matrix((values[i], columns[i] - i * width, bounds), shape=(len(bounds) - 1, width))
        return (matrix.T @ grads[i]).reshape(cells, -1)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return torch.from_numpy(np.stack(list(pool.map(of_image, range(images)))))


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
