"""Skies: clear, clouded, overcast or washed out to white, brighter towards the horizon."""

import cv2
import numpy as np

from datasets.scenes.canvas import Canvas
from datasets.scenes.textures import fractal

_CELLS = (4, 8, 16)  # of clouds in a map of fixed size, so that they look alike at every picture size
_MAP = (72, 64)


def paint_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    """Fills the whole canvas with sky."""
    canvas.box(0, 0, canvas.width, canvas.height, (120, 175, 235), "sky", 1000)
    top, bottom = _colours(rng)
    climb = np.linspace(0, 1, canvas.height, dtype=np.float32)[:, None, None] ** 0.8
    sky = top * (1 - np.minimum(2 * climb, 1)) + bottom * np.minimum(2 * climb, 1)
    clouds = cv2.resize(fractal(_MAP, _CELLS, rng), (canvas.width, canvas.height), interpolation=cv2.INTER_CUBIC)
    cover = np.clip((clouds + rng.uniform(-0.7, 0.5)) * rng.uniform(0.8, 3), 0, 1)[..., None]
    cloud = np.float32(rng.uniform(170, 255)) * (1 - 0.12 * np.clip(clouds, 0, 1))[..., None]
    canvas.image[:] = np.clip(sky * (1 - cover) + cloud * cover, 0, 255).astype(np.uint8)


def _colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    kind = rng.choice(["clear", "white", "grey"], p=[0.45, 0.35, 0.2])
    if kind == "clear":
        blue = rng.uniform(0.55, 1)
        return np.float32([255 - 150 * blue, 255 - 95 * blue, 255 - 20 * blue]), np.float32([215, 232, 248])
    bright = rng.uniform(235, 255) if kind == "white" else rng.uniform(140, 205)
    return np.float32([0.97, 0.985, 1]) * bright, np.float32([1, 1, 1]) * min(255, bright * 1.06)
