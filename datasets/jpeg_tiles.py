"""A JPEG in tiles, of which a crop decodes those it touches: codes between restart markers stand on their own."""

import struct

import cv2
import numpy as np

_FRAME, _INTERVAL, _SCAN, _COMMENT = 0xFFC0, 0xFFDD, 0xFFDA, 0xFFFE
_RESTART, _END = 0xD0, 0xD9
_BLOCK = 16
"""Pixels of a side of a block of OpenCV's JPEGs, whose colours are stored at half size."""
_BLOCKS_OF_A_TILE = 4
"""Markers so close make a file 3 % larger, and to decode it all that much slower."""
_TILE = _BLOCK * _BLOCKS_OF_A_TILE
_HIGHEST = 65_500
"""Pixels of a side that libjpeg writes."""
_TWO_BYTES = 0xFFFF

Window = tuple[slice, slice]
"""Rows and columns, both with a start and a stop."""


def strip_width(width: int) -> int:
    """Of the strips of an image: all of it if tiles fill its rows, else what they fill, and the rest is another."""
    if width <= _HIGHEST and (width < _TILE or _ceil(width, _BLOCK) % _BLOCKS_OF_A_TILE == 0):
        return width
    return min(width, _HIGHEST) // _TILE * _TILE


def encode(pixels: np.ndarray) -> bytes:
    """BGR uint8 [h, w, 3] → JPEG of quality 95 in tiles, one block high, or in rows of blocks which these don't fill.

    Raises:
        ValueError: it is too high for a JPEG.
    """
    if pixels.shape[0] > _HIGHEST:
        raise ValueError(f"{pixels.shape[0]} rows are more than the {_HIGHEST} of a JPEG: use the codec zstd")
    row = _ceil(pixels.shape[1], _BLOCK)
    interval = row if row % _BLOCKS_OF_A_TILE else _BLOCKS_OF_A_TILE
    options = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_RST_INTERVAL, interval]
    options += [cv2.IMWRITE_JPEG_OPTIMIZE, 1]  # codes of its own: a fifth smaller
    data = cv2.imencode(".jpg", pixels, options)[1].tobytes()
    return data[:2] + _comment(data) + data[2:]


def _comment(data: bytes) -> bytes:
    """A comment of the tiles' lengths with their markers, big-endian uint16; none if one or itself is too long for it.

    To look for the markers takes thirty times as long as to read it.
    """
    lengths = np.diff(_marked(np.frombuffer(data, np.uint8), _segments(data)))
    told = lengths.astype(">u2").tobytes()
    return struct.pack(">HH", _COMMENT, 2 + len(told)) + told if max(2 + len(told), *lengths) <= _TWO_BYTES else b""


def cut(data: bytes | memoryview, height: int, width: int, window: Window) -> tuple[Window, bytes | memoryview]:
    """A larger window and a JPEG of just that, which has the pixels of the whole one in the window that is asked for.

    Args:
        data: what `encode` made of `height` × `width` pixels, or a JPEG of shards of before: with a marker after every
            other row of blocks, or without any, which stays whole.

    Raises:
        ValueError, LookupError, struct.error: it is damaged.
    """
    heads, codes = _segments(data), np.frombuffer(data, np.uint8)
    if (size := struct.unpack_from(">HH", data, heads[_FRAME].start + 5)) != (height, width):
        raise ValueError(f"a JPEG of {size[0]}×{size[1]} where {height}×{width} should be")
    if _INTERVAL not in heads:
        return np.s_[0:height, 0:width], data
    tile = _tile(struct.unpack_from(">H", data, heads[_INTERVAL].start + 4)[0], _ceil(width, _BLOCK))
    grid = _ceil(height, tile[0]), _ceil(width, tile[1])
    starts = _starts(codes, heads, grid[0] * grid[1])
    down, across = (_touched(*each) for each in zip(window, tile, grid, strict=True))
    rows = slice(down.start * tile[0], min(down.stop * tile[0], height))
    columns = slice(across.start * tile[1], min(across.stop * tile[1], width))
    if (rows, columns) == np.s_[0:height, 0:width]:
        return (rows, columns), data
    head = _head(data, heads, (rows.stop - rows.start, columns.stop - columns.start))
    return (rows, columns), head + _joined(codes, starts, grid[1], down, across)


def _tile(interval: int, row: int) -> tuple[int, int]:
    """Height and width, pixels, from the blocks between markers and those of a row."""
    if not interval or (interval % row and row % interval):
        raise ValueError(f"a marker after {interval} blocks, in rows of {row}")
    return _BLOCK * max(interval // row, 1), _BLOCK * min(interval, row)


def _segments(data: bytes | memoryview) -> dict[int, slice]:
    """The headers by their markers. That of the scan is the last: the codes begin where it ends."""
    place, found = 2, {}
    while _SCAN not in found:
        marker, length = struct.unpack_from(">HH", data, place)
        found[marker] = slice(place, place + 2 + length)
        place = found[marker].stop
    return found


def _head(data: bytes | memoryview, heads: dict[int, slice], size: tuple[int, int]) -> bytes:
    """All headers, with another height and width and without the comment."""
    head = bytearray(data[: heads[_SCAN].stop])
    struct.pack_into(">HH", head, heads[_FRAME].start + 5, *size)
    if _COMMENT in heads:
        del head[heads[_COMMENT]]
    return bytes(head)


def _starts(codes: np.ndarray, heads: dict[int, slice], tiles: int) -> np.ndarray:
    """Where each tile's codes start, behind a marker, and the end of the last."""
    starts = _told(codes, heads) if _COMMENT in heads else _marked(codes, heads)
    whole = len(starts) == tiles + 1 and starts[-1] == len(codes)
    if not whole or (codes[starts[1:-1] - 1] & 0xF8 != _RESTART).any():
        raise ValueError(f"its restart markers are not those of {tiles} tiles")
    return starts


def _told(codes: np.ndarray, heads: dict[int, slice]) -> np.ndarray:
    return np.cumsum(np.append(heads[_SCAN].stop, codes[heads[_COMMENT]][4:].view(">u2")))


def _marked(codes: np.ndarray, heads: dict[int, slice]) -> np.ndarray:
    scan = heads[_SCAN].stop
    markers = (codes[scan:-1] == 0xFF) & (codes[scan + 1 :] & 0xF8 == _RESTART)
    return np.concatenate([[scan], scan + 2 + np.flatnonzero(markers), [len(codes)]])


def _touched(wanted: slice, tile: int, count: int) -> slice:
    """Tiles along one side; colours reach a pixel further."""
    return slice(max(wanted.start - 1, 0) // tile, min(_ceil(wanted.stop + 1, tile), count))


def _joined(codes: np.ndarray, starts: np.ndarray, width: int, down: slice, across: slice) -> bytes:
    """The codes of these tiles of a grid of that width, with markers numbered anew and the image's end."""
    firsts = range(down.start * width, down.stop * width, width)
    kept = np.concatenate([codes[starts[i + across.start] : starts[i + across.stop]] for i in firsts])
    ends = np.cumsum(np.diff(starts).reshape(-1, width)[down, across])
    kept[ends - 1] = _RESTART + np.arange(len(ends)) % 8
    kept[-1] = _END
    return kept.tobytes()


def _ceil(length: int, unit: int) -> int:
    return -(-length // unit)
