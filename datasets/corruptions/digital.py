"""What happens to an image on its way: exposure, contrast, distortion, coarse pixels, compression."""

import io

import cv2
import numpy as np
from PIL import Image

from datasets.corruptions.noise import to_uint8

BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""What is added to HSV's value, of a range of 1."""
CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
"""What is left of the distance to the mean."""
ELASTIC = (12.5, 16.25, 21.25, 25.0, 30.0)
"""Factor of the smoothed shifts."""
PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)
"""Share of each side's pixels that is left."""
JPEG = (25, 18, 15, 10, 7)
"""Quality."""


def brightness(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Adds c to HSV's value; hue and saturation stay, so a pixel's channels keep their proportion."""
    value = image.max(axis=2, keepdims=True).astype(np.float32)
    brighter = np.minimum(value + np.float32(255 * BRIGHTNESS[severity - 1]), 255)
    return to_uint8(np.where(value > 0, image * (brighter / np.maximum(value, 1)), brighter))


def contrast(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """(x - m) c + m, with each channel's mean m."""
    means = image.reshape(-1, 3).mean(axis=0)
    levels = (np.arange(256)[:, None] - means) * CONTRAST[severity - 1] + means
    return cv2.LUT(image, to_uint8(levels)[None])


def elastic_transform(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Pixels moved by a smooth field: random shifts up to 0.5 % of the height, smoothed over 1 % of each side."""
    height, width = image.shape[:2]
    sigmas = (0.01 * width, 0.01 * height)
    window = [2 * int(3 * sigma + 0.5) + 1 for sigma in sigmas]
    grid = np.mgrid[:height, :width].astype(np.float32)
    for axis in (1, 0):
        shifts = rng.uniform(-0.005 * height, 0.005 * height, (height, width)).astype(np.float32)
        smooth = cv2.GaussianBlur(shifts, window, sigmas[0], sigmaY=sigmas[1], borderType=cv2.BORDER_REFLECT)
        grid[axis] += ELASTIC[severity - 1] * smooth
    return cv2.remap(image, grid[1], grid[0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def pixelate(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Box means on a coarser grid, each of which fills its place."""
    height, width = image.shape[:2]
    share = PIXELATE[severity - 1]
    coarse = Image.fromarray(image).resize((int(width * share), int(height * share)), Image.Resampling.BOX)
    return np.array(coarse.resize((width, height), Image.Resampling.NEAREST))


def jpeg_compression(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Written as JPEG and read again."""
    file = io.BytesIO()
    Image.fromarray(image[..., ::-1]).save(file, "JPEG", quality=JPEG[severity - 1])
    return np.ascontiguousarray(np.array(Image.open(file))[..., ::-1])
