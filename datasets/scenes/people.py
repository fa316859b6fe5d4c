"""People and what they ride: standing, walking, in a group, on bicycles and motorcycles."""

import numpy as np

from datasets.scenes.canvas import Colour
from datasets.scenes.place import Place
from datasets.scenes.textures import shade

_DARK: Colour = (25, 25, 28)
_CLOTHES = (
    (30, 32, 38),
    (45, 50, 70),
    (70, 65, 60),
    (120, 115, 105),
    (150, 40, 40),
    (60, 80, 120),
    (205, 205, 200),
    (95, 85, 70),
)
_SKIN = ((205, 165, 140), (170, 125, 95), (110, 78, 58))
_HAIR = ((40, 30, 25), (95, 70, 45), (25, 22, 22), (160, 150, 140))


def _clothes(rng: np.random.Generator) -> Colour:
    return shade(_CLOTHES[int(rng.integers(len(_CLOTHES)))], rng.uniform(0.7, 1.3))


def person(p: Place, rng: np.random.Generator) -> None:
    """Somebody who walks or stands, 1.5 to 1.9 m, at times with others."""
    p.shadow(-0.25, 0.25, 1.7, 0.3)
    _figure(p, 0.0, rng)
    while rng.random() < 0.35:
        _figure(p, rng.uniform(-0.9, 0.9), rng)


def _figure(p: Place, at: float, rng: np.random.Generator) -> None:
    tall, coat, trousers = rng.uniform(0.87, 1.08), _clothes(rng), shade(_clothes(rng), 0.7)
    stride, turn = rng.uniform(0, 0.28), rng.uniform(0.7, 1.0)
    hip, neck, head = 0.85 * tall, 1.45 * tall, 1.6 * tall
    for side in (-1, 1):
        foot = at + side * (0.09 + stride)
        p.polygon([(at + side * 0.16 * turn, hip), (at, hip), (foot - 0.06, 0), (foot + 0.08, 0)], trousers, "person")
        p.polygon(
            [
                (at + side * 0.2 * turn, neck),
                (at + side * 0.28 * turn, neck - 0.1),
                (at + side * (0.28 + stride / 3), hip),
                (at + side * 0.2 * turn, hip),
            ],
            shade(coat, 0.8),
            "person",
        )
    skirt = rng.uniform(0.5, 0.9) * hip
    p.polygon(
        [
            (at - 0.2 * turn, skirt),
            (at + 0.2 * turn, skirt),
            (at + 0.24 * turn, neck - 0.05),
            (at + 0.1, neck + 0.04),
            (at - 0.1, neck + 0.04),
            (at - 0.24 * turn, neck - 0.05),
        ],
        coat,
        "person",
    )
    p.ellipse(at, head + 0.02, 0.105, 0.15, _HAIR[int(rng.integers(len(_HAIR)))], "person")
    if rng.random() < 0.6:
        p.ellipse(at, head - 0.03, 0.085, 0.11, _SKIN[int(rng.integers(len(_SKIN)))], None)
    if rng.random() < 0.3:
        p.box(at + 0.2, hip - 0.25, at + 0.42, hip + 0.1, _clothes(rng), "person")


def bicycle(p: Place, rng: np.random.Generator) -> None:
    """Two wheels and a frame across the view, 1.7 m long, or seen from behind."""
    p.shadow(-0.6, 0.6, 0.6, 0.1)
    _bicycle(p, "bicycle", rng.random() < 0.6, rng)


def _bicycle(p: Place, name: str, across: bool, rng: np.random.Generator) -> None:
    frame = _clothes(rng)
    if not across:
        p.box(-0.035, 0, 0.035, 0.68, _DARK, name)
        p.box(-0.28, 0.98, 0.28, 1.05, _DARK, name)
        p.box(-0.05, 0.5, 0.05, 1.0, frame, name)
        return
    for side in (-1, 1):
        _ring(p, side * 0.55, 0.34, 0.34, name)
    tubes = [
        ((-0.55, 0.34), (-0.18, 0.8)),
        ((-0.18, 0.85), (0.08, 0.34)),
        ((-0.55, 0.34), (0.08, 0.34)),
        ((0.08, 0.34), (0.4, 0.85)),
        ((-0.18, 0.8), (0.4, 0.85)),
        ((0.55, 0.34), (0.38, 1.0)),
    ]
    for (ax, ay), (bx, by) in tubes:
        p.polygon([(ax - 0.03, ay), (ax + 0.03, ay + 0.03), (bx + 0.03, by + 0.03), (bx - 0.03, by)], frame, name)
    p.box(-0.3, 0.88, -0.06, 0.95, _DARK, name)
    p.box(0.3, 0.98, 0.5, 1.04, _DARK, name)


def _ring(p: Place, x: float, y: float, radius: float, name: str) -> None:
    """A tyre with what shows through it: labelled whole, as annotators do."""
    p.ellipse(x, y, radius, radius, _DARK, name)
    p.ellipse(x, y, radius * 0.85, radius * 0.85, (112, 110, 108), None)
    for angle in np.linspace(0, np.pi, 4, endpoint=False):
        dx, dy = radius * 0.8 * np.cos(angle), radius * 0.8 * np.sin(angle)
        p.polygon(
            [(x - dx, y - dy), (x - dx + 0.015, y - dy), (x + dx + 0.015, y + dy), (x + dx, y + dy)], (70, 70, 72), None
        )


def motorcycle(p: Place, rng: np.random.Generator) -> None:
    """Heavy wheels, tank, seat and engine, 2 m long, or seen from behind."""
    p.shadow(-0.5, 0.5, 0.9, 0.3)
    _motorcycle(p, rng.random() < 0.5, rng)


def _motorcycle(p: Place, across: bool, rng: np.random.Generator) -> None:
    body, name = shade(_clothes(rng), 1.1), "motorcycle"
    if not across:
        p.box(-0.09, 0, 0.09, 0.62, _DARK, name)
        p.polygon([(-0.24, 0.45), (0.24, 0.45), (0.18, 0.95), (-0.18, 0.95)], body, name)
        p.box(-0.38, 1.0, 0.38, 1.08, _DARK, name)
        p.box(-0.09, 0.72, 0.09, 0.82, (200, 40, 35), None)
        p.box(-0.1, 0.5, 0.1, 0.64, (220, 215, 190), None)
        return
    for side in (-1, 1):
        p.ellipse(side * 0.65, 0.31, 0.31, 0.31, _DARK, name)
        p.ellipse(side * 0.65, 0.31, 0.17, 0.17, (120, 120, 122), None)
    p.polygon([(-0.6, 0.75), (-0.3, 0.3), (0.3, 0.3), (0.5, 0.7)], shade(body, 0.5), name)
    p.polygon([(-0.85, 0.85), (-0.1, 0.7), (-0.05, 0.85), (-0.8, 0.95)], _DARK, name)
    p.ellipse(0.15, 0.82, 0.3, 0.16, body, name)
    p.polygon([(0.6, 0.3), (0.68, 0.3), (0.45, 1.1), (0.36, 1.08)], (130, 130, 132), name)
    p.ellipse(0.5, 0.85, 0.12, 0.12, (215, 215, 205), name)


def rider(p: Place, rng: np.random.Generator) -> None:
    """Somebody on a bicycle or a motorcycle, along or across the street."""
    across, pedals = bool(rng.random() < 0.35), rng.random() < 0.65
    p.shadow(-0.4, 0.4, 1.5, 0.8)
    if pedals:
        _bicycle(p, "bicycle", across, rng)
    else:
        _motorcycle(p, across, rng)
    coat, trousers = _clothes(rng), shade(_clothes(rng), 0.7)
    lean = 0.35 if across else 0.0
    for side in (-1, 1):
        knee = 0.05 if across else side * 0.2
        p.polygon(
            [(-0.15 + lean / 4, 0.95), (0.15 - lean / 4, 0.95), (knee + 0.08, 0.4), (knee - 0.06, 0.25)],
            trousers,
            "rider",
        )
    p.polygon(
        [
            (-0.24, 0.9),
            (0.2, 0.9),
            (0.24 + lean, 1.4),
            (0.1 + lean, 1.5),
            (-0.12 + lean, 1.5),
            (-0.26 + lean / 2, 1.35),
        ],
        coat,
        "rider",
    )
    helmet = _clothes(rng) if rng.random() < 0.6 else _HAIR[int(rng.integers(len(_HAIR)))]
    p.ellipse(lean * 1.1, 1.62, 0.13, 0.16, helmet, "rider")
    if rng.random() < 0.4:
        p.ellipse(lean * 1.2, 1.58, 0.08, 0.1, _SKIN[int(rng.integers(len(_SKIN)))], None)
