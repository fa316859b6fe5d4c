"""The measures of a street, and where its points lie in the picture."""

from dataclasses import dataclass

import numpy as np

from datasets.scenes.canvas import Canvas

FAR = 90.0  # metres to where the street ends
Sun = tuple[float, float] | None
"""Where shadows fall, metres right and ahead for each metre of height; None under a covered sky."""

_FOCAL = 0.9  # in heights of the picture


@dataclass(frozen=True)
class Street:
    """Measures in metres; the camera stands on the road at x = 0 and looks along z.

    Args:
        horizon: height of the horizon as a share of the picture.
        camera: height of the camera.
        half_road, sidewalk: half of the road's width, width of each sidewalk.
        shift: how far the camera stands from the middle of the road.
        curve: how the road bends, metres sideways per square metre ahead.
    """

    horizon: float
    camera: float
    half_road: float
    sidewalk: float
    shift: float
    curve: float = 0.0

    def project(self, canvas: Canvas, x: float, y: float, z: float) -> tuple[float, float]:
        """World (right, up, ahead) → pixel."""
        scale = self.scale(canvas, z)
        right = x - self.shift + self.curve * z * z
        return canvas.width / 2 + right * scale, self.horizon * canvas.height + (self.camera - y) * scale

    def scale(self, canvas: Canvas, z: float) -> float:
        """Pixels of a metre at this distance."""
        return _FOCAL * canvas.height / z

    def ground(self, canvas: Canvas) -> tuple[int, np.ndarray, np.ndarray]:
        """The first row below the horizon, and the world x and z of each ground pixel from there on, [rows, w]."""
        first = int(self.horizon * canvas.height) + 1
        below = np.arange(first, canvas.height, dtype=np.float32) - np.float32(self.horizon * canvas.height)
        z = np.float32(_FOCAL * canvas.height * self.camera) / np.maximum(below, 0.25)
        across = np.arange(canvas.width, dtype=np.float32) - np.float32(canvas.width / 2)
        x = across[None] * (z / np.float32(_FOCAL * canvas.height))[:, None]
        x += (self.shift - self.curve * z * z)[:, None].astype(np.float32)
        return first, x, np.repeat(z[:, None], canvas.width, axis=1)
