"""A raw image and its label → one row of the shards, or the reason why not."""

import cv2
import numpy as np

from datasets.codecs import JPEG, decode_file, encode_image, encode_label, jpeg_damage
from datasets.labels import CLASSES
from datasets.layouts import Layout, Pair
from datasets.raw_folder import read_bytes
from datasets.raw_labels import label_ids

_UNKNOWN = 254


def id_table(layout: Layout) -> np.ndarray:
    """uint8 [256], raw id → id in the layout's label space, 254 where a raw id is illegal."""
    table = np.full(256, _UNKNOWN, dtype=np.uint8)
    for raw, train in layout.id_to_train.items():
        table[raw] = train
    return table


def convert(pair: Pair, table: np.ndarray, codec: str = "original") -> dict:
    """A pair of files → a row of the shards.

    Args:
        table: uint8 [256] of `id_table`.
        codec: one of `codecs.IMAGE_CODECS`.

    Raises:
        ValueError: the reason why this pair can't be used.
    """
    data = read_bytes(pair.image, "image")
    pixels = decode_file(data)
    if pixels is None:
        raise ValueError(f"the image can't be decoded: {pair.image}")
    if data.startswith(JPEG) and (damage := jpeg_damage(data)):
        raise ValueError(f"the image is damaged ({damage}): {pair.image}")
    raw = label_ids(pair, data, table)
    if raw.shape != pixels.shape[:2]:
        sizes = ["×".join(map(str, shape)) for shape in (pixels.shape[:2], raw.shape)]
        raise ValueError(f"the image is {sizes[0]} and the label {sizes[1]} (height×width)")
    label = cv2.LUT(raw, table)
    counts = np.bincount(label.ravel(), minlength=256)
    if counts[_UNKNOWN]:
        wrong = ", ".join(map(str, np.unique(raw[label == _UNKNOWN])[:8]))
        raise ValueError(f"wrong label ids {wrong}: not ids of this layout")
    height, width = label.shape
    return {
        "image": encode_image(data, pixels, codec),
        "label": encode_label(label),
        "height": height,
        "width": width,
        "name": pair.name,
        "class_pixels": counts[: len(CLASSES)].tolist(),
    }
