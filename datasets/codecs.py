"""How images and labels are stored: as encoded files, or as Zstandard frames, which decode several times faster.

A label is one frame of its ids, row by row. An image that is not kept as a file is in upright strips, so that a crop
decodes only what it needs: a JPEG in tiles, or a frame of BGR rows, each but the first less the row above (modulo 256).
The differences of a photo compress as well as a PNG does, and adding them up costs next to nothing.
"""

import re

import cv2
import numpy as np
import pyarrow as pa
import simplejpeg

from datasets import jpeg_tiles, strips

IMAGE_CODECS = ("original", "zstd", "jpeg95")
LABEL_CODEC = "zstd"
_FRAME = b"\x28\xb5\x2f\xfd"
JPEG = b"\xff\xd8\xff"
_JPEG_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG", "Unsupported marker type")
_JPEG_PADDING = re.compile(r"\b([1-4] extraneous bytes before marker 0xd9|extraneous bytes before marker 0x(?!d\d))")
_IMAGE_LEVEL, _LABEL_LEVEL = 3, 9  # above these the files hardly shrink and take far longer to write


def encode_image(data: bytes, pixels: np.ndarray, codec: str) -> bytes:
    """An image in the form in which it is stored.

    Args:
        data: the file it came in.
        pixels: BGR uint8 [h, w, 3].
        codec: "original" keeps the file, "zstd" the pixels; "jpeg95" loses a little, and keeps what is JPEG already.
    """
    if codec == "zstd":
        return strips.join(pixels, _encode_differences)
    if codec == "jpeg95" and not data.startswith(JPEG):
        return strips.join(pixels, jpeg_tiles.encode, jpeg_tiles.strip_width(pixels.shape[1]))
    return data


def decode_image(
    data: bytes, height: int, width: int, rows: slice = slice(None), columns: slice = slice(None)
) -> np.ndarray:
    """A stored image, BGR uint8 [height, width, 3].

    Args:
        rows, columns: only these are wanted; others may hold anything.
    """
    if not data.startswith(strips.MAGIC):
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    image = np.empty((height, width, 3), np.uint8)
    rows, columns = (slice(*part.indices(size)) for part, size in ((rows, height), (columns, width)))
    parts = strips.touched(data, width, columns.start, columns.stop)
    decode = _decode_differences if parts[0][1][: len(_FRAME)] == _FRAME else _decode_jpegs
    decode(parts, image, rows, columns)
    return image


def decode_file(data: bytes, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """An image or label as OpenCV reads it, of BGR or what `flags` say; None if it can't."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:  # of some damaged files, and of those whose header says that they are huge
        return None


def jpeg_damage(data: bytes) -> str | None:
    """What libjpeg finds wrong with a JPEG that OpenCV decodes all the same, to grey or shifted blocks, or None.

    It finds codes, or a number of them, that can't be: of lost or zeroed blocks of half a kilobyte nearly all, of
    changed bytes a quarter. Padding is let through, up to a word before the end and any between headers, and so is what
    only TurboJPEG refuses, such as rare ways of subsampling.
    """
    try:  # reads all codes, but makes few pixels of them
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        damage = str(error)
        return damage if damage.startswith(_JPEG_DAMAGE) and not _JPEG_PADDING.search(damage) else None
    return None


def _encode_differences(pixels: np.ndarray) -> bytes:
    differences = pixels.copy()
    differences[1:] -= pixels[:-1]
    return _compress(differences, _IMAGE_LEVEL)


def _decode_jpegs(parts: list[tuple[slice, memoryview]], image: np.ndarray, rows: slice, columns: slice) -> None:
    """The pixels are OpenCV's."""
    for place, data in parts:
        strip = image[:, place]
        wanted = slice(max(columns.start - place.start, 0), min(columns.stop, place.stop) - place.start)
        kept, data = jpeg_tiles.cut(data, *strip.shape[:2], (rows, wanted))
        strip[kept] = simplejpeg.decode_jpeg(data, "BGR")


def _decode_differences(parts: list[tuple[slice, memoryview]], image: np.ndarray, rows: slice, _columns: slice) -> None:
    for columns, data in parts:
        place = image[:, columns]
        place[:] = _decompress(data, place.shape)
    added = image[: rows.stop, parts[0][0].start : parts[-1][0].stop]
    for above, row in zip(added[:-1], added[1:], strict=True):
        np.add(above, row, out=row)  # np.add.accumulate takes ten times as long, and strip by strip four times


def encode_label(label: np.ndarray) -> bytes:
    """Ids, uint8 [h, w], in the form in which they are stored."""
    return _compress(label, _LABEL_LEVEL)


def decode_label(data: bytes, height: int, width: int) -> np.ndarray:
    """A stored label, uint8 [height, width]; shards of format 1 hold PNGs."""
    if not data.startswith(_FRAME):
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return _decompress(data, (height, width))


def _compress(array: np.ndarray, level: int) -> bytes:
    return pa.Codec("zstd", compression_level=level).compress(np.ascontiguousarray(array), asbytes=True)


def _decompress(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    out = pa.decompress(data, int(np.prod(shape)), codec="zstd")
    return np.frombuffer(out, np.uint8).reshape(shape)
