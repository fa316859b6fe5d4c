"""Noise of a sensor in the dark, of few photons, of dead pixels, and in proportion to the light."""

import numpy as np

GAUSSIAN = (0.08, 0.12, 0.18, 0.26, 0.38)
"""Standard deviation, of a range of 1."""
SHOT = (60, 25, 12, 5, 3)
"""Photons of a white pixel."""
IMPULSE = (0.03, 0.06, 0.09, 0.17, 0.27)
"""Share of the values that become 0 or 255."""
SPECKLE = (0.15, 0.2, 0.35, 0.45, 0.6)
"""Standard deviation, of a pixel's own value."""


def gaussian_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """x + n, n ~ N(0, c²) for each value."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return to_uint8(image + noise * np.float32(255 * GAUSSIAN[severity - 1]))


def shot_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Poisson(x c) / c."""
    photons = SHOT[severity - 1]
    return to_uint8(rng.poisson(image * (photons / 255)) * (255 / photons))


def impulse_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Salt and pepper, each half of the share, for each value of a pixel by itself."""
    chance = rng.random(image.shape, dtype=np.float32)
    half = IMPULSE[severity - 1] / 2
    return np.where(chance < half, np.uint8(0), np.where(chance >= 1 - half, np.uint8(255), image))


def speckle_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """x + x n, n ~ N(0, c²)."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return to_uint8(image * (1 + noise * np.float32(SPECKLE[severity - 1])))


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 255, whatever lies outside cut off, rounded."""
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
