"""Rows that are cut out of a JPEG have the pixels that OpenCV has there; damage is found."""

import struct

import cv2
import numpy as np
import pytest

from datasets import jpeg_rows
from datasets.codecs import decode_file


def picture(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 1.5)


@pytest.mark.parametrize("size", [(1, 1), (33, 40), (64, 16), (97, 122), (700, 256)], ids=str)
def test_any_rows_have_the_pixels_of_the_whole(size):
    data, rng = jpeg_rows.encode(picture(*size)), np.random.default_rng(1)
    whole, drawn = decode_file(data), np.sort(rng.integers(0, size[0] + 1, (60, 2)))
    edges = [(0, 1), (0, size[0]), (size[0] - 1, size[0])]
    beside = [(max(edge - 1, 0), min(edge + 1, size[0])) for edge in range(0, size[0], 16)]
    for first, end in edges + beside + [tuple(pair) for pair in drawn.tolist() if pair[0] < pair[1]]:
        rows, part = jpeg_rows.cut(data, size[0], first, end)
        assert rows.start <= first < end <= rows.stop
        inner = slice(first - rows.start, end - rows.start)
        assert np.array_equal(decode_file(part)[inner], whole[first:end])


def test_only_the_rows_that_are_wanted_are_kept():
    """To the next marker, of 32 rows, and one more where a row beyond it has a say in the colours."""
    data = jpeg_rows.encode(picture(1052, 256))
    rows, part = jpeg_rows.cut(data, 1052, 300, 310)
    assert rows == slice(288, 320) and len(part) < len(data) / 20
    assert jpeg_rows.cut(data, 1052, 288, 320)[0] == slice(256, 352)
    assert jpeg_rows.cut(data, 1052, 1050, 1052)[0] == slice(1024, 1052)
    assert jpeg_rows.cut(data, 1052, 20, 1040) == (slice(0, 1052), data)


def test_the_whole_has_the_usual_pixels_and_is_smaller():
    usual = cv2.imencode(".jpg", picture(300, 200), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    data = jpeg_rows.encode(picture(300, 200))
    assert len(data) < len(usual) and np.array_equal(decode_file(data), decode_file(usual))


def test_a_jpeg_without_markers_stays_whole():
    """Such are in shards that were written before."""
    data = cv2.imencode(".jpg", picture(300, 200))[1].tobytes()
    assert jpeg_rows.cut(data, 300, 100, 110) == (slice(0, 300), data)


def test_damage_is_an_error():
    data = jpeg_rows.encode(picture(300, 200))
    for bad in (data[:100], data[:-2000], data.replace(b"\xff\xd3", b"\xff\x00", 1)):
        with pytest.raises((ValueError, struct.error)):
            decode_file(jpeg_rows.cut(bad, 300, 100, 110)[1])
    with pytest.raises(ValueError, match="9 restart markers where 400 rows have 12"):
        jpeg_rows.cut(data, 400, 100, 110)
