"""An image in upright strips, each encoded alone, so that a crop decodes only the strips that it touches."""

import struct
from collections.abc import Callable
from itertools import accumulate

import numpy as np

MAGIC = b"REINSTRP"
_WIDTH = 256


def join(pixels: np.ndarray, encode: Callable[[np.ndarray], bytes], width: int = _WIDTH) -> bytes:
    """BGR uint8 [h, w, 3] → one string: magic, strip width, number of strips, their lengths, the strips.

    Args:
        encode: BGR uint8 [h, ≤ width, 3] → bytes.
    """
    strips = [encode(np.ascontiguousarray(pixels[:, x : x + width])) for x in range(0, pixels.shape[1], width)]
    head = struct.pack(f"<II{len(strips)}I", width, len(strips), *map(len, strips))
    return b"".join([MAGIC, head, *strips])


def touched(data: bytes, columns: int, left: int, right: int) -> list[tuple[slice, memoryview]]:
    """Place and bytes of each strip that touches the columns from `left` up to `right`.

    Args:
        columns: width of the image.

    Raises:
        ValueError, ArithmeticError, struct.error: these are no strips of an image of that width.
    """
    width, count = struct.unpack_from("<II", data, len(MAGIC))
    if count != -(-columns // width):
        raise ValueError(f"{count} strips of {width} where {columns} columns should be")
    start = len(MAGIC) + 8 + 4 * count
    ends = list(accumulate(struct.unpack_from(f"<{count}I", data, len(MAGIC) + 8), initial=start))
    places = (slice(i * width, min((i + 1) * width, columns)) for i in range(count))
    strips = [(place, memoryview(data)[ends[i] : ends[i + 1]]) for i, place in enumerate(places)]
    return strips[left // width : -(-right // width)]
