"""Snow that falls, frost on the windscreen, and fog in swathes."""

import cv2
import numpy as np

from datasets.corruptions.blur import trail, zoomed
from datasets.corruptions.noise import to_uint8

SNOW = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
"""Mean and standard deviation of the flakes' layer, their size, what is left out, radius and sigma of the trail, and
the share of the image that is not whitened."""
FROST = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
"""Weights of the image and of the frost."""
FOG = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))
"""Density, and by how much smaller swathes are fainter."""

_FROST_MEAN, _FROST_CONTRAST, _FROST_TINT = 160, 32, (12, 2, -14)


def snow(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Flakes with trails that fall at -135 to -45 degrees, from both sides, over a whitened image."""
    mean, deviation, size, least, radius, sigma, kept = SNOW[severity - 1]
    flakes = mean + deviation * rng.standard_normal(image.shape[:2], dtype=np.float32)
    flakes = zoomed(flakes, size)
    flakes = np.where(flakes < least, 0, np.clip(flakes, 0, 1)).astype(np.float32)
    flakes = 255 * trail(flakes, radius, sigma, rng.uniform(-135, -45))
    white = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None] * np.float32(1.5) + np.float32(127.5)
    whitened = np.float32(kept) * image + np.float32(1 - kept) * np.maximum(image, white)
    return to_uint8(whitened + (flakes + flakes[::-1, ::-1])[..., None])


def frost(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Weighted sum of the image and of `frosted_glass`: not the published corruption, which has photographs of it."""
    clear, icy = FROST[severity - 1]
    return to_uint8(np.float32(clear) * image + np.float32(icy) * frosted_glass(image.shape[:2], rng))


def frosted_glass(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Procedural frost, BGR float32 [h, w, 3]: feathers of ice that grow from random points, over a cloudy film.

    Mean (about 160) and deviation (about 30) are those of the photographs that the published corruption draws from.
    """
    height, width = shape
    film = plasma(shape, 1.9, rng)
    ice = _feathers(shape, rng)
    soft = cv2.GaussianBlur(ice, (0, 0), max(height, width) / 250)
    picture = 0.8 * (film - film.mean()) / film.std() + 0.9 * _standardized(ice) + 0.7 * _standardized(soft)
    grey = _FROST_MEAN + _FROST_CONTRAST * np.clip(_standardized(picture), -2.5, 2.5)
    return grey[..., None] + np.float32(_FROST_TINT)


def _standardized(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / (values.std() + 1e-6)


def _feathers(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Lines of ice, float32 [h, w] from 0 to 1: stems, and on both sides of each the barbs, at 60 degrees as in ice."""
    height, width = shape
    canvas = np.zeros(shape, np.uint8)
    span = max(height, width)
    for _ in range(300):
        start = rng.uniform(0, 1, 2) * (width, height)
        angle, length = rng.uniform(0, 2 * np.pi), span * rng.uniform(0.04, 0.16)
        _draw_feather(canvas, start, angle, length, int(rng.integers(70, 256)), rng)
    return canvas.astype(np.float32) / 255


def _draw_feather(
    canvas: np.ndarray, start: np.ndarray, angle: float, length: float, shade: int, rng: np.random.Generator
) -> None:
    share = np.linspace(0, 1, 40)
    turned = angle + rng.uniform(-0.8, 0.8) * share
    stem = start + np.cumsum(_towards(turned) * length / len(share), axis=0)
    lines = [stem]
    for side in (-1, 1):
        reach = 0.35 * length * (1 - share) * rng.uniform(0.2, 1, len(share))
        barbs = _towards(turned + side * np.pi / 3 + rng.normal(0, 0.12, len(share))) * reach[:, None]
        lines += list(np.stack([stem, stem + barbs], axis=1))
    points = [np.rint(line * 8).astype(np.int32) for line in lines]  # shift=3: in eighths of a pixel
    cv2.polylines(canvas, points, False, shade, 1, cv2.LINE_AA, shift=3)


def _towards(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def fog(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """(x + c f) m / (m + c) with plasma f from 0 to 1 and the image's brightest value m."""
    density, decay = FOG[severity - 1]
    swathes = np.float32(255 * density) * plasma(image.shape[:2], decay, rng)
    brightest = float(image.max())
    return to_uint8((image + swathes[..., None]) * np.float32(brightest / (brightest + 255 * density)))


def plasma(shape: tuple[int, int], decay: float, rng: np.random.Generator) -> np.ndarray:
    """Clouds by midpoint displacement (diamond-square) on a torus, float32 [h, w] from 0 to 1.

    The square that it is cut from has the power of two that holds the longer side.

    Args:
        decay: of the displacement's scale, from each grid to the next finer one; its bound is that scale squared.
    """
    grid, scale = np.zeros((1, 1), np.float32), 100.0
    while len(grid) < max(shape):
        grid = _refined(grid, scale**2, rng)
        scale /= decay
    grid -= grid.min()
    return (grid / grid.max())[: shape[0], : shape[1]]


def _refined(grid: np.ndarray, bound: float, rng: np.random.Generator) -> np.ndarray:
    """A grid [2n, 2n] of one [n, n]: centres from four corners, then edges from two corners and two centres."""

    def displaced(total: np.ndarray) -> np.ndarray:
        return total / 4 + np.float32(bound) * (2 * rng.random(grid.shape, dtype=np.float32) - 1)

    right, below = np.roll(grid, -1, axis=1), np.roll(grid, -1, axis=0)
    centres = displaced(grid + right + below + np.roll(right, -1, axis=0))
    finer = np.empty((2 * len(grid), 2 * len(grid)), np.float32)
    finer[::2, ::2], finer[1::2, 1::2] = grid, centres
    finer[::2, 1::2] = displaced(grid + right + centres + np.roll(centres, 1, axis=0))
    finer[1::2, ::2] = displaced(grid + below + centres + np.roll(centres, 1, axis=1))
    return finer
