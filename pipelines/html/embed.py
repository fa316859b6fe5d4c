"""Pictures inside a page: `data:` URIs of photographs and of label maps, scaled to what a screen shows."""

import base64
import io

import cv2
import numpy as np
from PIL import Image

from datasets.labels import IGNORE

WIDTH = 960
"""Wider pictures are scaled down to this many pixels."""

RIGHT, WRONG, UNJUDGED = 0, 1, 2
"""The ids of an error map."""

_JPEG_QUALITY = 82
_ERROR_COLOURS = np.array([[0, 0, 0], [255, 0, 92], [18, 22, 30]], np.uint8)
_ERROR_ALPHA = (0, 255, 150)


def fit(picture: np.ndarray, widest: int = WIDTH, labels: bool = False) -> np.ndarray:
    """[h, w] or [h, w, 3] scaled down to be no wider; labels take the nearest pixel, photographs the mean of many."""
    height, width = picture.shape[:2]
    if width <= widest:
        return picture
    size = widest, max(1, round(height * widest / width))
    return cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST if labels else cv2.INTER_AREA)


def photograph(image_bgr: np.ndarray) -> str:
    """A BGR uint8 image [h, w, 3] as a JPEG's data URI."""
    _, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return _uri("image/jpeg", data.tobytes())


def label_map(labels: np.ndarray, palette: np.ndarray) -> str:
    """Class ids uint8 [h, w] with RGB colours [C, 3] as a palette PNG's data URI; 255 is see-through."""
    return _palette_png(labels, palette, {IGNORE: 0})


def errors(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Where a prediction is wrong, uint8 [h, w]: 0 right, 1 wrong, 2 where the truth is ignored."""
    wrong = np.where(truth == prediction, RIGHT, WRONG)
    return np.where(truth == IGNORE, UNJUDGED, wrong).astype(np.uint8)


def error_map(found: np.ndarray) -> str:
    """What `errors` found as a palette PNG's data URI: right is see-through, wrong red, the ignored dark."""
    return _palette_png(found, _ERROR_COLOURS, dict(enumerate(_ERROR_ALPHA)))


def _palette_png(ids: np.ndarray, palette: np.ndarray, alpha: dict[int, int]) -> str:
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    picture = Image.frombytes("P", (ids.shape[1], ids.shape[0]), np.ascontiguousarray(ids, np.uint8).tobytes())
    picture.putpalette(colours.tobytes())
    opaque = bytes(alpha.get(index, 255) for index in range(256))
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=opaque, optimize=True)
    return _uri("image/png", file.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
