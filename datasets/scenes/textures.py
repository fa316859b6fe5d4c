"""Surfaces as small pictures: noise of several sizes, asphalt, paving, grass, brick and leaves."""

import cv2
import numpy as np

from datasets.scenes.canvas import Colour


def shade(colour: Colour, factor: float) -> Colour:
    """A lighter or darker colour."""
    return tuple(int(min(255, max(0, channel * factor))) for channel in colour)


def noise(shape: tuple[int, int], cell: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise with cells of so many pixels, mostly between -1 and 1."""
    small = rng.standard_normal((-(-shape[0] // cell), -(-shape[1] // cell)), dtype=np.float32) * 0.5
    return small[: shape[0], : shape[1]] if cell == 1 else cv2.resize(small, shape[::-1])


def fractal(shape: tuple[int, int], cells: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Noise of several cell sizes added up, mostly between -1 and 1."""
    return sum(noise(shape, cell, rng) for cell in cells) / np.float32(np.sqrt(len(cells)))


def plain(shape: tuple[int, int], colour: Colour, rough: float, rng: np.random.Generator) -> np.ndarray:
    """A colour with stains and grain. RGB uint8 [h, w, 3]."""
    grain = 1 + rough * fractal(shape, (1, 3, 12, 40), rng)
    return np.clip(grain[..., None] * np.float32(colour), 0, 255).astype(np.uint8)


def brick(shape: tuple[int, int], colour: Colour, course: int, rng: np.random.Generator) -> np.ndarray:
    """Courses of bricks of many shades with light joints. RGB uint8 [h, w, 3]."""
    rows, columns = -(-shape[0] // course), -(-shape[1] // (2 * course)) + 1
    tones = 1 + 0.16 * rng.standard_normal((rows, columns), dtype=np.float32)
    wall = np.repeat(np.repeat(tones, course, axis=0), 2 * course, axis=1)
    for row in range(1, rows, 2):
        wall[row * course : (row + 1) * course] = np.roll(wall[row * course : (row + 1) * course], course, axis=1)
    wall = wall[: shape[0], : shape[1]] + 0.1 * fractal(shape, (3, 24), rng)
    wall[::course] *= 1.15
    return np.clip(wall[..., None] * np.float32(colour), 0, 255).astype(np.uint8)


def leaves(shape: tuple[int, int], colour: Colour, density: float, rng: np.random.Generator) -> np.ndarray:
    """Leaves in light and shadow with gaps between them. RGBA uint8 [h, w, 4].

    Args:
        density: share of the ellipse that is leaves.
    """
    height, width = shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    lumps = fractal(shape, (max(2, height // 5), max(2, height // 10)), rng)
    fine = fractal(shape, (1, 2, 4), rng)
    light = 0.85 + 0.4 * lumps + 0.35 * fine - 0.3 * y
    inside = (1 - np.hypot(x, y) + 0.35 * lumps > 0.12) & (fine + 0.5 * lumps > np.quantile(fine, 1 - density) - 0.1)
    crown = np.empty((height, width, 4), dtype=np.uint8)
    crown[..., :3] = np.clip(light[..., None] * np.float32(colour), 0, 255)
    crown[..., 3] = inside * np.uint8(255)
    return crown
