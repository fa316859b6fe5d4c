"""A random street in perspective: ground, facades and everything on it, painted from far to near."""

from dataclasses import dataclass

import numpy as np

from datasets.scenes import objects
from datasets.scenes.canvas import Canvas, Colour
from datasets.scenes.objects import shade

_FAR = 90.0  # metres to where the street ends

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


@dataclass(frozen=True)
class Street:
    """Measures in metres; the camera stands in the middle of the road at x = 0 and looks along z.

    Args:
        horizon: height of the horizon as a share of the picture.
        camera: height of the camera.
        half_road, sidewalk: half of the road's width, width of each sidewalk.
        shift: how far the camera stands from the middle of the road.
    """

    horizon: float
    camera: float
    half_road: float
    sidewalk: float
    shift: float

    def project(self, canvas: Canvas, x: float, y: float, z: float) -> tuple[float, float]:
        """World (right, up, ahead) → pixel."""
        scale = self.scale(canvas, z)
        return canvas.width / 2 + (x - self.shift) * scale, self.horizon * canvas.height + (self.camera - y) * scale

    def scale(self, canvas: Canvas, z: float) -> float:
        """Pixels of a metre at this distance."""
        return 0.9 * canvas.height / z


def paint(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paints one street; the same generator state gives the same geometry at every size of this shape."""
    street = Street(
        horizon=rng.uniform(0.38, 0.5),
        camera=rng.uniform(1.3, 2.0),
        half_road=rng.uniform(3.5, 6.5),
        sidewalk=rng.uniform(1.8, 3.5),
        shift=rng.uniform(-1.5, 1.5),
    )
    _sky(canvas, rng)
    _ground(canvas, street, rng)
    for side in (-1, 1):
        _border(canvas, street, side, rng)
    _place_objects(canvas, street, rng)


def _sky(canvas: Canvas, rng: np.random.Generator) -> None:
    canvas.box(0, 0, canvas.width, canvas.height, (120, 175, 235), "sky", 1000)
    for _ in range(int(rng.integers(2, 7))):
        x, y = rng.uniform(0, canvas.width), rng.uniform(0, 0.35) * canvas.height
        size = rng.uniform(0.03, 0.1) * canvas.height
        for dx in (-1.2, 0, 1.1):
            canvas.ellipse(x + dx * size, y, 1.4 * size, 0.5 * size, (235, 240, 245), None, 1000)


def _strip(canvas: Canvas, street: Street, left: float, right: float, near: float, far: float, y: float = 0.0) -> list:
    """Corners of a piece of ground between two distances."""
    corners = [(left, near), (left, far), (right, far), (right, near)]
    return [street.project(canvas, x, y, z) for x, z in corners]


def _ground(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    road, near = street.half_road, 0.8
    edge = road + street.sidewalk
    distances = np.geomspace(_FAR, near, 12)
    for far, close in zip(distances[:-1], distances[1:], strict=True):
        place = float(close)
        canvas.polygon(_strip(canvas, street, -200, 200, close, far), (105, 160, 75), "terrain", place)
        canvas.polygon(_strip(canvas, street, -edge, edge, close, far), (175, 170, 170), "sidewalk", place)
        canvas.polygon(_strip(canvas, street, -road, road, close, far), (92, 92, 98), "road", place)
    for start in np.arange(1.5, 60, 4.0):
        canvas.polygon(_strip(canvas, street, -0.09, 0.09, start, start + 2), (235, 235, 225), None, float(start))
    for side in (-1, 1):
        line = sorted((side * (road - 0.3), side * (road - 0.15)))
        canvas.polygon(_strip(canvas, street, *line, near, _FAR), (225, 225, 215), None, 1.0)
    if rng.random() < 0.3:
        for x in np.arange(-road + 0.4, road - 0.6, 1.1):
            canvas.polygon(_strip(canvas, street, x, x + 0.55, 9, 12), (235, 235, 230), None, 9.0)


def _border(canvas: Canvas, street: Street, side: int, rng: np.random.Generator) -> None:
    """Facades, walls, fences, trees or open land along one side, from the end of the street to the camera."""
    ends = [_FAR]
    while ends[-1] > 3:
        ends.append(max(2.0, ends[-1] - rng.uniform(7, 16)))
    x = side * (street.half_road + street.sidewalk)
    for far, near in zip(ends[:-1], ends[1:], strict=True):
        kind = rng.choice(["building", "wall", "fence", "hedge", "open"], p=[0.56, 0.12, 0.12, 0.1, 0.1])
        if kind == "building":
            _building(canvas, street, x, near, far, rng)
        elif kind == "wall":
            _upright(canvas, street, x, near, far, rng.uniform(1.8, 3), (150, 120, 105), "wall")
        elif kind == "fence":
            _fence(canvas, street, x, near, far)
        elif kind == "hedge":
            _upright(canvas, street, x, near, far, rng.uniform(1.2, 4), (60, 115, 45), "vegetation")


def _upright(
    canvas: Canvas, street: Street, x: float, near: float, far: float, top: float, colour: Colour, name: str | None,
    bottom: float = 0.0,
) -> None:  # fmt: skip
    """A plane along the street."""
    corners = [(near, bottom), (near, top), (far, top), (far, bottom)]
    canvas.polygon([street.project(canvas, x, y, z) for z, y in corners], colour, name, (near + far) / 2)


def _building(canvas: Canvas, street: Street, x: float, near: float, far: float, rng: np.random.Generator) -> None:
    wall = tuple(int(v) for v in rng.choice([[200, 170, 140], [170, 90, 70], [210, 205, 195], [140, 145, 155]]))
    height, floor = rng.uniform(7, 22), 3.2
    away = x + np.sign(x) * 30
    front = [(x, 0), (x, height), (away, height), (away, 0)]
    canvas.polygon([street.project(canvas, px, py, far) for px, py in front], shade(wall, 0.7), "building", far)
    _upright(canvas, street, x, near, far, height, wall, "building")
    for bottom in np.arange(1.0, height - 2, floor):
        for z in np.arange(near + 0.6, far - 1.4, 2.6):
            _upright(canvas, street, x, z, z + 1.3, bottom + 1.6, (70, 85, 105), None, bottom)


def _fence(canvas: Canvas, street: Street, x: float, near: float, far: float) -> None:
    """As in Cityscapes, what is seen through a fence is fence."""
    _upright(canvas, street, x, near, far, 1.5, (120, 130, 110), "fence")
    for z in np.arange(near, far, 0.5):
        _upright(canvas, street, x, z, z + 0.15, 1.5, (70, 75, 70), None)
    _upright(canvas, street, x, near, far, 1.5, (60, 60, 60), None, 1.38)


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
