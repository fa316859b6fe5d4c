"""One scene: the geometry from (seed, index), seen in a look."""

import cv2
import numpy as np

from datasets.scenes.canvas import Canvas
from datasets.scenes.looks import LOOKS
from datasets.scenes.world import paint

_SMALLEST = 64


def render(seed: int, index: int, look: str, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Scene number `index` of a seed; its labels are the same in every look.

    Args:
        look: game or camera.
        size: height and width, pixels.

    Returns:
        RGB uint8 [h, w, 3] and raw Cityscapes labelIds uint8 [h, w].

    Raises:
        ValueError: an unknown look, or a size below 64×64.
    """
    if look not in LOOKS:
        raise ValueError(f"scenes: no look {look!r}: choose {' or '.join(LOOKS)}")
    if min(size) < _SMALLEST:
        raise ValueError(f"scenes: size {size[0]}x{size[1]} is too small: use at least {_SMALLEST}x{_SMALLEST}")
    cv2.setNumThreads(1)
    canvas = Canvas(*size)
    paint(canvas, np.random.default_rng((seed, index)))
    return LOOKS[look](canvas, np.random.default_rng((seed, index, 1))), canvas.label
