"""Deformable attention's Triton kernels against the other ways to mix, on a GPU or in Triton's interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

from rein_core.mask2former import deformable
from rein_core.mask2former.deformable import mix, mix_by_grid, mix_by_matrix, pixels

pytest.importorskip("triton")
from rein_core.mask2former.deformable_triton import mix_by_triton, supports  # noqa: E402

ON_GPU, INTERPRETED = torch.cuda.is_available(), os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if ON_GPU else "cpu"
SHAPES = [(2, 3), (4, 6), (3, 2)]
runs = pytest.mark.skipif(not ON_GPU and not INTERPRETED, reason="no GPU, and Triton does not interpret")


def random_parts(depth: int, n: int = 37, heads: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values, places inside, on the rim and outside, and weights; queries are no whole number of blocks."""
    torch.manual_seed(0)
    cells = sum(h * w for h, w in SHAPES)
    places = 10 * torch.rand(2, n, heads, 3, 2, 2) - 3
    parts = torch.randn(2, cells, heads * depth), places, torch.rand(2, n, heads, 3, 2)
    return tuple(part.to(DEVICE) for part in parts)


def mixed_and_gradients(how, parts, device: str = DEVICE, dtype: torch.dtype | None = None) -> list[torch.Tensor]:
    given = [part.to(device, dtype).requires_grad_() for part in parts]
    mixed = how(*given, SHAPES)
    towards = torch.linspace(-1, 1, mixed.numel(), device=device, dtype=mixed.dtype).view(mixed.shape)
    gradients = torch.autograd.grad(mixed, given, towards)
    assert [gradient.dtype for gradient in gradients] == [part.dtype for part in given]
    return [result.cpu() for result in (mixed, *gradients)]


def mix_by_mmcv(value, places, weights, shapes) -> torch.Tensor:
    values = value.unflatten(2, (places.shape[2], -1))
    places = (places + 0.5) / pixels(shapes, places.device)[:, None]
    return multi_scale_deformable_attn_pytorch(values, torch.tensor(shapes), places, weights)


@runs
@pytest.mark.parametrize("depth", [8, 16, 32, 64] if ON_GPU else [8])
def test_values_and_gradients_are_those_of_the_other_ways(depth):
    parts = random_parts(depth)
    results = mixed_and_gradients(mix_by_triton, parts)
    exact = mixed_and_gradients(mix_by_mmcv, parts, "cpu", torch.float64)
    for others in (exact, mixed_and_gradients(mix_by_grid, parts), mixed_and_gradients(mix_by_matrix, parts, "cpu")):
        for result, other in zip(results, others, strict=True):
            torch.testing.assert_close(result, other.float(), rtol=1e-4, atol=1e-4)


@runs
def test_places_on_pixels_on_borders_and_far_outside():
    value, places, weights = random_parts(8, n=16, heads=1)
    places = (2 * places).round() / 2
    places[:, 3:6, ..., 0], places[:, 5:8, ..., 1] = 1e30, -torch.inf
    results = mixed_and_gradients(mix_by_triton, (value, places, weights))
    others = mixed_and_gradients(mix_by_matrix, (value, places, weights), "cpu")
    for result, other in zip(results, others, strict=True):
        torch.testing.assert_close(result, other, rtol=1e-4, atol=1e-4)


@runs
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16] if ON_GPU else [torch.bfloat16])
def test_half_precision_is_mixed_in_float32(dtype):
    value, *others = random_parts(16, n=16, heads=1)
    value = value.to(dtype)
    mixed, *gradients = mixed_and_gradients(mix_by_triton, (value, *others))
    exact, *exact_gradients = mixed_and_gradients(mix_by_grid, (value, *others))
    torch.testing.assert_close(mixed, exact.to(dtype), rtol=1e-2, atol=1e-2)
    for gradient, exact_gradient in zip(gradients, exact_gradients, strict=True):
        assert (gradient - exact_gradient).norm() < 5e-3 * exact_gradient.norm()


@runs
def test_places_that_are_no_numbers_give_none():
    value, places, weights = random_parts(8, n=16, heads=1)
    places[0, 7] = torch.nan
    mixed, _, grad_places, _ = mixed_and_gradients(mix_by_triton, (value, places, weights))
    for result in (mixed, grad_places):
        assert result[0, 7].isnan().all() and result[0, :7].isfinite().all() and result[1].isfinite().all()


@runs
def test_a_gradient_follows_a_call_in_inference_mode():
    """What is kept of the levels between calls must serve both."""
    parts, shapes = random_parts(8, n=1, heads=1), [(6, 4), (1, 6), (1, 6)]
    with torch.inference_mode():
        expected = mix_by_triton(*parts, shapes)
    mixed = mix_by_triton(parts[0].requires_grad_(), *parts[1:], shapes)
    assert torch.equal(mixed, expected) and torch.autograd.grad(mixed.sum(), parts[0])[0].any()


def test_what_is_supported():
    value, places = torch.zeros(1, 24, 16), torch.zeros(1, 5, 2, 3, 2, 2)
    assert supports(value, places) and supports(value.bfloat16(), places)
    assert not supports(torch.zeros(1, 24, 24), places) and not supports(value.double(), places)


@pytest.mark.skipif(not ON_GPU, reason="no GPU")
def test_a_gpu_mixes_by_triton(monkeypatch):
    parts = random_parts(8)
    expected = mix_by_triton(*parts, SHAPES)
    monkeypatch.setattr(deformable, "mix_by_grid", None)
    assert torch.equal(mix(*parts, SHAPES), expected)


def test_without_triton_there_are_no_kernels(monkeypatch):
    monkeypatch.setitem(sys.modules, "rein_core.mask2former.deformable_triton", None)
    monkeypatch.delattr("rein_core.mask2former.deformable_triton", raising=False)
    with pytest.warns(UserWarning, match="without its Triton kernels"):
        assert deformable._kernels.__wrapped__() is None


@pytest.mark.skipif(ON_GPU or INTERPRETED, reason="the tests above run here")
def test_kernels_run_in_the_interpreter():
    """The tests above in a process of its own: Triton must know before it is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    root = Path(__file__).parents[3]
    run = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, cwd=root, capture_output=True, text=True)
    assert run.returncode == 0 and "does not interpret" not in run.stdout, run.stdout
