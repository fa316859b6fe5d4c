"""Codecs: lossless ones are, on every shape; a lossy one loses little; files of others are kept."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets import strips
from datasets.codecs import (
    IMAGE_CODECS,
    decode_file,
    decode_image,
    decode_label,
    encode_image,
    encode_label,
    jpeg_damage,
)


@pytest.fixture(params=[(1, 1), (2, 3), (64, 128), (101, 37)], ids=str)
def picture(request) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (*request.param, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 3)


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.mark.parametrize("codec", IMAGE_CODECS)
def test_images_come_back(picture, codec):
    back = decode_image(encode_image(png(picture), picture, codec), *picture.shape[:2])
    assert back.shape == picture.shape and back.dtype == np.uint8 and back.flags.writeable
    difference = np.abs(back.astype(int) - picture)
    assert not difference.any() if codec != "jpeg95" else difference.mean() < 4


def strips_of_before(_data: bytes, pixels: np.ndarray, _codec: str) -> bytes:
    """jpeg95 had such, with a marker after two rows of blocks."""

    def jpeg(strip: np.ndarray) -> bytes:
        interval = [cv2.IMWRITE_JPEG_RST_INTERVAL, 2 * -(-strip.shape[1] // 16)]
        return cv2.imencode(".jpg", strip, interval)[1].tobytes()

    return strips.join(pixels, jpeg)


@pytest.mark.parametrize(
    ("encode", "codec"), [(encode_image, "zstd"), (encode_image, "jpeg95"), (strips_of_before, "jpeg95")]
)
@pytest.mark.parametrize("columns", [(0, 1), (255, 257), (256, 512), (250, 530), (300, 700), (699, 700)])
@pytest.mark.parametrize("rows", [(None, None), (0, 1), (90, 120), (0, 200), (199, 200)])
def test_a_window_is_that_of_the_whole(encode, codec, rows, columns):
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (200, 700, 3), dtype=np.uint8), (9, 9), 3)
    data, window = encode(png(picture), picture, codec), (slice(*rows), slice(*columns))
    assert np.array_equal(decode_image(data, 200, 700, *window)[window], decode_image(data, 200, 700)[window])


def test_strips_that_are_touched():
    places = iter(range(4))
    data = strips.join(np.zeros((4, 1000, 3), np.uint8), lambda _: bytes([next(places)] * 3))
    parts = [(columns, bytes(part)) for columns, part in strips.touched(data, 1000, 300, 770)]
    assert parts == [(slice(256, 512), b"\1" * 3), (slice(512, 768), b"\2" * 3), (slice(768, 1000), b"\3" * 3)]
    assert [columns for columns, _ in strips.touched(data, 1000, 256, 512)] == [slice(256, 512)]


def test_original_keeps_the_file_and_jpeg95_keeps_a_jpeg(picture):
    jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes()
    assert encode_image(png(picture), picture, "original") == png(picture)
    assert encode_image(jpeg, picture, "jpeg95") == jpeg


def test_jpegs_of_codes_of_their_own_have_the_usual_pixels():
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (300, 192, 3), dtype=np.uint8), (9, 9), 3)
    data = encode_image(png(picture), picture, "jpeg95")
    usual = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    assert len(data) < len(usual)
    assert np.array_equal(decode_image(data, 300, 192), cv2.imdecode(usual, cv2.IMREAD_COLOR))


def test_a_jpeg_that_is_cut_short_or_has_another_height_is_damaged():
    picture = np.random.default_rng(0).integers(0, 256, (40, 300, 3), dtype=np.uint8)
    data = encode_image(png(picture), picture, "jpeg95")
    for harmed, height, width in ((data[:-200], 40, 300), (data, 41, 300), (data, 40, 301)):
        with pytest.raises(ValueError):
            decode_image(harmed, height, width)


def test_an_image_wider_than_any_jpeg_comes_back():
    picture = np.full((8, 70_000, 3), 90, np.uint8)
    data = encode_image(b"", picture, "jpeg95")
    assert np.abs(decode_image(data, 8, 70_000)[:, 65_400:].astype(int) - 90).max() < 3


def test_labels_come_back(picture):
    label = picture[..., 0]
    back = decode_label(encode_label(label), *label.shape)
    assert np.array_equal(back, label) and back.flags.writeable
    assert np.array_equal(decode_label(png(label), *label.shape), label)


def jpeg(mode: str = "RGB", size: tuple[int, int] = (200, 300), **options) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(cv2.GaussianBlur(noise, (9, 9), 3)).convert(mode).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("start", [0.3, 0.5, 0.8])
def test_damage_inside_a_jpeg_is_found(mode, start):
    whole = jpeg(mode)
    place = slice(int(start * len(whole)), int(start * len(whole)) + 2048)
    for harmed in (
        whole[: place.start] + bytes(2048) + whole[place.stop :],
        whole[: place.start] + whole[place.stop :],
    ):
        assert decode_file(harmed) is not None, "OpenCV says nothing"
        assert "Corrupt JPEG data" in jpeg_damage(harmed)


@pytest.mark.parametrize("marker", range(5))
def test_a_lost_restart_marker_is_found(marker):
    whole = cv2.imencode(".jpg", cv2.imdecode(np.frombuffer(jpeg(), np.uint8), 1), [cv2.IMWRITE_JPEG_RST_INTERVAL, 40])[
        1
    ]
    harmed = whole.tobytes().replace(bytes([0xFF, 0xD0 + marker]), bytes([0x12, 0x34]), 1)
    assert decode_file(harmed) is not None and "Corrupt JPEG data" in jpeg_damage(harmed)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:4:4"}, {"keep_rgb": True}], ids=str)
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (101, 37), (200, 300)], ids=str)
def test_whole_jpegs_are_let_through_with_their_padding(size, options):
    whole = jpeg(size=size, **options)
    header_end = 4 + int.from_bytes(whole[4:6])
    assert jpeg_damage(whole) is None
    assert jpeg_damage(whole + bytes(9)) is None, "after the end"
    assert jpeg_damage(whole[:-2] + bytes(2) + whole[-2:]) is None, "before the end"
    assert jpeg_damage(whole[:header_end] + bytes(9) + whole[header_end:]) is None, "between headers"


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_whole_jpegs_of_other_colours_are_let_through(mode):
    assert jpeg_damage(jpeg(mode)) is None
