"""A window that is cut out of a JPEG has the pixels that OpenCV has there; damage is found."""

import struct

import cv2
import numpy as np
import pytest

from datasets import jpeg_tiles
from datasets.codecs import decode_file


def picture(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 1.5)


def rows_of_blocks(pixels: np.ndarray) -> bytes:
    """As shards of before have them: a marker after two rows of blocks."""
    interval = [cv2.IMWRITE_JPEG_RST_INTERVAL, 2 * -(-pixels.shape[1] // 16)]
    return cv2.imencode(".jpg", pixels, interval)[1].tobytes()


def spans(length: int) -> list[tuple[int, int]]:
    """First and end of some windows along a side: at its edges, across each block's, and drawn."""
    drawn = np.sort(np.random.default_rng(length).integers(0, length + 1, (20, 2))).tolist()
    beside = [(max(edge - 1, 0), min(edge + 1, length)) for edge in range(0, length, 16)]
    return [(0, 1), (0, length), (length - 1, length), *beside, *(tuple(pair) for pair in drawn if pair[0] < pair[1])]


@pytest.mark.parametrize("encode", [jpeg_tiles.encode, rows_of_blocks])
@pytest.mark.parametrize("size", [(1, 1), (33, 40), (64, 16), (97, 122), (100, 210), (150, 944), (700, 256)], ids=str)
def test_any_window_has_the_pixels_of_the_whole(size, encode):
    data, rng = encode(picture(*size)), np.random.default_rng(1)
    whole, down, across = decode_file(data), spans(size[0]), spans(size[1])
    pairs = [(down[i % len(down)], across[i % len(across)]) for i in range(max(len(down), len(across)))]
    pairs += [(down[rng.integers(len(down))], across[rng.integers(len(across))]) for _ in range(40)]
    for window in ((slice(*rows), slice(*columns)) for rows, columns in pairs):
        kept, part = jpeg_tiles.cut(data, *size, window)
        assert all(
            out.start <= wanted.start and wanted.stop <= out.stop for out, wanted in zip(kept, window, strict=True)
        )
        inner = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(window, kept, strict=True))
        assert np.array_equal(decode_file(part)[inner], whole[window])


def test_only_the_tiles_that_are_wanted_are_kept():
    """Of 16×64 pixels, and one more where a pixel beyond it has a say in the colours."""
    data = jpeg_tiles.encode(picture(1052, 1920))

    def kept(rows: tuple[int, int], columns: tuple[int, int]) -> tuple[slice, slice]:
        return jpeg_tiles.cut(data, 1052, 1920, (slice(*rows), slice(*columns)))[0]

    assert kept((300, 303), (70, 100)) == np.s_[288:304, 64:128]
    assert kept((304, 320), (64, 128)) == np.s_[288:336, 0:192]
    assert kept((1050, 1052), (1919, 1920)) == np.s_[1040:1052, 1856:1920]
    assert jpeg_tiles.cut(data, 1052, 1920, np.s_[0:1052, 20:1900]) == (np.s_[0:1052, 0:1920], data)
    assert len(jpeg_tiles.cut(data, 1052, 1920, np.s_[300:303, 70:100])[1]) < len(data) / 500


@pytest.mark.parametrize(
    ("width", "strip"),
    [(1, 1), (40, 40), (58, 58), (100, 64), (944, 896), (1000, 960), (1914, 1914), (2048, 2048), (70_000, 65_472)],
)
def test_tiles_fill_a_strip(width, strip):
    assert jpeg_tiles.strip_width(width) == strip
    data = jpeg_tiles.encode(picture(20, min(strip, 2048)))
    kept = jpeg_tiles.cut(data, 20, min(strip, 2048), np.s_[0:1, 0:1])[0]
    assert kept == np.s_[0:16, 0 : min(strip, 64)]


def test_the_tiles_lengths_are_in_a_comment_which_a_cut_has_no_more():
    data = jpeg_tiles.encode(picture(100, 320))
    codes, heads = np.frombuffer(data, np.uint8), jpeg_tiles._segments(data)
    told = jpeg_tiles._told(codes, heads)
    assert len(told) == 7 * 5 + 1 and np.array_equal(told, jpeg_tiles._marked(codes, heads))
    assert 0xFFFE not in jpeg_tiles._segments(jpeg_tiles.cut(data, 100, 320, np.s_[0:10, 0:10])[1])


@pytest.mark.parametrize("room", [50, 150])
def test_tiles_that_are_too_many_or_too_long_for_a_comment_are_found_by_their_markers(monkeypatch, room):
    """70 bytes of comment, tiles of 300 and more."""
    monkeypatch.setattr(jpeg_tiles, "_TWO_BYTES", room)
    data, window = jpeg_tiles.encode(picture(100, 320)), np.s_[20:30, 100:200]
    assert 0xFFFE not in jpeg_tiles._segments(data)
    kept, part = jpeg_tiles.cut(data, 100, 320, window)
    inner = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(window, kept, strict=True))
    assert len(part) < len(data) and np.array_equal(decode_file(part)[inner], decode_file(data)[window])


def test_the_whole_has_the_usual_pixels_and_is_smaller():
    usual = cv2.imencode(".jpg", picture(300, 200), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    data = jpeg_tiles.encode(picture(300, 200))
    assert len(data) < len(usual) and np.array_equal(decode_file(data), decode_file(usual))


def test_a_jpeg_without_markers_stays_whole():
    """Such are in shards that were written before."""
    data = cv2.imencode(".jpg", picture(300, 200))[1].tobytes()
    assert jpeg_tiles.cut(data, 300, 200, np.s_[100:110, 50:60]) == (np.s_[0:300, 0:200], data)


@pytest.mark.parametrize("encode", [jpeg_tiles.encode, rows_of_blocks])
def test_damage_is_an_error(encode):
    data, size, window = encode(picture(300, 320)), (300, 320), np.s_[100:110, 50:60]
    harmed = [data[:100], data[: len(data) // 2], data.replace(b"\xff\xd3", b"\xff\x00", 1)]
    for interval in (0, 3, 7, 21):
        place = data.index(b"\xff\xdd") + 4
        harmed.append(data[:place] + struct.pack(">H", interval) + data[place + 2 :])
    if encode is jpeg_tiles.encode:
        place = data.index(b"\xff\xfe") + 4
        harmed += [
            data + b"\0",
            data[:-1],
            data[:-2000],
            data[: place + 1] + b"\0" + data[place + 2 :],
            data[: place - 2] + b"\0\1" + data[place:],
        ]
    for bad in harmed:
        with pytest.raises((ValueError, LookupError, struct.error)):
            jpeg_tiles.cut(bad, *size, window)
    with pytest.raises(ValueError, match="a JPEG of 300×320 where 310×320 should be"):
        jpeg_tiles.cut(data, 310, 320, window)


def test_what_is_wrong_is_told():
    data = jpeg_tiles.encode(picture(300, 320))
    place = data.index(b"\xff\xdd") + 4
    with pytest.raises(ValueError, match="a marker after 3 blocks, in rows of 20"):
        jpeg_tiles.cut(data[:place] + b"\0\3" + data[place + 2 :], 300, 320, np.s_[100:110, 50:60])
    with pytest.raises(ValueError, match="its restart markers are not those of 95 tiles"):
        jpeg_tiles.cut(data.replace(b"\xff\xd3", b"\xff\x00", 1), 300, 320, np.s_[100:110, 50:60])
    with pytest.raises(ValueError, match="65501 rows are more than the 65500 of a JPEG: use the codec zstd"):
        jpeg_tiles.encode(np.zeros((65_501, 1, 3), np.uint8))
