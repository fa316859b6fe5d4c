"""Images from anywhere: turned as they say, and one line where there is none."""

import functools
import http.server
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines.pictures import decode_picture, read_picture

PIXELS = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8), (5, 5), 2)


def encoded(ending: str) -> bytes:
    return cv2.imencode(ending, PIXELS)[1].tobytes()


@pytest.fixture
def web(web_server, tmp_path) -> Iterator[str]:
    """The address of a web server of tmp_path."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with web_server(handler) as address:
        yield address


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_whole_images_are_read_and_damaged_ones_named(ending):
    data = encoded(ending)
    assert np.abs(decode_picture(data).astype(int) - PIXELS).max() < 60
    for length in (len(data) * 99 // 100, len(data) // 2, len(data) // 10):
        with pytest.raises(ValueError, match="^(damaged or cut short|no image)$"):
            decode_picture(data[:length])


def test_a_file_by_its_uri(tmp_path):
    (tmp_path / "a street#1.png").write_bytes(encoded(".png"))
    assert (read_picture(f"file://{tmp_path}/a%20street%231.png") == PIXELS).all()


def test_what_is_no_image():
    for data in (b"", b"hello", bytes(1000), b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(ValueError, match="no image"):
            decode_picture(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_turned_camera(kind):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x112] = 6  # orientation: to be turned by 90 degrees clockwise
    Image.fromarray(PIXELS[..., ::-1]).save(file, kind, exif=exif, quality=95)
    turned = decode_picture(file.getvalue())
    assert turned.shape == (60, 40, 3)
    assert np.abs(turned.astype(int) - np.rot90(PIXELS, k=-1)).mean() < 10


@pytest.mark.parametrize("side", [12_000, 60_000, 2_000_000_000])
def test_a_decompression_bomb_is_not_unpacked(side):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    with pytest.raises(ValueError, match="more than 100 million.*scale it down"):
        decode_picture(bomb)


def test_other_kinds_of_pixels():
    for array in (PIXELS[..., 0], np.dstack([PIXELS, PIXELS[..., :1]]), PIXELS.astype(np.uint16) * 257):
        assert decode_picture(cv2.imencode(".png", array)[1].tobytes()).shape == (40, 60, 3)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_kinds_of_pixels_that_are_not_supported(kind):
    file = io.BytesIO()
    Image.fromarray(np.ones((9, 9), kind)).save(file, "TIFF")
    with pytest.raises(ValueError, match="^a TIFF with 32 bits a pixel, which is not supported: save it with 8 or 16"):
        decode_picture(file.getvalue())


def test_a_header_that_pillow_does_not_know():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "DDS")
    data = bytearray(file.getvalue())
    data[80:88] = (4).to_bytes(4, "little") + b"ABCD"  # pixels of a form of its own
    with pytest.raises(ValueError, match="^no image$"):
        decode_picture(bytes(data))


def test_from_a_web_server(web, tmp_path):
    (tmp_path / "a b.png").write_bytes(encoded(".png"))
    assert np.array_equal(read_picture(f"{web}/a%20b.png?size=1"), PIXELS)
    with pytest.raises(ValueError, match="can't be read: HTTP Error 404"):
        read_picture(f"{web}/none.png")
    for address in (f"{web}/a b.png", "http://127.0.0.1:1/x.png", "ftp://127.0.0.1/x.png", "https://"):
        with pytest.raises(ValueError, match="can't be read: "):
            read_picture(address)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match="can't be read: No such file"):
        read_picture(str(tmp_path / "none.png"))
    with pytest.raises(ValueError, match="can't be read: Is a directory"):
        read_picture(str(tmp_path))
    Path(tmp_path / "a#b?c.png").write_bytes(encoded(".png"))
    assert np.array_equal(read_picture(str(tmp_path / "a#b?c.png")), PIXELS)
