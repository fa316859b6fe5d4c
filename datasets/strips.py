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


def fill(
    out: np.ndarray, data: bytes, decode: Callable[[memoryview, int, int], np.ndarray], left: int, right: int
) -> None:
    """Decodes the strips that touch columns `left` to `right` into their places; other columns stay as they are.

    Args:
        out: BGR uint8 [h, w, 3].
        decode: a strip's bytes, height and width → BGR uint8 [h, width, 3].
    """
    width, count = struct.unpack_from("<II", data, len(MAGIC))
    start = len(MAGIC) + 8 + 4 * count
    ends = list(accumulate(struct.unpack_from(f"<{count}I", data, len(MAGIC) + 8), initial=start))
    for i in range(left // width, min(-(-right // width), count)):
        place = out[:, i * width : (i + 1) * width]
        place[:] = decode(memoryview(data)[ends[i] : ends[i + 1]], *place.shape[:2])
