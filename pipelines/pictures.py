"""From a path or URI to pixels: images are read and decoded, or one line says why not."""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.client import HTTPException
from typing import BinaryIO
from urllib.request import urlopen

import cv2
import numpy as np
from PIL import Image

from datasets import storage

MOST_PIXELS = 100_000_000
"""Larger images are refused: the scores of 19 classes alone would take 8 GB."""
_MOST_BYTES = 2**30
_PATIENCE = 60  # seconds that a web server may be silent


@dataclass(frozen=True)
class Picture:
    """One image that is to be predicted.

    Args:
        name: of its results, a relative path without an ending.
        place: where it is, for people.
        read: gives BGR uint8 [h, w, 3], None after a video's last frame; raises ValueError with the reason.
    """

    name: str
    place: str
    read: Callable[[], np.ndarray | None]


def read_picture(place: str) -> np.ndarray:
    """The image at a path, s3://, gs://, http:// or https:// URI, BGR uint8 [h, w, 3], turned as its EXIF data says.

    Raises:
        ValueError: why it can't be had.
    """
    try:
        with opened(place) as stream:
            data = stream.read(_MOST_BYTES + 1)
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"can't be read: {' '.join(str(reason).split())}") from error
    if len(data) > _MOST_BYTES:
        raise ValueError(f"larger than {_MOST_BYTES >> 20} MiB")
    return decode_picture(data)


def opened(place: str) -> AbstractContextManager[BinaryIO]:
    """A stream of the bytes at a path or URI; a URI's path has its special characters percent-encoded."""
    if place.startswith(("http://", "https://")):
        return urlopen(place, timeout=_PATIENCE)
    if "://" not in place:
        return open(place, "rb")
    return storage.open_uri(place)


def decode_picture(data: bytes) -> np.ndarray:
    """An encoded image's pixels, BGR uint8 [h, w, 3]. Raises ValueError if it is none, cut short or too large."""
    check_size(*_stated_size(data))
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError(f"can't be decoded: {error.err}") from error
    if image is None:
        raise ValueError("damaged or cut short")
    return image


def check_size(width: int, height: int) -> None:
    """Raises ValueError if an image has more than `MOST_PIXELS`."""
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels, more than {MOST_PIXELS // 10**6} million: scale it down")


def _stated_size(data: bytes) -> tuple[int, int]:
    """Width and height by the file's header: a few bytes can unpack to more than the memory holds."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.size
    except Image.DecompressionBombError as error:
        raise ValueError(f"more than {MOST_PIXELS // 10**6} million pixels: scale it down") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError("no image") from error
