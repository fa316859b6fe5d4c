"""Multi-scale deformable attention as Triton kernels (Zhu et al., Deformable DETR, ICLR 2021, eq. 3).

A program mixes a block of queries for one head of one image. Values are seen as rows of a head's channels, of number
(image · cells + cell) · heads + head, and the rest as rows of number (image · queries + query) · heads + head.
"""

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

FORWARD = {"BLOCK": 32, "num_warps": 4}
BACKWARD = {"BLOCK": 32, "num_warps": 4}
"""Queries a program, and its warps."""


def supports(value_bnc: Tensor, places: Tensor) -> bool:
    """Floats of up to 32 bits, and a number of channels a head that is a power of two: a range of Triton's is one."""
    depth, floats = value_bnc.shape[2] // places.shape[2], (torch.float16, torch.bfloat16, torch.float32)
    return depth in (8, 16, 32, 64, 128) and value_bnc.dtype in floats and places.dtype in floats


def mix_by_triton(value_bnc: Tensor, places: Tensor, weights: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """As `deformable.mix`, for what `supports` allows; in float32, but read and written in the values' own type."""
    levels = _levels(tuple(shapes), value_bnc.device)
    return _Mix.apply(value_bnc.contiguous(), places.contiguous(), weights.contiguous(), levels)


@functools.lru_cache(maxsize=256)
@torch.inference_mode(False)
def _levels(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """Height, width and first cell of each level [levels, 3]; kept, as the host waits for such a copy to a GPU."""
    starts = [sum(h * w for h, w in shapes[:i]) for i in range(len(shapes))]
    rows = [(h, w, start) for (h, w), start in zip(shapes, starts, strict=True)]
    return torch.tensor(rows, dtype=torch.int32, device=device)


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, places, weights, levels):
        """Value [b, cells, c], places [b, n, heads, levels, points, 2], weights one dimension less → [b, n, c]."""
        ctx.save_for_backward(value, places, weights, levels)
        mixed = value.new_empty(*places.shape[:2], value.shape[2])
        with torch.cuda.device_of(value):
            _launch(_forward, FORWARD, value, places, weights, levels, mixed)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        """Gradients of value, places and weights; that of a cell is the sum over many points, made in float32."""
        value, places, weights, levels = ctx.saved_tensors
        grad_value = torch.zeros_like(value, dtype=torch.float32)
        grads = grad_value, torch.empty_like(places), torch.empty_like(weights)
        _launch(_backward, BACKWARD, value, places, weights, levels, grad.contiguous(), *grads)
        return grad_value.to(value.dtype), *grads[1:], None


def _launch(kernel, blocks: dict[str, int], value: Tensor, places: Tensor, *tensors: Tensor) -> None:
    b, n, heads, levels, points, _ = places.shape
    grid = (triton.cdiv(n, blocks["BLOCK"]), heads, b)
    depth = value.shape[2] // heads
    kernel[grid](value, places, *tensors, n, value.shape[1], DEPTH=depth, LEVELS=levels, POINTS=points, **blocks)


@triton.jit(do_not_specialize=("num_queries", "num_cells"))
def _forward(
    value, places, weights, levels, mixed, num_queries, num_cells,
    DEPTH: tl.constexpr, LEVELS: tl.constexpr, POINTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    rows, there = _rows(num_queries, BLOCK)
    total = tl.zeros((BLOCK, DEPTH), tl.float32)
    for level in range(LEVELS):
        for i in tl.static_range(POINTS):
            point = (rows * LEVELS + level) * POINTS + i
            cell, y, x, top, left, width, height = _locate(places, levels, level, point, there, num_cells)
            weight = tl.load(weights + point, there, 0.0).to(tl.float32)
            for corner in tl.static_range(4):
                offsets, inside = _corner(cell, top, left, height, width, corner, DEPTH)
                pixel = tl.load(value + offsets, inside, 0.0).to(tl.float32)
                total += weight * _share(y, corner // 2) * _share(x, corner % 2) * pixel
    tl.store(mixed + rows * DEPTH + tl.arange(0, DEPTH), total, there)


@triton.jit(do_not_specialize=("num_queries", "num_cells"))
def _backward(
    value, places, weights, levels, grad, grad_value, grad_places, grad_weights, num_queries, num_cells,
    DEPTH: tl.constexpr, LEVELS: tl.constexpr, POINTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    rows, there = _rows(num_queries, BLOCK)
    grad = tl.load(grad + rows * DEPTH + tl.arange(0, DEPTH), there, 0.0).to(tl.float32)
    for level in range(LEVELS):
        for i in tl.static_range(POINTS):
            point = (rows * LEVELS + level) * POINTS + i
            cell, y, x, top, left, width, height = _locate(places, levels, level, point, there, num_cells)
            weight = tl.load(weights + point, there, 0.0).to(tl.float32)
            grad_y, grad_x, grad_weight = tl.zeros_like(y), tl.zeros_like(y), tl.zeros_like(y)
            for corner in tl.static_range(4):
                offsets, inside = _corner(cell, top, left, height, width, corner, DEPTH)
                share_y, share_x = _share(y, corner // 2), _share(x, corner % 2)
                pixel = tl.load(value + offsets, inside, 0.0).to(tl.float32)
                product = tl.sum(pixel * grad, axis=1, keep_dims=True)
                grad_y += (corner // 2 * 2 - 1) * share_x * product
                grad_x += (corner % 2 * 2 - 1) * share_y * product
                grad_weight += share_y * share_x * product
                tl.atomic_add(grad_value + offsets, weight * share_y * share_x * grad, inside, sem="relaxed")
            tl.store(grad_places + 2 * point, weight * grad_x, there)
            tl.store(grad_places + 2 * point + 1, weight * grad_y, there)
            tl.store(grad_weights + point, grad_weight, there)


@triton.jit
def _rows(num_queries, BLOCK: tl.constexpr):
    """Rows of the program's queries [block, 1], and which of them exist."""
    query = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[:, None]
    rows = (tl.program_id(2).to(tl.int64) * num_queries + query) * tl.num_programs(1) + tl.program_id(1)
    return rows, query < num_queries


@triton.jit
def _locate(places, levels, level, point, there, num_cells):
    """The cell with the point's top left corner; the point's way past it; the corner's place; the level's extent."""
    height, width = tl.load(levels + 3 * level), tl.load(levels + 3 * level + 1)
    left, x = _split(tl.load(places + 2 * point, there, -2.0).to(tl.float32), width)
    top, y = _split(tl.load(places + 2 * point + 1, there, -2.0).to(tl.float32), height)
    first = tl.program_id(2).to(tl.int64) * num_cells + tl.load(levels + 3 * level + 2)
    return first + top * width + left, y, x, top, left, width, height


@triton.jit
def _split(place, size):
    """The pixel before a place and the way past it, NaN for NaN; far places move to where both pixels are outside."""
    near = tl.where(place < -2, -2.0, tl.where(place > size, size, place))
    before = tl.floor(tl.where(near == near, near, 0.0))
    return before.to(tl.int32), near - before


@triton.jit
def _corner(cell, top, left, height, width, corner: tl.constexpr, DEPTH: tl.constexpr):
    """Where a corner's channels are [block, depth], and whether it is in the level [block, 1]."""
    y, x = top + corner // 2, left + corner % 2
    row = (cell + corner // 2 * width + corner % 2) * tl.num_programs(1) + tl.program_id(1)
    return row * DEPTH + tl.arange(0, DEPTH), (y >= 0) & (y < height) & (x >= 0) & (x < width)


@triton.jit
def _share(way, far: tl.constexpr):
    return way if far else 1 - way
