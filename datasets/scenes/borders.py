"""What lines a street: house fronts with roofs, walls, fences, hedges, open land."""

from functools import partial

import cv2
import numpy as np

from datasets.scenes.canvas import Canvas
from datasets.scenes.facades import facade
from datasets.scenes.street import FAR, Street, Sun
from datasets.scenes.textures import brick, leaves, plain, shade

_ENDS = ((165, 140, 120), (150, 90, 70), (215, 210, 200), (130, 125, 120), (190, 165, 120))
_KINDS = ("building", "wall", "fence", "hedge", "open")


def paint_skyline(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    """Houses and trees where the street ends."""
    x = -90.0
    while x < 90:
        wide, high = rng.uniform(6, 18), rng.uniform(3, 14)
        at = [street.project(canvas, px, py, FAR) for px, py in [(x, high), (x + wide, high), (x + wide, 0), (x, 0)]]
        if rng.random() < 0.5:
            canvas.picture(at, facade(wide, high, 3.2, 4, rng), "building", FAR)
        else:
            crown = leaves((28, 40), shade((75, 90, 60), rng.uniform(0.6, 1.3)), 0.95, rng)
            canvas.picture(at, crown, "vegetation", FAR)
        x += wide * rng.uniform(0.5, 1.1)


def border(
    canvas: Canvas, street: Street, side: int, kinds: list[float], sun: Sun, rng: np.random.Generator
) -> list[tuple]:
    """One side of the street from its end to the camera: how far each piece reaches, and what paints it.

    Args:
        kinds: how likely a building, wall, fence, hedge or open land is.
    """
    ends = [FAR]
    while ends[-1] > 3:
        ends.append(max(1.2, ends[-1] - rng.uniform(5, 14)))
    x, pieces = side * (street.half_road + street.sidewalk), []
    for far, near in zip(ends[:-1], ends[1:], strict=True):
        kind = str(rng.choice(_KINDS, p=kinds))
        piece = np.random.default_rng(rng.integers(2**32))
        if kind != "open":
            pieces.append((far, partial(_PAINT[kind], canvas, street, x, near, far, sun, piece)))
    return pieces


def _upright(
    canvas: Canvas,
    street: Street,
    x: float,
    near: float,
    far: float,
    top: float,
    texture: np.ndarray,
    name: str,
    sun: Sun,
) -> None:
    """A picture on a plane along the street, in the sun or in its own shade, and the shadow it casts."""
    if sun is not None:
        lit = np.sign(x) * sun[0] > 0
        texture = cv2.convertScaleAbs(texture, alpha=1.1 if lit else 0.6)
        if not lit:
            reach = x + float(np.clip(sun[0] * top, -2 * street.half_road, 2 * street.half_road))
            cast = [(x, near), (x, far), (reach, far), (reach, near)]
            canvas.shadow([street.project(canvas, px, 0.0, z) for px, z in cast], 0.55)
    corners = [(far, top), (near, top), (near, 0.0), (far, 0.0)]
    canvas.picture([street.project(canvas, x, y, z) for z, y in corners], texture, name, (near + far) / 2)


def _building(
    canvas: Canvas, street: Street, x: float, near: float, far: float, sun: Sun, rng: np.random.Generator
) -> None:
    side, floor = float(np.sign(x)), rng.uniform(2.7, 3.6)
    height = floor * int(rng.choice([2, 3, 4, 5, 7], p=[0.3, 0.35, 0.2, 0.1, 0.05])) + 0.7
    paint = np.random.default_rng(rng.integers(2**32))  # a front takes more numbers the more pixels it has
    scale = street.scale(canvas, max(near, 3)) * 0.8
    roof = shade((95, 82, 78), rng.uniform(0.5, 1.2))
    deep, rise = x + side * rng.uniform(4, 9), rng.uniform(0, 3)
    end = [(x, height), (deep, height + rise), (deep, 0), (x, 0)]
    gable = facade(abs(deep - x), height, floor, scale * 0.6, paint) if rng.random() < 0.4 else _blind(rng)
    canvas.picture([street.project(canvas, px, py, near) for px, py in end], gable, "building", near)
    slope = [(deep, height + rise, far), (deep, height + rise, near), (x, height, near), (x, height, far)]
    tiles = brick((40, 60), roof, 3, rng)
    canvas.picture([street.project(canvas, *point) for point in slope], tiles, "building", near)
    _upright(canvas, street, x, near, far, height, facade(far - near, height, floor, scale, paint), "building", sun)
    for _ in range(int(rng.poisson(0.8))):
        at, stack = rng.uniform(near, far), (x + deep) / 2
        corners = [
            (stack, height + rise + 1.2),
            (stack + 0.9, height + rise + 1.2),
            (stack + 0.9, height),
            (stack, height),
        ]
        canvas.polygon([street.project(canvas, px, py, at) for px, py in corners], (120, 80, 65), "building", near)


def _blind(rng: np.random.Generator) -> np.ndarray:
    """The end of a house without windows, of brick or plaster."""
    colour = shade(_ENDS[int(rng.integers(len(_ENDS)))], rng.uniform(0.6, 1.05))
    return brick((72, 60), colour, 2, rng) if rng.random() < 0.5 else plain((36, 30), colour, 0.12, rng)


def _wall(
    canvas: Canvas, street: Street, x: float, near: float, far: float, sun: Sun, rng: np.random.Generator
) -> None:
    high, colour = rng.uniform(1.2, 3), shade((160, 125, 105), rng.uniform(0.6, 1.2))
    texture = brick((48, 120), colour, 3, rng) if rng.random() < 0.7 else plain((48, 120), (165, 160, 150), 0.12, rng)
    texture[:3] = np.uint8(shade(colour, 1.25))
    _upright(canvas, street, x, near, far, high, texture, "wall", sun)


def _fence(
    canvas: Canvas, street: Street, x: float, near: float, far: float, sun: Sun, rng: np.random.Generator
) -> None:
    """As in Cityscapes, what is seen through a fence is fence."""
    high, iron = rng.uniform(0.9, 2), rng.random() < 0.6
    back = [(70, 78, 60), (120, 115, 105), (95, 95, 95)][int(rng.integers(3))]
    texture = plain((40, max(16, int(12 * (far - near)))), back, 0.25, rng)
    bar = shade((45, 48, 48) if iron else (130, 100, 70), rng.uniform(0.7, 1.5))
    for left in range(0, texture.shape[1], 3 if iron else 4):
        texture[2:, left : left + (1 if iron else 3)] = bar
    for row in (2, 36):
        texture[row : row + 2] = bar
    _upright(canvas, street, x, near, far, high, texture, "fence", sun)


def _hedge(
    canvas: Canvas, street: Street, x: float, near: float, far: float, sun: Sun, rng: np.random.Generator
) -> None:
    leaf = (int(rng.integers(55, 100)), int(rng.integers(75, 110)), int(rng.integers(35, 60)))
    texture = leaves((96, 192), leaf, 0.98, rng)[24:72, 48:144, :3]
    _upright(canvas, street, x, near, far, rng.uniform(1, 4), np.ascontiguousarray(texture), "vegetation", sun)


_PAINT = {"building": _building, "wall": _wall, "fence": _fence, "hedge": _hedge}
