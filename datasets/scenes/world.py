"""A random street in perspective: sky, ground, what lines it and what stands on it, painted from far to near."""

from collections.abc import Callable
from functools import partial

import numpy as np

from datasets.scenes import furniture, people, plants, vehicles
from datasets.scenes.borders import border, paint_skyline
from datasets.scenes.canvas import Canvas
from datasets.scenes.ground import paint_ground
from datasets.scenes.place import Place
from datasets.scenes.sky import paint_sky
from datasets.scenes.street import FAR, Street, Sun

_Draw = Callable[[Place, np.random.Generator], None]
_Item = tuple[float, Callable[[], None]]  # how far, and what paints it

# draw function, how many a scene (mean)
_ON_ROAD = (
    (vehicles.car, 3.2),
    (vehicles.truck, 0.4),
    (vehicles.bus, 0.4),
    (people.rider, 1.3),
    (vehicles.train, 0.45),
)
_ON_SIDEWALK = (
    (people.person, 5.5),
    (people.bicycle, 1.8),
    (people.motorcycle, 0.6),
    (furniture.pole, 4.5),
    (furniture.traffic_light, 1.6),
    (furniture.traffic_sign, 2.2),
    (plants.tree, 2.5),
)
# how likely a building, wall, fence, hedge or open land lines a street
_KINDS = {
    "town": [0.85, 0.05, 0.05, 0.02, 0.03],
    "suburb": [0.45, 0.15, 0.15, 0.13, 0.12],
    "park": [0.12, 0.12, 0.16, 0.2, 0.4],
}


def paint(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paints one street; the same generator state gives the same geometry at every size of this shape."""
    half_road = rng.uniform(3, 8)
    street = Street(
        horizon=rng.uniform(0.36, 0.54),
        camera=rng.uniform(1.2, 2.0),
        half_road=half_road,
        sidewalk=rng.uniform(1.5, 6),
        shift=rng.uniform(-0.65, 0.65) * half_road,
        curve=float(rng.choice([0.0, rng.uniform(-0.004, 0.004)])),
    )
    paint_sky(canvas, np.random.default_rng(rng.integers(2**32)))
    paint_skyline(canvas, street, rng)
    paint_ground(canvas, street, rng)
    sun = (rng.uniform(-1.5, 1.5), rng.uniform(-1, 1)) if rng.random() < 0.5 else None
    items = _parked(canvas, street, sun, rng) + _objects(canvas, street, sun, rng)
    for side in (-1, 1):
        kind = str(rng.choice(list(_KINDS), p=[0.4, 0.35, 0.25]))
        items += border(canvas, street, side, _KINDS[kind], sun, rng)
        items += _greenery(canvas, street, side, {"town": 0.3, "suburb": 3, "park": 9}[kind], sun, rng)
    for _, draw in sorted(items, key=lambda item: -item[0]):
        draw()


def _item(canvas: Canvas, street: Street, sun: Sun, x: float, z: float, draw: _Draw, rng: np.random.Generator) -> _Item:
    """Something at a spot, with random numbers of its own: what it draws does not change what comes after it."""
    own = np.random.default_rng(rng.integers(2**32))
    return z, partial(draw, Place(canvas, street, x, z, sun), own)


def _parked(canvas: Canvas, street: Street, sun: Sun, rng: np.random.Generator) -> list[_Item]:
    """Rows of cars along a kerb."""
    items = []
    for side in (-1, 1):
        if rng.random() < 0.45:
            z = rng.uniform(3, 20)
            for _ in range(int(rng.integers(1, 9))):
                x = side * (street.half_road - 1.05 + rng.normal(0, 0.1))
                if abs(x - street.shift) > 1.8:
                    items.append(_item(canvas, street, sun, x, z, vehicles.car, rng))
                z += rng.uniform(5.2, 7.5)
    return items


def _greenery(
    canvas: Canvas, street: Street, side: int, mean: float, sun: Sun, rng: np.random.Generator
) -> list[_Item]:
    """Trees and bushes behind what lines the street."""
    items = []
    for _ in range(int(rng.poisson(mean))):
        x = side * (street.half_road + street.sidewalk + rng.uniform(1.5, 18))
        draw = plants.tree if rng.random() < 0.7 else plants.bush
        items.append(_item(canvas, street, sun, x, rng.uniform(8, FAR), draw, rng))
    return items


def _objects(canvas: Canvas, street: Street, sun: Sun, rng: np.random.Generator) -> list[_Item]:
    items = []
    for draw, mean in _ON_ROAD:
        for _ in range(rng.poisson(mean)):
            x = rng.uniform(-0.8, 0.8) * street.half_road
            items.append(_item(canvas, street, sun, x, _distance(rng, draw), draw, rng))
    for draw, mean in _ON_SIDEWALK:
        for _ in range(rng.poisson(mean)):
            x = street.half_road + rng.uniform(0.15, 0.95) * street.sidewalk
            spot = float(rng.choice([-1, 1])) * x
            items.append(_item(canvas, street, sun, spot, _distance(rng, draw), draw, rng))
    return items


def _distance(rng: np.random.Generator, draw: _Draw) -> float:
    """Large vehicles stay further away, so that they don't fill the picture."""
    nearest = 11 if draw in (vehicles.bus, vehicles.truck, vehicles.train) else 4.0
    return float(nearest + (50 - nearest) * rng.beta(1.1, 2.0))
