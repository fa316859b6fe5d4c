"""What stands in a street, each drawn into a box: x is the middle, y the ground, s the pixels of a metre there."""

import numpy as np

from datasets.scenes.canvas import Canvas, Colour
from datasets.scenes.textures import shade

_DARK: Colour = (25, 25, 28)
_GLASS: Colour = (60, 80, 95)


def person(c: Canvas, x: float, y: float, s: float, z: float, rng: np.random.Generator, name: str = "person") -> None:
    """A standing body, 1.75 m."""
    shirt, trousers = _clothes(rng), _clothes(rng)
    c.box(x - 0.17 * s, y - 0.85 * s, x - 0.02 * s, y, trousers, name, z)
    c.box(x + 0.02 * s, y - 0.85 * s, x + 0.17 * s, y, trousers, name, z)
    c.box(x - 0.25 * s, y - 1.45 * s, x + 0.25 * s, y - 0.8 * s, shirt, name, z)
    c.ellipse(x, y - 1.6 * s, 0.13 * s, 0.16 * s, (205, 160, 130), name, z)


def _clothes(rng: np.random.Generator) -> Colour:
    return tuple(int(v) for v in rng.integers(20, 230, 3))


def bicycle(c: Canvas, x: float, y: float, s: float, z: float, rng: np.random.Generator, name: str = "bicycle") -> None:
    """Two wheels and a frame, 1.7 m long."""
    frame = _clothes(rng)
    for side in (-1, 1):
        c.ellipse(x + side * 0.55 * s, y - 0.33 * s, 0.33 * s, 0.33 * s, _DARK, name, z)
        c.ellipse(x + side * 0.55 * s, y - 0.33 * s, 0.2 * s, 0.2 * s, (120, 120, 120), name, z)
    c.polygon([(x - 0.55 * s, y - 0.33 * s), (x - 0.1 * s, y - 0.9 * s), (x + 0.1 * s, y - 0.33 * s)], frame, name, z)
    c.polygon([(x + 0.55 * s, y - 0.33 * s), (x + 0.4 * s, y - 1.0 * s), (x - 0.1 * s, y - 0.8 * s)], frame, name, z)


def motorcycle(c: Canvas, x: float, y: float, s: float, z: float, rng: np.random.Generator) -> None:
    """Heavy wheels, tank and engine, 2 m long."""
    body = _clothes(rng)
    for side in (-1, 1):
        c.ellipse(x + side * 0.7 * s, y - 0.32 * s, 0.34 * s, 0.34 * s, _DARK, "motorcycle", z)
    c.box(x - 0.5 * s, y - 0.75 * s, x + 0.45 * s, y - 0.25 * s, shade(body, 0.6), "motorcycle", z)
    c.ellipse(x + 0.15 * s, y - 0.8 * s, 0.4 * s, 0.2 * s, body, "motorcycle", z)
    c.box(x + 0.45 * s, y - 1.1 * s, x + 0.6 * s, y - 0.5 * s, _DARK, "motorcycle", z)


def rider(c: Canvas, x: float, y: float, s: float, z: float, rng: np.random.Generator) -> None:
    """Somebody on a bicycle or a motorcycle."""
    (bicycle if rng.random() < 0.6 else motorcycle)(c, x, y, s, z, rng)
    coat, trousers = _clothes(rng), _clothes(rng)
    c.polygon([(x - 0.2 * s, y - 0.95 * s), (x + 0.15 * s, y - 0.95 * s), (x + 0.2 * s, y - 0.3 * s), (x, y - 0.3 * s)],
              trousers, "rider", z)  # fmt: skip
    c.polygon([(x - 0.25 * s, y - 0.85 * s), (x + 0.15 * s, y - 0.85 * s), (x + 0.35 * s, y - 1.45 * s),
               (x - 0.05 * s, y - 1.5 * s)], coat, "rider", z)  # fmt: skip
    c.ellipse(x + 0.2 * s, y - 1.62 * s, 0.15 * s, 0.17 * s, shade(coat, 0.5), "rider", z)


def car(c: Canvas, x: float, y: float, s: float, z: float, rng: np.random.Generator) -> None:
    """Seen from behind or from the side."""
    paint = tuple(
        int(v) for v in rng.choice([[190, 30, 30], [30, 60, 150], [220, 220, 225], [40, 42, 45], [150, 155, 160]])
    )
    half, roof = (0.9, 0.65) if rng.random() < 0.5 else (2.1, 1.2)
    for side in (-1, 1):
        c.ellipse(x + side * half * 0.68 * s, y - 0.3 * s, 0.3 * s, 0.3 * s, _DARK, "car", z)
    c.box(x - half * s, y - 0.95 * s, x + half * s, y - 0.22 * s, paint, "car", z)
    cabin = [(x - roof * s, y - 0.9 * s), (x - roof * 0.8 * s, y - 1.5 * s), (x + roof * 0.8 * s, y - 1.5 * s)]
    c.polygon([*cabin, (x + roof * s, y - 0.9 * s)], shade(paint, 0.9), "car", z)
    c.box(x - roof * 0.72 * s, y - 1.4 * s, x + roof * 0.72 * s, y - 0.98 * s, _GLASS, None, z)
    for side in (-1, 1):
        c.ellipse(x + side * half * 0.85 * s, y - 0.7 * s, 0.12 * s, 0.1 * s, (240, 60, 40), None, z)


def truck(c: Canvas, x: float, y: float, s: float, z: float, rng: np.random.Generator) -> None:
    """A cab and a high box, 3.6 m."""
    cargo = tuple(int(v) for v in rng.integers(120, 240, 3))
    c.box(x - 1.3 * s, y - 3.6 * s, x + 1.3 * s, y - 0.7 * s, cargo, "truck", z)
    c.box(x + 1.3 * s, y - 2.6 * s, x + 2.6 * s, y - 0.5 * s, shade(cargo, 0.55), "truck", z)
    c.box(x + 1.7 * s, y - 2.3 * s, x + 2.5 * s, y - 1.5 * s, _GLASS, None, z)
    c.box(x - 1.3 * s, y - 0.7 * s, x + 2.6 * s, y - 0.4 * s, _DARK, "truck", z)
    for place in (-0.8, 0.5, 2.0):
        c.ellipse(x + place * s, y - 0.45 * s, 0.45 * s, 0.45 * s, _DARK, "truck", z)


def bus(c: Canvas, x: float, y: float, s: float, z: float, rng: np.random.Generator) -> None:
    """A long row of windows over a coloured side, 3 m high."""
    paint = tuple(int(v) for v in rng.choice([[200, 40, 40], [230, 180, 40], [50, 110, 180], [60, 140, 80]]))
    c.box(x - 3.5 * s, y - 3.0 * s, x + 3.5 * s, y - 0.4 * s, paint, "bus", z)
    for i in range(7):
        c.box(x + (i - 3.4) * s, y - 2.6 * s, x + (i - 2.6) * s, y - 1.6 * s, _GLASS, None, z)
    for place in (-2.3, 2.3):
        c.ellipse(x + place * s, y - 0.45 * s, 0.5 * s, 0.5 * s, _DARK, "bus", z)


def train(c: Canvas, x: float, y: float, s: float, z: float, rng: np.random.Generator) -> None:
    """A tram: two cars of 3.4 m height on a dark base, with a pantograph."""
    paint = tuple(int(v) for v in rng.choice([[235, 235, 225], [190, 200, 60]]))
    for car_x in (x - 3.6 * s, x + 3.6 * s):
        c.box(car_x - 3.5 * s, y - 3.4 * s, car_x + 3.5 * s, y - 0.5 * s, paint, "train", z)
        c.box(car_x - 3.5 * s, y - 1.5 * s, car_x + 3.5 * s, y - 1.1 * s, (170, 30, 40), None, z)
        for i in range(5):
            c.box(car_x + (1.35 * i - 3.2) * s, y - 2.9 * s, car_x + (1.35 * i - 2.1) * s, y - 1.7 * s, _GLASS, None, z)
    c.box(x - 7.1 * s, y - 0.5 * s, x + 7.1 * s, y - 0.1 * s, _DARK, "train", z)
    c.polygon([(x - 0.5 * s, y - 3.4 * s), (x, y - 4.2 * s), (x + 0.5 * s, y - 3.4 * s)], _DARK, "train", z)


def tree(c: Canvas, x: float, y: float, s: float, z: float, rng: np.random.Generator) -> None:
    """A trunk and a crown of several balls of leaves."""
    leaf = (int(rng.integers(25, 90)), int(rng.integers(90, 150)), int(rng.integers(20, 60)))
    c.box(x - 0.15 * s, y - 2.2 * s, x + 0.15 * s, y, (80, 60, 40), "vegetation", z)
    for _ in range(7):
        dx, dy, r = rng.uniform(-1.2, 1.2), rng.uniform(-4.6, -2.4), rng.uniform(0.7, 1.3)
        c.ellipse(x + dx * s, y + dy * s, r * s, r * s, shade(leaf, rng.uniform(0.8, 1.2)), "vegetation", z)


def pole(c: Canvas, x: float, y: float, s: float, z: float, rng: np.random.Generator) -> None:
    """A lamp post, 6 m."""
    c.box(x - 0.1 * s, y - 6 * s, x + 0.1 * s, y, (130, 130, 132), "pole", z)
    c.box(x - 0.1 * s, y - 6 * s, x + 0.9 * s, y - 5.85 * s, (130, 130, 132), "pole", z)


def traffic_light(c: Canvas, x: float, y: float, s: float, z: float, rng: np.random.Generator) -> None:
    """A black case with one lamp lit, on a pole."""
    c.box(x - 0.08 * s, y - 3.0 * s, x + 0.08 * s, y, (110, 110, 112), "pole", z)
    c.box(x - 0.28 * s, y - 4.2 * s, x + 0.28 * s, y - 3.0 * s, (30, 32, 30), "traffic light", z)
    lit = int(rng.integers(3))
    for i, colour in enumerate([(240, 40, 30), (250, 190, 40), (50, 230, 90)]):
        c.ellipse(x, y - (4.0 - 0.4 * i) * s, 0.15 * s, 0.15 * s, colour if i == lit else shade(colour, 0.25), None, z)


def traffic_sign(c: Canvas, x: float, y: float, s: float, z: float, rng: np.random.Generator) -> None:
    """A round, three-cornered or square plate on a pole."""
    c.box(x - 0.06 * s, y - 2.3 * s, x + 0.06 * s, y, (140, 140, 140), "pole", z)
    kind, middle = int(rng.integers(3)), y - 2.7 * s
    if kind == 0:
        c.ellipse(x, middle, 0.45 * s, 0.45 * s, (215, 30, 30), "traffic sign", z)
        c.ellipse(x, middle, 0.3 * s, 0.3 * s, (240, 240, 240), None, z)
    elif kind == 1:
        c.polygon([(x, middle - 0.5 * s), (x - 0.5 * s, middle + 0.4 * s), (x + 0.5 * s, middle + 0.4 * s)],
                  (250, 220, 40), "traffic sign", z)  # fmt: skip
    else:
        c.box(x - 0.45 * s, middle - 0.45 * s, x + 0.45 * s, middle + 0.45 * s, (40, 80, 200), "traffic sign", z)
