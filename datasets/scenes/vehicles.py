"""Cars, vans, trucks, buses and trams as solid bodies along the street, seen from behind, in front or at a slant."""

from dataclasses import dataclass

import numpy as np

from datasets.scenes.canvas import Colour
from datasets.scenes.place import Place
from datasets.scenes.textures import shade

_DARK: Colour = (22, 22, 25)
_PAINTS = (
    (185, 188, 192),
    (40, 42, 46),
    (215, 217, 220),
    (105, 110, 116),
    (35, 50, 90),
    (130, 25, 28),
    (60, 85, 80),
    (20, 22, 24),
    (80, 110, 150),
    (165, 160, 145),
)


@dataclass(frozen=True)
class _Body:
    """A car's measures: half width, height of belt and roof, and its profile along z from behind, as (ahead, up)."""

    half: float
    belt: float
    roof: float
    cabin: tuple[float, float, float, float]  # rear window foot and top, windscreen top and foot
    length: float


_BODIES = (
    _Body(0.86, 0.92, 1.45, (0.05, 0.45, 2.3, 3.1), 3.9),  # hatchback
    _Body(0.88, 0.9, 1.42, (0.6, 1.2, 2.6, 3.4), 4.5),  # saloon
    _Body(0.9, 0.95, 1.5, (0.05, 0.35, 2.7, 3.5), 4.6),  # estate
    _Body(0.95, 1.1, 1.75, (0.05, 0.3, 2.6, 3.4), 4.5),  # off-roader
    _Body(0.98, 1.25, 2.1, (0.0, 0.1, 3.6, 4.3), 4.9),  # van
)


def car(p: Place, rng: np.random.Generator) -> None:
    """A car or a van, driving or parked along the street."""
    body = _BODIES[int(rng.choice(len(_BODIES), p=[0.35, 0.25, 0.2, 0.1, 0.1]))]
    paint = shade(_PAINTS[int(rng.integers(len(_PAINTS)))], rng.uniform(0.8, 1.15))
    away = bool(rng.random() < 0.55)  # its back is towards the camera
    glass = shade((62, 72, 80), rng.uniform(0.4, 1.5))
    p.shadow(-body.half, body.half, body.roof, body.length)
    _flank(p, body, paint, glass, away)
    _top(p, body, paint, glass, away)
    _end(p, body, paint, glass, away, rng)


def _along(body: _Body, ahead: float, away: bool) -> float:
    return ahead if away else body.length - ahead


def _seen(p: Place, half: float) -> float:
    """Which of its sides a body turns to the camera."""
    return -half if p.x - p.street.shift + p.street.curve * p.z**2 > 0 else half


def _flank(p: Place, body: _Body, paint: Colour, glass: Colour, away: bool) -> None:
    """The side that the camera sees: below the belt, the cabin, its windows, the wheels."""
    side = _seen(p, body.half)
    inner, (foot, top, front, nose) = side * 0.86, body.cabin
    z = [_along(body, ahead, away) for ahead in (0.0, body.length, foot, top, front, nose)]
    low = [(side, 0.25, z[0]), (side, body.belt, z[0]), (side, body.belt, z[5]), (side, body.belt * 0.82, z[1])]
    p.polygon([*low, (side, 0.25, z[1])], shade(paint, 0.8), "car")
    cabin = [(side, body.belt, z[2]), (inner, body.roof, z[3]), (inner, body.roof, z[4]), (side, body.belt, z[5])]
    p.polygon(cabin, shade(paint, 0.85), "car")
    span, high = nose - foot, body.roof - 0.1
    for start, stop in ((0.12, 0.44), (0.5, 0.84)):
        a, b = (_along(body, foot + share * span, away) for share in (start, stop))
        c, d = (_along(body, foot + share * span, away) for share in (start + 0.06, stop - (0.08 if stop > 0.5 else 0)))
        pane = [(side, body.belt, a), (inner, high, c), (inner, high, d), (side, body.belt, b)]
        p.polygon(pane, shade(glass, 0.8), None)
    for ahead in (0.17, 0.82):
        p.wheel(side, _along(body, ahead * body.length, away), 0.32, _DARK, "car")
        p.wheel(side, _along(body, ahead * body.length, away), 0.18, (120, 122, 126), None)


def _top(p: Place, body: _Body, paint: Colour, glass: Colour, away: bool) -> None:
    """Roof and bonnet, where the camera looks down on them."""
    inner, (_, top, front, _) = body.half * 0.86, body.cabin
    if p.street.camera > body.roof:
        ends = [_along(body, ahead, away) for ahead in (top, front)]
        roof = [(-inner, body.roof, ends[0]), (inner, body.roof, ends[0]), (inner, body.roof, ends[1])]
        p.polygon([*roof, (-inner, body.roof, ends[1])], shade(paint, 1.15), "car")
    if not away:
        _bonnet(p, body, paint, glass)


def _bonnet(p: Place, body: _Body, paint: Colour, glass: Colour) -> None:
    half, low, inner = body.half * 0.95, body.belt * 0.82, body.half * 0.86
    front, nose = (_along(body, ahead, False) for ahead in body.cabin[2:])
    wind = [(-half, body.belt, nose), (half, body.belt, nose), (inner, body.roof, front), (-inner, body.roof, front)]
    p.polygon(wind, paint, "car")
    foot, head = (half * 0.92, body.belt, nose), (inner * 0.9, body.roof - 0.06, front)
    p.polygon([(-foot[0], *foot[1:]), foot, head, (-head[0], *head[1:])], glass, None)
    hood = [(-half, low, 0.0), (half, low, 0.0), (half, body.belt, nose), (-half, body.belt, nose)]
    p.polygon(hood, shade(paint, 1.12), "car")


def _end(p: Place, body: _Body, paint: Colour, glass: Colour, away: bool, rng: np.random.Generator) -> None:
    """Back or front: tyres, the body, what is on it and, from behind, the rear window."""
    half, top = body.half, body.belt if away else body.belt * 0.82
    for side in (-1, 1):
        p.box(side * half * 0.78 - 0.11, 0.0, side * half * 0.78 + 0.11, 0.4, _DARK, "car")
    p.polygon(
        [(-half, 0.3), (half, 0.3), (half * 1.02, 0.6), (half * 0.97, top), (-half * 0.97, top), (-half * 1.02, 0.6)],
        shade(paint, 0.95),
        "car",
    )
    if away:
        _hatch(p, body, paint, glass)
    _marks(p, half, top, paint, away, rng)


def _hatch(p: Place, body: _Body, paint: Colour, glass: Colour) -> None:
    """The rear window in its frame, and the lid before it."""
    half, top, foot, crest, inner = body.half * 0.95, body.belt, *body.cabin[:2], body.half * 0.84
    if foot > 0.3:
        p.polygon([(-half, top), (half, top), (half, top, foot), (-half, top, foot)], shade(paint, 1.1), "car")
    hatch = [(-half, top, foot), (half, top, foot), (inner, body.roof, crest), (-inner, body.roof, crest)]
    p.polygon(hatch, paint, "car")
    low, high = (0.8 * body.half, top + 0.12 * (body.roof - top)), (0.85 * inner, body.roof - 0.12 * (body.roof - top))
    pane = [(-low[0], low[1], foot), (*low, foot), (*high, crest), (-high[0], high[1], crest)]
    p.polygon(pane, glass, None)


def _marks(p: Place, half: float, top: float, paint: Colour, away: bool, rng: np.random.Generator) -> None:
    """Lamps, bumper, grille and number plate."""
    lamp = [(150, 20, 22), (235, 60, 45)][int(rng.random() < 0.25)] if away else (225, 228, 225)
    for side in (-1, 1):
        a, b = sorted((side * half * 0.95, side * half * (0.72 if away else 0.6)))
        p.box(a, top - 0.32, b, top - (0.03 if away else 0.12), lamp, None)
    p.box(-half * 0.98, 0.3, half * 0.98, 0.46, shade(paint, 0.55), None)
    if not away:
        p.box(-half * 0.5, 0.48, half * 0.5, top - 0.14, _DARK, None)
    plate = (215, 185, 60) if away and rng.random() < 0.5 else (225, 225, 220)
    p.box(-0.26, 0.47, 0.26, 0.58, plate, None)


def _box_body(
    p: Place, half: float, low: float, top: float, near: float, far: float, colour: Colour, name: str
) -> float:
    """A box along the street; returns the side that is seen."""
    side = _seen(p, half)
    flank = [(side, low, near), (side, top, near), (side, top, far), (side, low, far)]
    p.polygon(flank, shade(colour, 0.8), name)
    p.polygon([(-half, low, near), (half, low, near), (half, top, near), (-half, top, near)], colour, name)
    return side


def truck(p: Place, rng: np.random.Generator) -> None:
    """A cab and a high box or canvas, 7 m."""
    cargo, cab = shade((200, 200, 198), rng.uniform(0.4, 1.15)), _PAINTS[int(rng.integers(len(_PAINTS)))]
    high, away = rng.uniform(2.8, 3.7), rng.random() < 0.6
    p.shadow(-1.2, 1.2, high, 7)
    if away:
        _box_body(p, 1.1, 0.5, 2.6, 5.2, 7, cab, "truck")
        side = _box_body(p, 1.2, 0.8, high, 0, 5, cargo, "truck")
        p.box(-1.15, 0.45, 1.15, 0.8, _DARK, "truck")
        p.box(-0.03, 0.9, 0.03, high - 0.1, shade(cargo, 0.6), None)
    else:
        side = _box_body(p, 1.2, 0.8, high, 2, 7, cargo, "truck")
        _box_body(p, 1.1, 0.4, 2.6, 0, 1.8, cab, "truck")
        p.box(-0.98, 1.45, 0.98, 2.3, (45, 55, 62), None)
        p.box(-0.7, 0.8, 0.7, 1.2, _DARK, None)
    for right in (-0.9, 0.9):
        p.box(right - 0.2, 0, right + 0.2, 0.5, _DARK, "truck")
        p.box(right - 0.15, 0.55, right + 0.15, 0.7, (190, 40, 35) if away else (225, 225, 215), None)
    for ahead in (1.0, 3.6, 6.0):
        p.wheel(side * 0.98, ahead, 0.48, _DARK, "truck")


def bus(p: Place, rng: np.random.Generator) -> None:
    """A long side of windows, one storey or two."""
    paint = [(180, 35, 38), (205, 170, 60), (45, 85, 140), (205, 208, 205), (60, 110, 80)][int(rng.integers(5))]
    high = 4.2 if rng.random() < 0.3 else 3.0
    p.shadow(-1.25, 1.25, high, 10)
    side = _box_body(p, 1.25, 0.35, high, 0, 10, paint, "bus")
    glass = (48, 56, 64)
    for top in (2.6,) if high < 4 else (2.3, 3.9):
        p.box(-1.1, top - 1.1, 1.1, top, glass, None)
        for i in range(7):
            ahead = 0.4 + 1.35 * i
            pane = [
                (side, top - 0.95, ahead),
                (side, top, ahead),
                (side, top, ahead + 1.2),
                (side, top - 0.95, ahead + 1.2),
            ]
            p.polygon(pane, glass, None)
    p.box(-0.7, high - 0.35, 0.7, high - 0.1, (240, 180, 60), None)
    for right in (-1.0, 1.0):
        p.box(right - 0.18, 0, right + 0.18, 0.4, _DARK, "bus")
        p.box(right - 0.15, 0.6, right + 0.15, 0.8, (210, 60, 45), None)
    for ahead in (2.0, 7.8):
        p.wheel(side, ahead, 0.5, _DARK, "bus")


def train(p: Place, rng: np.random.Generator) -> None:
    """A tram: three cars on a dark base, with a pantograph."""
    paint = [(225, 225, 215), (180, 185, 70), (175, 45, 45)][int(rng.integers(3))]
    p.shadow(-1.2, 1.2, 3.4, 24)
    pantograph = [(-0.5, 3.4, 4), (0, 4.3, 4), (0.5, 3.4, 4), (0, 4.2, 4)]
    for start in (16.4, 8.2, 0.0):
        side = _box_body(p, 1.2, 0.35, 3.4, start, start + 7.8, paint, "train")
        for i in range(5):
            a, b = start + 0.5 + 1.45 * i, start + 1.7 + 1.45 * i
            p.polygon([(side, 1.5, a), (side, 2.8, a), (side, 2.8, b), (side, 1.5, b)], (50, 60, 68), None)
    p.polygon(pantograph, _DARK, "train")
    p.box(-1.0, 1.5, 1.0, 2.8, (45, 52, 60), None)
    p.box(-1.15, 1.05, 1.15, 1.3, (170, 35, 40), None)
    p.box(-1.1, 0.1, 1.1, 0.35, _DARK, "train")
    for right in (-0.8, 0.8):
        p.ellipse(right, 0.8, 0.14, 0.12, (235, 235, 220), None)
