"""Pictures of what a model does: image, truth and prediction side by side with a legend."""

import cv2
import numpy as np

from datasets.labels import IGNORE, LabelSpace

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WIDTH, _ROW, _SWATCH, _COLUMN = 480, 24, 16, 170


def colorize(labels: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Class ids [h, w] → RGB uint8 [h, w, 3]; what is ignored is black."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(space.classes)] = space.palette
    return table[labels]


def overlay(image_bgr: np.ndarray, labels: np.ndarray, space: LabelSpace, alpha: float = 0.5) -> np.ndarray:
    """The image with the classes' colours laid over it, RGB uint8 [h, w, 3]."""
    blend = cv2.addWeighted(image_bgr[..., ::-1].copy(), 1 - alpha, colorize(labels, space), alpha, 0)
    return np.where((labels == IGNORE)[..., None], image_bgr[..., ::-1], blend)


def legend(space: LabelSpace, present: np.ndarray, width: int) -> np.ndarray:
    """Swatches with names of the classes with these ids, RGB uint8 [·, width, 3]."""
    ids = [int(i) for i in present if i < len(space.classes)]
    columns = max(1, width // _COLUMN)
    rows = max(1, -(-len(ids) // columns))
    canvas = np.full((rows * _ROW + 8, width, 3), 255, dtype=np.uint8)
    for place, index in enumerate(ids):
        x, y = place % columns * _COLUMN + 6, place // columns * _ROW + 8
        colour = tuple(int(v) for v in space.palette[index])
        cv2.rectangle(canvas, (x, y), (x + _SWATCH, y + _SWATCH - 2), colour, -1)
        cv2.putText(canvas, space.classes[index], (x + _SWATCH + 6, y + 12), _FONT, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas


def panel(image_bgr: np.ndarray, truth: np.ndarray | None, prediction: np.ndarray, space: LabelSpace) -> np.ndarray:
    """image | truth | prediction with titles and a legend, RGB uint8; each part is 480 pixels wide.

    Args:
        image_bgr: uint8 [h, w, 3].
        truth, prediction: ids of `space`, uint8 [h, w]; without a truth that part is left out.
    """
    maps = {"prediction": prediction} if truth is None else {"truth": truth, "prediction": prediction}
    parts = [titled("image", image_bgr[..., ::-1])]
    parts += [titled(title, colorize(labels, space)) for title, labels in maps.items()]
    row = np.hstack(parts)
    return np.vstack([row, legend(space, np.unique(list(maps.values())), row.shape[1])])


def titled(title: str, picture: np.ndarray) -> np.ndarray:
    """The picture, RGB uint8, 480 pixels wide, below a bar with its title."""
    height = round(picture.shape[0] * _WIDTH / picture.shape[1])
    how = cv2.INTER_NEAREST if picture.shape[1] < _WIDTH else cv2.INTER_AREA
    resized = cv2.resize(np.ascontiguousarray(picture), (_WIDTH, height), interpolation=how)
    bar = np.full((_ROW, _WIDTH, 3), 255, dtype=np.uint8)
    cv2.putText(bar, title, (6, 17), _FONT, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([bar, resized])
