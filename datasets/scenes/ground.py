"""The ground: asphalt with patches, cracks and markings, kerbs, paving and grass, textured in perspective."""

import cv2
import numpy as np

from datasets.scenes.canvas import RAW_ID, Canvas, Colour
from datasets.scenes.street import FAR, Street
from datasets.scenes.textures import fractal, noise, shade

_TILE, _PER_METRE = 256, 16  # pixels of a repeated square of ground, and of its metre


def paint_ground(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    """Road, sidewalks and land to the horizon, then their surface, then the markings."""
    road, near = street.half_road, 0.8
    edge = road + street.sidewalk
    asphalt = shade((100, 100, 104), rng.uniform(0.65, 1.35))
    paving = (
        shade((150, 146, 142), rng.uniform(0.6, 1.25)) if rng.random() < 0.6 else shade(asphalt, rng.uniform(0.9, 1.3))
    )
    kerb = shade((150, 148, 145), rng.uniform(0.7, 1.3))
    land = [(95, 125, 60), (125, 125, 75), (130, 110, 85)][int(rng.choice(3, p=[0.6, 0.2, 0.2]))]
    distances = np.geomspace(FAR, near, 16)
    for far, close in zip(distances[:-1], distances[1:], strict=True):
        place = float(close)
        canvas.polygon(strip(canvas, street, -200, 200, close, far), land, "terrain", place)
        canvas.polygon(strip(canvas, street, -edge, edge, close, far), paving, "sidewalk", place)
        canvas.polygon(strip(canvas, street, -road - 0.15, road + 0.15, close, far), kerb, None, place)
        canvas.polygon(strip(canvas, street, -road, road, close, far), asphalt, "road", place)
    _patches(canvas, street, asphalt, rng)
    _markings(canvas, street, rng)
    _surface(canvas, street, np.random.default_rng(rng.integers(2**32)))


def strip(canvas: Canvas, street: Street, left: float, right: float, near: float, far: float, y: float = 0.0) -> list:
    """Corners of a piece of ground between two distances."""
    corners = [(left, near), (left, far), (right, far), (right, near)]
    return [street.project(canvas, x, y, z) for x, z in corners]


def _patches(canvas: Canvas, street: Street, asphalt: Colour, rng: np.random.Generator) -> None:
    """Repairs, manholes, drains and tar in the cracks."""
    road = street.half_road
    for _ in range(int(rng.poisson(4))):
        x, z, wide, long = rng.uniform(-road, road - 1), rng.uniform(2, 30), rng.uniform(0.4, 2), rng.uniform(0.6, 9)
        tone = shade(asphalt, rng.uniform(0.75, 1.2))
        canvas.polygon(strip(canvas, street, x, min(road, x + wide), z, z + long), tone, None, z)
    for _ in range(int(rng.poisson(2))):
        x, z, crack = rng.uniform(-road, road), rng.uniform(2, 12), []
        for step in range(8):
            crack.append((float(np.clip(x, -road, road - 0.03)), z + step * 0.7))
            x += rng.normal(0, 0.25)
        points = [street.project(canvas, px, 0, pz) for px, pz in crack]
        back = [street.project(canvas, px + 0.04, 0, pz) for px, pz in reversed(crack)]
        canvas.polygon(points + back, shade(asphalt, 0.6), None, 1.0)


def _markings(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    road, paint = street.half_road, shade((232, 232, 226), rng.uniform(0.75, 1.05))
    middle, dash = rng.uniform(-0.2, 0.2) * road, rng.uniform(1.5, 4)
    if rng.random() < 0.75:
        for start in np.arange(1.5, 60, dash * rng.uniform(1.8, 3)):
            canvas.polygon(strip(canvas, street, middle - 0.07, middle + 0.07, start, start + dash), paint, None, 1.0)
    for side in (-1, 1):
        kind = rng.choice(["none", "white", "yellow"], p=[0.4, 0.3, 0.3])
        offsets = {"none": (), "white": (0.3,), "yellow": (0.2, 0.42)}[kind]
        for offset in offsets:
            colour = (205, 175, 80) if kind == "yellow" else paint
            line = sorted((side * (road - offset), side * (road - offset - 0.1)))
            for far, near in zip((FAR, 30, 10, 3), (30, 10, 3, 0.8), strict=True):
                canvas.polygon(strip(canvas, street, *line, near, far), colour, None, near)
    _crossings(canvas, street, paint, rng)


def _crossings(canvas: Canvas, street: Street, paint: Colour, rng: np.random.Generator) -> None:
    """A zebra, a stop line, or hatching."""
    road, at = street.half_road, rng.uniform(5, 25)
    kind = rng.choice(["none", "zebra", "stop", "hatch"], p=[0.5, 0.2, 0.15, 0.15])
    if kind == "zebra":
        for x in np.arange(-road + 0.4, road - 0.6, 1.1):
            canvas.polygon(strip(canvas, street, x, x + 0.55, at, at + 3), paint, None, at)
    elif kind == "stop":
        canvas.polygon(strip(canvas, street, -road + 0.3, road - 0.3, at, at + 0.4), paint, None, at)
    elif kind == "hatch":
        for z in np.arange(at, at + 8, 1.5):
            corners = [(-0.8, z), (0.8, z + 1.2), (0.8, z + 1.5), (-0.8, z + 0.3)]
            canvas.polygon([street.project(canvas, px, 0, pz) for px, pz in corners], paint, None, at)


def _surface(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    """Multiplies grain, stains, slabs and grass onto what is painted, where they lie on the ground."""
    first, x, z = street.ground(canvas)
    label, image = canvas.label[first:], canvas.image[first:]
    light = np.ones(label.shape, dtype=np.float32)
    tiles = {"road": _asphalt(rng), "sidewalk": _slabs(rng), "terrain": _grass(rng)}
    column, row = np.mod(x * _PER_METRE, _TILE), np.mod(z * _PER_METRE, _TILE)
    for name, tile in tiles.items():
        here = label == RAW_ID[name]
        seen = cv2.remap(tile, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        light[here] = seen[here]
    fade = np.minimum(1, 12 / z)  # far texture averages out
    light = 1 + (light - 1) * fade + 0.05 * noise(label.shape, 1, rng)
    wear = cv2.remap(fractal((64, 64), (4, 8, 16), rng), np.mod(x, 60), np.mod(z * 0.4, 60), cv2.INTER_LINEAR)
    image[:] = np.clip(image * (light + 0.1 * wear)[..., None], 0, 255).astype(np.uint8)


def _asphalt(rng: np.random.Generator) -> np.ndarray:
    return 1 + 0.12 * fractal((_TILE, _TILE), (1, 2, 8, 32), rng)


def _slabs(rng: np.random.Generator) -> np.ndarray:
    """Large slabs, small setts, or asphalt as on the road; joints are dark or hardly seen."""
    if rng.random() < 0.35:
        return _asphalt(rng)
    size, joint = int(rng.choice([3, 6, 8, 12])), rng.uniform(0.72, 0.97)
    tones = 1 + 0.07 * rng.standard_normal((_TILE // size + 1, _TILE // size + 1), dtype=np.float32)
    tile = np.repeat(np.repeat(tones, size, axis=0), size, axis=1)[:_TILE, :_TILE]
    tile[::size] *= joint
    tile[:, ::size] *= joint
    return tile + 0.06 * fractal((_TILE, _TILE), (1, 4, 32), rng)


def _grass(rng: np.random.Generator) -> np.ndarray:
    return 1 + 0.3 * fractal((_TILE, _TILE), (1, 2, 4, 32), rng)
