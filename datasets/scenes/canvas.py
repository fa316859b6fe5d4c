"""A picture and its labels that are painted together: each shape sets both on the same pixels."""

import cv2
import numpy as np

from datasets.labels import CITYSCAPES_LABEL_IDS, CLASSES

_RAW = {train: raw for raw, train in CITYSCAPES_LABEL_IDS.items() if train < len(CLASSES)}
RAW_ID = {name: _RAW[train] for train, name in enumerate(CLASSES)}

Colour = tuple[int, int, int]


class Canvas:
    """RGB image, raw labelIds and the distance of what is seen.

    Args:
        height, width: pixels.
    """

    def __init__(self, height: int, width: int):
        self.image = np.zeros((height, width, 3), dtype=np.uint8)
        self.label = np.zeros((height, width), dtype=np.uint8)
        self.depth = np.full((height, width), 1000.0, dtype=np.float32)
        self.height, self.width = height, width

    def polygon(self, points: list[tuple[float, float]], colour: Colour, name: str | None, depth: float) -> None:
        """Fills a polygon; without a class name the label below stays, for windows, lamps and markings."""
        corners = np.round(np.array(points)).astype(np.int32).clip(-8000, 8000)
        cv2.fillPoly(self.image, [corners], colour, lineType=cv2.LINE_8)
        if name is not None:
            cv2.fillPoly(self.label, [corners], RAW_ID[name], lineType=cv2.LINE_8)
            cv2.fillPoly(self.depth, [corners], depth, lineType=cv2.LINE_8)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, name: str | None, depth: float):
        """Fills an upright rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour, name, depth)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour, name: str | None, depth: float) -> None:
        """Fills an ellipse around (x, y)."""
        corners = cv2.ellipse2Poly((round(x), round(y)), (max(1, round(rx)), max(1, round(ry))), 0, 0, 360, 15)
        self.polygon([tuple(corner) for corner in corners], colour, name, depth)
