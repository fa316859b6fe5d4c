"""From a path or URI to pixels: images are read and decoded, or one line says why not."""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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
_SCHEMES = ("s3", "gs", "http", "https", "file")
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
    except (OSError, ValueError) as error:
        raise ValueError(f"can't be read: {reason_of(error)}") from error
    if len(data) > _MOST_BYTES:
        raise ValueError(f"larger than {_MOST_BYTES >> 20} MiB")
    return decode_picture(data)


@contextmanager
def opened(place: str) -> Iterator[BinaryIO]:
    """A stream of the bytes at a path or URI; a URI's path has its special characters percent-encoded.

    Raises:
        ValueError: it is an address that can't be, or its server breaks off.
        OSError: there is no such file, or no way to it.
    """
    check_scheme(place)
    try:
        with _stream(place) as stream:
            yield stream
    except HTTPException as error:
        raise ValueError(reason_of(error) or type(error).__name__) from error


def check_scheme(place: str) -> None:
    """Raises ValueError for URIs that are not supported, as with a key in them; Arrow knows some that end the process
    if it can't log in."""
    storage.refuse_key(place)
    scheme, found, _ = place.partition("://")
    if found and scheme.lower() not in _SCHEMES:
        raise ValueError(f"{scheme}:// is not supported: give a path, or one of {', '.join(_SCHEMES)}")


def reason_of(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())


def _stream(place: str) -> AbstractContextManager[BinaryIO]:
    if place.startswith(("http://", "https://")):
        return urlopen(place, timeout=_PATIENCE)
    if "://" not in place:
        return open(place, "rb")
    return storage.open_uri(place)


def decode_picture(data: bytes) -> np.ndarray:
    """An encoded image's pixels, BGR uint8 [h, w, 3]. Raises ValueError if it is none, cut short or too large."""
    size, in_numbers = _stated(data)
    check_size(*size)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError(f"can't be decoded: {error.err}") from error
    if image is None and in_numbers:
        raise ValueError("a TIFF with 32 bits a pixel, which is not supported: save it with 8 or 16")
    if image is None:
        raise ValueError("damaged or cut short")
    return image


def check_size(width: int, height: int) -> None:
    """Raises ValueError if an image has more than `MOST_PIXELS`."""
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels, more than {MOST_PIXELS // 10**6} million: scale it down")


def _stated(data: bytes) -> tuple[tuple[int, int], bool]:
    """Width and height by the file's header: a few bytes can unpack to more than the memory holds. And whether pixels
    are 32-bit numbers, which OpenCV does not turn into colours."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.size, picture.format == "TIFF" and picture.mode in ("F", "I")
    except Image.DecompressionBombError as error:
        raise ValueError(f"more than {MOST_PIXELS // 10**6} million pixels: scale it down") from error
    except Exception as error:  # PIL's readers raise whatever a broken header leads them to
        raise ValueError("no image") from error
