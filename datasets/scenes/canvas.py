"""A picture and its labels that are painted together: each shape sets both on the same pixels."""

import cv2
import numpy as np

from datasets.labels import CITYSCAPES_LABEL_IDS, CLASSES

_RAW = {train: raw for raw, train in CITYSCAPES_LABEL_IDS.items() if train < len(CLASSES)}
RAW_ID = {name: _RAW[train] for train, name in enumerate(CLASSES)}

Colour = tuple[int, int, int]
_OPAQUE = 128
_SKY = 1000.0  # metres


class Canvas:
    """RGB image, raw labelIds and the distance of what is seen.

    Args:
        height, width: pixels.
    """

    def __init__(self, height: int, width: int):
        self.image = np.zeros((height, width, 3), dtype=np.uint8)
        self.label = np.zeros((height, width), dtype=np.uint8)
        self.depth = np.full((height, width), _SKY, dtype=np.float32)
        self.height, self.width = height, width

    def polygon(self, points: list[tuple[float, float]], colour: Colour, name: str | None, depth: float) -> None:
        """Fills a polygon; without a class name the label below stays, for windows, lamps and markings."""
        corners = np.round(np.array(points)).clip(-8000, 8000).astype(np.int32)
        cv2.fillPoly(self.image, [corners], colour, lineType=cv2.LINE_8)
        if name is not None:
            cv2.fillPoly(self.label, [corners], RAW_ID[name], lineType=cv2.LINE_8)
            cv2.fillPoly(self.depth, [corners], depth, lineType=cv2.LINE_8)

    def sky(self) -> np.ndarray:
        """Where the sky is seen, through gaps too that are labelled as what is around them. bool [h, w]."""
        return self.depth >= _SKY

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, name: str | None, depth: float):
        """Fills an upright rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour, name, depth)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour, name: str | None, depth: float) -> None:
        """Fills an ellipse around (x, y)."""
        corners = cv2.ellipse2Poly((round(x), round(y)), (max(1, round(rx)), max(1, round(ry))), 0, 0, 360, 15)
        self.polygon([tuple(corner) for corner in corners], colour, name, depth)

    def picture(self, corners: list[tuple[float, float]], texture: np.ndarray, name: str | None, depth: float) -> None:
        """Warps a picture onto four corners, from its top left clockwise.

        Args:
            texture: RGB or RGBA uint8 [h, w, 3 or 4]; where the fourth channel is 0 nothing is set, and below 128
                only the label: a gap that annotators give to what is around it.
        """
        quad = np.array(corners, dtype=np.float32).clip(-8000, 8000)
        (left, top), (right, bottom) = self._clip(quad.min(axis=0)), self._clip(quad.max(axis=0) + 1)
        if left >= right or top >= bottom:
            return
        local, (height, width) = quad - np.float32([left, top]), texture.shape[:2]
        outline = np.float32([(0, 0), (width, 0), (width, height), (0, height)])
        matrix = cv2.getPerspectiveTransform(outline, local)
        size = (right - left, bottom - top)
        warped = cv2.warpPerspective(texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = np.zeros(size[::-1], dtype=np.uint8)
        cv2.fillPoly(inside, [np.round(local).astype(np.int32)], 255 if texture.shape[2] == 3 else 1)
        if texture.shape[2] == 4:  # not interpolated: between leaf and none there is no gap
            inside *= cv2.warpPerspective(texture[..., 3], matrix, size, None, cv2.INTER_NEAREST, cv2.BORDER_REPLICATE)
        self._set((slice(top, bottom), slice(left, right)), warped[..., :3], inside, name, depth)

    def shadow(self, points: list[tuple[float, float]], light: float) -> None:
        """Darkens what is painted inside a polygon; its labels stay."""
        corners = np.round(np.array(points)).clip(-8000, 8000).astype(np.int32)
        (left, top), (right, bottom) = self._clip(corners.min(axis=0)), self._clip(corners.max(axis=0) + 1)
        if left >= right or top >= bottom:
            return
        inside = np.zeros((bottom - top, right - left), dtype=np.uint8)
        cv2.fillPoly(inside, [corners - np.int32([left, top])], 1)
        region = self.image[top:bottom, left:right]
        cv2.copyTo((region * np.float32(light)).astype(np.uint8), inside, region)

    def _clip(self, corner: np.ndarray) -> tuple[int, int]:
        return int(np.clip(corner[0], 0, self.width)), int(np.clip(corner[1], 0, self.height))

    def _set(self, at: tuple, colours: np.ndarray, alpha: np.ndarray, name: str | None, depth: float) -> None:
        cv2.copyTo(np.ascontiguousarray(colours), (alpha >= _OPAQUE).astype(np.uint8), self.image[at])
        if name is not None:
            self.label[at][alpha > 0] = RAW_ID[name]
            self.depth[at][alpha >= _OPAQUE] = depth
