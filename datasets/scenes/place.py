"""Where something stands in a street: it is drawn in metres around there."""

from dataclasses import dataclass

import numpy as np

from datasets.scenes.canvas import Canvas, Colour
from datasets.scenes.street import Street, Sun

_CIRCLE = [(float(np.cos(a)), float(np.sin(a))) for a in np.linspace(0, 2 * np.pi, 14, endpoint=False)]
_NEAREST = 0.6  # metres before the eye; what is nearer is drawn there


@dataclass(frozen=True)
class Place:
    """A spot on the ground: x to the right of the road's middle, z ahead.

    Args:
        sun: where shadows fall.
    """

    canvas: Canvas
    street: Street
    x: float
    z: float
    sun: Sun = None

    @property
    def scale(self) -> float:
        """Pixels of a metre here."""
        return self.street.scale(self.canvas, self.z)

    def point(self, right: float, up: float, ahead: float = 0.0) -> tuple[float, float]:
        """Metres from here → pixel."""
        return self.street.project(self.canvas, self.x + right, up, max(_NEAREST, self.z + ahead))

    def polygon(self, points: list[tuple[float, ...]], colour: Colour, name: str | None) -> None:
        """Fills corners (right, up) or (right, up, ahead)."""
        self.canvas.polygon([self.point(*point) for point in points], colour, name, self.z)

    def box(self, left: float, bottom: float, right: float, top: float, colour: Colour, name: str | None) -> None:
        """Fills an upright rectangle that faces the camera."""
        self.polygon([(left, bottom), (right, bottom), (right, top), (left, top)], colour, name)

    def ellipse(self, right: float, up: float, rx: float, ry: float, colour: Colour, name: str | None) -> None:
        """Fills an ellipse that faces the camera."""
        self.polygon([(right + rx * c, up + ry * s) for c, s in _CIRCLE], colour, name)

    def wheel(self, right: float, ahead: float, radius: float, colour: Colour, name: str | None) -> None:
        """Fills a disc that stands on the ground along the street."""
        self.polygon([(right, radius + radius * s, ahead + radius * c) for c, s in _CIRCLE], colour, name)

    def picture(self, left: float, bottom: float, right: float, top: float, texture: np.ndarray, name: str) -> None:
        """A picture that faces the camera."""
        corners = [self.point(*corner) for corner in ((left, top), (right, top), (right, bottom), (left, bottom))]
        self.canvas.picture(corners, texture, name, self.z)

    def shadow(self, left: float, right: float, height: float, length: float = 0.0) -> None:
        """On the ground: contact shade below, and what the sun casts of a body so wide, high and long."""
        under = [(left, 0, -0.15), (right, 0, -0.15), (right, 0, length + 0.15), (left, 0, length + 0.15)]
        self.canvas.shadow([self.point(*corner) for corner in under], 0.6)
        if self.sun is not None:
            dx, dz = self.sun[0] * height, self.sun[1] * height
            cast = [(left, 0, 0), (right, 0, 0), (right + dx, 0, length + dz), (left + dx, 0, length + dz)]
            self.canvas.shadow([self.point(*corner) for corner in cast], 0.55)
