"""What stands on a sidewalk: lamp posts, bollards, traffic lights, signs of several kinds."""

import numpy as np

from datasets.scenes.canvas import Colour
from datasets.scenes.place import Place
from datasets.scenes.textures import shade

_METAL = ((130, 130, 132), (70, 74, 76), (40, 44, 42), (165, 168, 168))


def _metal(rng: np.random.Generator) -> Colour:
    return shade(_METAL[int(rng.integers(len(_METAL)))], rng.uniform(0.7, 1.1))


def pole(p: Place, rng: np.random.Generator) -> None:
    """A lamp post, a mast, a telegraph pole or a row of bollards."""
    kind, metal = rng.choice(["lamp", "mast", "wood", "bollards"], p=[0.5, 0.15, 0.15, 0.2]), _metal(rng)
    if kind == "bollards":
        for i in range(int(rng.integers(2, 6))):
            p.polygon(
                [(-0.07, 0, 1.5 * i), (0.07, 0, 1.5 * i), (0.07, 0.95, 1.5 * i), (-0.07, 0.95, 1.5 * i)], metal, "pole"
            )
        return
    high, wide = rng.uniform(4.5, 9), rng.uniform(0.06, 0.11)
    p.shadow(-0.08, 0.08, high)
    post = (95, 80, 62) if kind == "wood" else metal
    p.polygon([(-wide * 1.3, 0), (wide * 1.3, 0), (wide * 0.6, high), (-wide * 0.6, high)], post, "pole")
    if kind == "lamp":
        reach = rng.uniform(0.5, 1.6) * float(-np.sign(p.x) or 1)
        p.box(min(0, reach), high - 0.08, max(0, reach), high + 0.02, metal, "pole")
        p.polygon(
            [
                (reach - 0.3, high - 0.1),
                (reach + 0.3, high - 0.1),
                (reach + 0.2, high + 0.1),
                (reach - 0.2, high + 0.1),
            ],
            (190, 190, 185),
            "pole",
        )
    if kind == "wood":
        p.box(-0.7, high - 0.6, 0.7, high - 0.48, post, "pole")


def traffic_light(p: Place, rng: np.random.Generator) -> None:
    """A black case with one lamp lit, at times with a white rim, on a pole; seen from behind it is dark."""
    metal, foot = _metal(rng), rng.uniform(2.1, 3.0)
    p.shadow(-0.08, 0.08, 4)
    p.box(-0.06, 0, 0.06, foot + 0.1, metal, "pole")
    if rng.random() < 0.4:
        p.box(-0.36, foot - 0.12, 0.36, foot + 1.22, (225, 225, 222), "traffic light")
    p.box(-0.24, foot, 0.24, foot + 1.1, (24, 26, 25), "traffic light")
    if rng.random() < 0.25:
        return
    lit = int(rng.integers(3))
    for i, colour in enumerate([(245, 60, 45), (250, 185, 60), (70, 235, 150)]):
        p.ellipse(0, foot + 0.9 - 0.35 * i, 0.12, 0.12, colour if i == lit else shade(colour, 0.2), None)


def traffic_sign(p: Place, rng: np.random.Generator) -> None:
    """A round, three-cornered or square plate, a board with writing, or a keep-left arrow, on a pole."""
    metal, foot, size = _metal(rng), rng.uniform(1.5, 2.5), rng.uniform(0.28, 0.5)
    p.shadow(-0.06, 0.06, foot + 0.8)
    p.box(-0.045, 0, 0.045, foot + 0.2, metal, "pole")
    kind = rng.choice(["ring", "triangle", "blue", "board", "back"], p=[0.25, 0.2, 0.2, 0.25, 0.1])
    _PLATES[str(kind)](p, foot + size, size, rng)


def _ring(p: Place, middle: float, size: float, rng: np.random.Generator) -> None:
    p.ellipse(0, middle, size, size, (190, 30, 35), "traffic sign")
    p.ellipse(0, middle, size * 0.72, size * 0.72, (235, 235, 232), None)
    if rng.random() < 0.6:
        p.box(-size * 0.35, middle - size * 0.3, size * 0.35, middle + size * 0.3, (40, 40, 42), None)


def _triangle(p: Place, middle: float, size: float, rng: np.random.Generator) -> None:
    inner = (250, 215, 60) if rng.random() < 0.2 else (235, 235, 232)
    for share, colour, name in ((1.0, (195, 35, 38), "traffic sign"), (0.62, inner, None)):
        p.polygon(
            [
                (0, middle + size * share),
                (-size * share, middle - 0.8 * size * share),
                (size * share, middle - 0.8 * size * share),
            ],
            colour,
            name,
        )
    p.box(-size * 0.08, middle - 0.35 * size, size * 0.08, middle + 0.25 * size, (35, 35, 38), None)


def _blue(p: Place, middle: float, size: float, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        p.ellipse(0, middle, size, size, (35, 75, 165), "traffic sign")
    else:
        p.box(-size, middle - size, size, middle + size, (35, 75, 165), "traffic sign")
    p.polygon(
        [(-size * 0.5, middle - size * 0.3), (size * 0.1, middle + size * 0.5), (size * 0.4, middle + size * 0.2)],
        (235, 238, 240),
        None,
    )


def _board(p: Place, middle: float, size: float, rng: np.random.Generator) -> None:
    ground = [(35, 85, 60), (235, 235, 230), (40, 70, 140), (225, 195, 60)][int(rng.integers(4))]
    ink = (30, 32, 35) if sum(ground) > 400 else (235, 235, 230)
    wide, high = size * rng.uniform(1.2, 2.6), size * rng.uniform(0.6, 2)
    p.box(-wide, middle - size, wide, middle - size + 2 * high, ground, "traffic sign")
    for row in range(3):
        y = middle - size + high * (0.3 + 0.55 * row)
        p.box(-wide * 0.8, y, wide * rng.uniform(-0.2, 0.8), y + high * 0.22, ink, None)


def _back(p: Place, middle: float, size: float, rng: np.random.Generator) -> None:
    p.ellipse(0, middle, size, size, shade((120, 122, 122), rng.uniform(0.7, 1.2)), "traffic sign")


_PLATES = {"ring": _ring, "triangle": _triangle, "blue": _blue, "board": _board, "back": _back}
