"""House fronts as flat pictures: brick, stone or plaster, rows of windows, doors, shops, signs, cornices."""

import cv2
import numpy as np

from datasets.scenes.canvas import Colour
from datasets.scenes.textures import brick, plain, shade

_WALLS = (
    (165, 95, 70),
    (190, 165, 120),
    (205, 198, 182),
    (225, 222, 214),
    (150, 130, 112),
    (120, 112, 105),
    (140, 75, 60),
)
_SIGNS = ((30, 50, 110), (150, 30, 35), (30, 80, 55), (40, 40, 42), (215, 205, 190), (200, 120, 40), (90, 40, 90))
_LARGEST = 220  # pixels of a side


def facade(width: float, height: float, floor: float, scale: float, rng: np.random.Generator) -> np.ndarray:
    """A front of so many metres. RGB uint8 [h, w, 3].

    Args:
        floor: height of a storey.
        scale: pixels of a metre, where this front is nearest.
    """
    scale = max(3.0, min(scale, _LARGEST / max(width, height), 24.0))
    shape = (max(8, round(height * scale)), max(8, round(width * scale)))
    wall = shade(_WALLS[int(rng.integers(len(_WALLS)))], rng.uniform(0.7, 1.1))
    bricks = rng.random() < 0.45
    image = brick(shape, wall, max(2, round(0.12 * scale)), rng) if bricks else plain(shape, wall, 0.07, rng)
    _windows(image, floor, scale, rng)
    _ground_floor(image, floor, scale, rng)
    _ledges(image, floor, scale, wall, rng)
    return image


def _rectangle(image: np.ndarray, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
    cv2.rectangle(image, (round(left), round(top)), (round(right) - 1, round(bottom) - 1), colour, -1)


def _windows(image: np.ndarray, floor: float, scale: float, rng: np.random.Generator) -> None:
    """Storeys above the ground floor, counted from the ground."""
    height, width = image.shape[:2]
    wide, high = rng.uniform(0.8, 1.8) * scale, rng.uniform(0.45, 0.7) * floor * scale
    step = wide + rng.uniform(0.6, 1.8) * scale
    frame = [(235, 235, 230), (90, 70, 55), (50, 52, 55)][int(rng.choice(3, p=[0.65, 0.15, 0.2]))]
    count = max(1, int(width // step))
    margin = (width - (count - 1) * step - wide) / 2
    for storey in range(1, int(height / (floor * scale))):
        bottom = height - (storey + 0.22) * floor * scale
        for i in range(count):
            _window(image, margin + i * step, bottom - high, wide, high, frame, scale, rng)


def _window(
    image: np.ndarray, left: float, top: float, wide: float, high: float, frame: Colour, scale: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    edge = max(1.0, 0.09 * scale)
    glass = shade((70, 80, 92), rng.uniform(0.3, 1.5)) if rng.random() < 0.85 else (190, 200, 208)
    _rectangle(image, left - edge, top - edge, left + wide + edge, top + high + edge, frame)
    _rectangle(image, left, top, left + wide, top + high, glass)
    if rng.random() < 0.4:
        _rectangle(image, left, top, left + wide, top + high * rng.uniform(0.2, 0.6), shade(glass, 1.7))
    _rectangle(image, left + wide / 2 - edge / 2, top, left + wide / 2 + edge / 2, top + high, frame)
    _rectangle(image, left, top + high * 0.5, left + wide, top + high * 0.5 + edge, frame)
    _rectangle(
        image, left - 2 * edge, top + high + edge, left + wide + 2 * edge, top + high + 2 * edge, shade(frame, 0.7)
    )


def _ground_floor(image: np.ndarray, floor: float, scale: float, rng: np.random.Generator) -> None:
    """Shops, or doors between windows."""
    width = image.shape[1]
    left, shops = 0.0, rng.random() < 0.55
    while left < width:
        wide = rng.uniform(3.5, 7) * scale
        right = min(width, left + wide)
        (_shop if shops else _door)(image, left, right, floor, scale, rng)
        left += wide


def _shop(image: np.ndarray, left: float, right: float, floor: float, scale: float, rng: np.random.Generator) -> None:
    height = image.shape[0]
    top, sign = height - 0.95 * floor * scale, _SIGNS[int(rng.integers(len(_SIGNS)))]
    _rectangle(image, left, top, right, height, shade(sign, rng.uniform(0.6, 1)))
    glass = shade((70, 72, 76), rng.uniform(0.3, 1.4))
    pane = left + 0.25 * scale
    while pane < right - 0.6 * scale:
        stop = min(right - 0.25 * scale, pane + rng.uniform(1.1, 2.2) * scale)
        _rectangle(image, pane, top + 0.8 * scale, stop, height - 0.45 * scale, glass)
        for _ in range(3):  # what is shown in it
            x, y = rng.uniform(pane, stop), height - rng.uniform(0.7, 1.8) * scale
            ware = shade(glass, rng.uniform(0.5, 2.2)) if rng.random() < 0.7 else sign
            _rectangle(image, x, y, min(stop, x + 0.4 * scale), y + 0.4 * scale, ware)
        pane = stop + 0.15 * scale
    _letters(image, left + 0.5 * scale, right - 0.5 * scale, top + 0.2 * scale, 0.35 * scale, sign, rng)


def _letters(
    image: np.ndarray, left: float, right: float, top: float, high: float, ground: Colour, rng: np.random.Generator
) -> None:
    """Strokes that look like writing from afar."""
    ink = (240, 238, 225) if sum(ground) < 380 else (40, 35, 40)
    x = left + rng.uniform(0, 0.4) * max(0.0, right - left)
    for _ in range(int(rng.integers(4, 12))):
        if x + high > right:
            return
        _rectangle(image, x, top, x + high * 0.25 + 1, top + high, ink)
        bar = top + high * rng.uniform(0, 0.8)
        _rectangle(image, x, bar, x + high * 0.6, bar + high * 0.2 + 1, ink)
        x += high * 0.85


def _door(image: np.ndarray, left: float, right: float, floor: float, scale: float, rng: np.random.Generator) -> None:
    height = image.shape[0]
    paint = shade(_SIGNS[int(rng.integers(len(_SIGNS)))], 0.8)
    _rectangle(image, left + 0.4 * scale, height - 2.4 * scale, left + 1.6 * scale, height, (225, 222, 215))
    _rectangle(image, left + 0.5 * scale, height - 2.2 * scale, left + 1.5 * scale, height, paint)
    if right - left > 3.5 * scale:
        _window(image, left + 2.2 * scale, height - 2.3 * scale, 1.1 * scale, 1.4 * scale, (235, 235, 230), scale, rng)


def _ledges(image: np.ndarray, floor: float, scale: float, wall: Colour, rng: np.random.Generator) -> None:
    """Cornice, bands between storeys, drain pipes, and the shadow under the eaves."""
    height, width = image.shape[:2]
    _rectangle(image, 0, 0, width, max(1, 0.35 * scale), shade(wall, rng.uniform(0.6, 1.3)))
    _rectangle(image, 0, 0.35 * scale, width, 0.6 * scale + 1, shade(wall, 0.55))
    if rng.random() < 0.4:
        for storey in range(1, int(height / (floor * scale))):
            y = height - storey * floor * scale
            _rectangle(image, 0, y, width, y + max(1, 0.15 * scale), shade(wall, 1.2))
    if rng.random() < 0.6:
        _rectangle(image, width - 0.25 * scale, 0, width - 0.1 * scale, height, shade(wall, 0.5))
