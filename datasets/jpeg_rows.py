"""A JPEG with restart markers, of which a crop decodes only its rows: codes between markers stand on their own."""

import re
import struct

import cv2
import numpy as np

_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_FRAME, _INTERVAL, _SCAN = 0xFFC0, 0xFFDD, 0xFFDA
_BLOCK = 16
"""Pixels of a side of a block of OpenCV's JPEGs, whose colours are stored at half size."""
_BLOCKS_BETWEEN = 2
"""Rows of blocks from marker to marker; they make the file 0.4 % larger."""


def encode(pixels: np.ndarray) -> bytes:
    """BGR uint8 [h, w, 3] → JPEG of quality 95."""
    interval = _BLOCKS_BETWEEN * -(-pixels.shape[1] // _BLOCK)
    options = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_RST_INTERVAL, interval]
    options += [cv2.IMWRITE_JPEG_OPTIMIZE, 1]  # codes of its own: a fifth smaller
    return cv2.imencode(".jpg", pixels, options)[1].tobytes()


def cut(data: bytes | memoryview, height: int, first: int, end: int) -> tuple[slice, bytes | memoryview]:
    """Rows, at least those from `first` up to `end`, and a JPEG of just them, whose pixels are the whole one's.

    A JPEG without restart markers stays whole.

    Args:
        data: what `encode` made of `height` rows.

    Raises:
        ValueError, LookupError, struct.error: it is damaged.
    """
    frame, interval, scan = _head(data)
    rows = _BLOCK * _BLOCKS_BETWEEN
    if not interval or (first < rows and end > height - rows):
        return slice(0, height), data
    starts = [scan, *(match.end() for match in _RESTART.finditer(data, scan)), len(data)]
    if len(starts) - 1 != -(-height // rows):
        raise ValueError(f"{len(starts) - 2} restart markers where {height} rows have {-(-height // rows) - 1}")
    low, high = max(first - 1, 0) // rows, min(-(-(end + 1) // rows), len(starts) - 1)  # colours reach a row further
    kept = slice(low * rows, min(high * rows, height))
    head, codes = bytearray(data[:scan]), bytearray(data[starts[low] : starts[high]])
    struct.pack_into(">H", head, frame + 5, kept.stop - kept.start)
    for number, start in enumerate(starts[low + 1 : high]):
        codes[start - 1 - starts[low]] = 0xD0 + number % 8
    codes[-1] = 0xD9  # the end of the image
    return kept, bytes(head + codes)


def _head(data: bytes | memoryview) -> tuple[int, int, int]:
    """Where the frame's header is, how many blocks there are from marker to marker, where the codes begin."""
    place, found = 2, {_INTERVAL: 0}
    while _SCAN not in found:
        marker, length = struct.unpack_from(">HH", data, place)
        found[marker] = struct.unpack_from(">H", data, place + 4)[0] if marker == _INTERVAL else place
        place += 2 + length
    return found[_FRAME], found[_INTERVAL], place
