"""Blur of a lens out of focus, of frosted glass, of a camera that moves, and of one that comes closer."""

import math

import cv2
import numpy as np

from datasets.corruptions.noise import to_uint8

DEFOCUS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
"""Radius of the disk in pixels, and the sigma that smooths its edge."""
GLASS = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
"""Sigma, farthest shift in pixels, rounds."""
MOTION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
"""Radius (the trail has 2 r + 1 pixels) and sigma along it."""
ZOOM = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
"""Zooms from 1 to below the first, in such steps."""


def defocus_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """The mean over a disk."""
    radius, sigma = DEFOCUS[severity - 1]
    reach, width = (8, 3) if radius <= 8 else (radius, 5)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (rows**2 + columns**2 <= radius**2).astype(np.float32)
    return cv2.filter2D(image, -1, cv2.GaussianBlur(disk / disk.sum(), (width, width), sigma))


def glass_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Smoothed, pixels shuffled over short distances, smoothed again."""
    sigma, reach, rounds = GLASS[severity - 1]
    width = 2 * int(4 * sigma + 0.5) + 1
    image = cv2.GaussianBlur(image, (width, width), sigma, borderType=cv2.BORDER_REPLICATE)
    for _ in range(rounds):
        source = shuffled(image.shape[:2], reach, rng)
        image = image.reshape(-1, 3)[source].reshape(image.shape)
    return cv2.GaussianBlur(image, (width, width), sigma, borderType=cv2.BORDER_REPLICATE)


def shuffled(shape: tuple[int, int], reach: int, rng: np.random.Generator) -> np.ndarray:
    """From which pixel each pixel has its value, as flat indices [h w].

    From the last pixel to the first, each takes the value that a random neighbour has at that time. A neighbour behind
    it has had its turn, and holds the value of another: so the way leads on from there, and all ways are
    followed at once, in steps that double.

    Args:
        shape: (h, w).
        reach: neighbours lie -reach … reach - 1 pixels away in each direction; pixels this close to a border stay.
    """
    height, width = shape
    source = np.arange(height * width, dtype=np.int32).reshape(shape)
    inner = (slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1))
    rows, columns = rng.integers(-reach, reach, (2, *source[inner].shape), dtype=np.int32)
    own = np.full(shape, np.iinfo(np.int32).max, np.int32)  # of pixels without a turn: nobody comes after them
    own[inner] = source[inner]
    had_turn = np.full(shape, False)
    had_turn[inner] = True
    source[inner] += rows * np.int32(width) + columns
    source, own, had_turn = source.ravel(), own.ravel(), had_turn.ravel()
    leads_on = (source > own) & had_turn[source]
    open_ways = np.flatnonzero(leads_on)
    while open_ways.size:
        over = source[open_ways]
        source[open_ways], leads_on[open_ways] = source[over], leads_on[over]
        open_ways = open_ways[leads_on[open_ways]]
    return source


def motion_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """A trail at an angle of -45 to 45 degrees, brightest at its head."""
    radius, sigma = MOTION[severity - 1]
    return trail(image, radius, sigma, rng.uniform(-45, 45))


def trail(image: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """Every pixel drawn out over 2 r + 1 pixels at an angle in degrees, with half a Gaussian's weights."""
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    reach = 2 * radius + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    down, right = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    rows, columns = np.ceil(steps * down - 0.5).astype(int), np.ceil(steps * right - 0.5).astype(int)
    np.add.at(kernel, (reach + rows, reach + columns), weights / weights.sum())
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def zoom_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """The mean of the image and of zooms into its middle, the first of which is the image again."""
    farthest, step = ZOOM[severity - 1]
    zooms = np.arange(1, farthest, step)
    total = image.astype(np.float32)
    for zoom in zooms:
        total += zoomed(image, zoom)
    return to_uint8(total / (len(zooms) + 1))


def zoomed(image: np.ndarray, zoom: float) -> np.ndarray:
    """The middle part of an image, enlarged to its size by linear interpolation."""
    height, width = image.shape[:2]
    (top, down), (left, right) = _span(height, zoom), _span(width, zoom)
    grid = np.float32([[right, 0, left], [0, down, top]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, grid, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)


def _span(side: int, zoom: float) -> tuple[float, float]:
    """Where the middle part begins, and how far apart its samples are, with its ends on the ends of the result."""
    part = math.ceil(side / zoom)
    return (side - part) // 2, (part - 1) / (round(part * zoom) - 1)
