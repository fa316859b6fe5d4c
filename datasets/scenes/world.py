"""A random street in perspective: sky, ground, what lines it and what stands on it, painted from far to near."""

import numpy as np

from datasets.scenes import objects
from datasets.scenes.borders import paint_border, paint_skyline
from datasets.scenes.canvas import Canvas
from datasets.scenes.ground import paint_ground
from datasets.scenes.sky import paint_sky
from datasets.scenes.street import Street

# draw function, how many a scene (mean), metres from the middle of the road (in units of half its width)
_ON_ROAD = ((objects.car, 3.0), (objects.truck, 0.5), (objects.bus, 0.45), (objects.rider, 1.0), (objects.train, 0.35))
_ON_SIDEWALK = (
    (objects.person, 4.0),
    (objects.bicycle, 1.0),
    (objects.motorcycle, 0.8),
    (objects.pole, 3.0),
    (objects.traffic_light, 1.3),
    (objects.traffic_sign, 1.8),
    (objects.tree, 3.5),
)


def paint(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paints one street; the same generator state gives the same geometry at every size of this shape."""
    street = Street(
        horizon=rng.uniform(0.38, 0.5),
        camera=rng.uniform(1.3, 2.0),
        half_road=rng.uniform(3.5, 6.5),
        sidewalk=rng.uniform(1.8, 3.5),
        shift=rng.uniform(-1.5, 1.5),
    )
    paint_sky(canvas, np.random.default_rng(rng.integers(2**32)))
    paint_skyline(canvas, street, rng)
    paint_ground(canvas, street, rng)
    for side in (-1, 1):
        paint_border(canvas, street, side, [0.56, 0.12, 0.12, 0.1, 0.1], rng)
    _place_objects(canvas, street, rng)


def _place_objects(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    placed = []
    for draw, mean in _ON_ROAD:
        for _ in range(rng.poisson(mean)):
            placed.append((_distance(rng, draw), draw, rng.uniform(-0.85, 0.85) * street.half_road))
    for draw, mean in _ON_SIDEWALK:
        for _ in range(rng.poisson(mean)):
            x = street.half_road + rng.uniform(0.15, 0.95) * street.sidewalk
            placed.append((_distance(rng, draw), draw, float(rng.choice([-1, 1])) * x))
    for z, draw, x in sorted(placed, key=lambda item: -item[0]):
        px, py = street.project(canvas, x, 0, z)
        draw(canvas, px, py, street.scale(canvas, z), z, rng)


def _distance(rng: np.random.Generator, draw) -> float:
    """Large vehicles stay further away, so that they don't fill the picture."""
    nearest = 11 if draw in (objects.bus, objects.truck, objects.train) else 4.5
    return float(nearest + (45 - nearest) * rng.beta(1.1, 2.2))
