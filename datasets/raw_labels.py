"""Reads raw labels as they come: bits, greys, palettes and 16-bit channels are ids; colours are refused, except
CamVid's where they are expected."""

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from datasets.camvid_colours import ids_of
from datasets.codecs import JPEG, decode_file
from datasets.labels import CITYSCAPES_LABEL_IDS, CLASSES, IGNORE, PALETTE, VOID_COLOURS
from datasets.layouts import Pair
from datasets.raw_folder import read_bytes

_PNG = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112
_UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError)
_COLOURED = "camvid_colours"
_SWAPPING = (5, 6, 7, 8)  # EXIF orientations that turn by 90°
_CLASS_OF = {tuple(colour): train for train, colour in enumerate(PALETTE.tolist())}

# what a file of colours ends with → what the file of ids beside it ends with
_ID_FILES = {
    "_labelColor.png": "_labelIds.png",
    "_train_color.png": "_train_id.png",
    "_color.png": "_labelIds.png",
}


def label_ids(pair: Pair, image: bytes, table: np.ndarray) -> np.ndarray:
    """The raw ids of a pair's label, uint8 [h, w].

    Args:
        image: the pair's image, encoded: a label has to be drawn on the same grid of pixels.
        table: uint8 [256], raw id → id in the layout's label space: a palette that is drawn may not contradict it.

    Raises:
        ValueError: the reason why the label can't be used, or can't with this image.
    """
    data = read_bytes(pair.label, "label")
    if data.startswith(JPEG):
        raise ValueError(f"the label is a JPEG, which changes ids: save it without loss ({pair.label})")
    ids = READERS[pair.encoding](data, pair.label)
    if ids.min() < 0 or ids.max() > 255:
        raise ValueError(f"wrong label ids {ids.min()} to {ids.max()}: ids are 0 to 255")
    ids = ids.astype(np.uint8)
    if pair.encoding != _COLOURED:
        _refuse_numbered_colours(data, ids, table, pair.label)
    _refuse_turned(image, ids.shape)
    return ids


def _read_ids(data: bytes, path: str) -> np.ndarray:
    """One channel, as it is stored. PIL keeps palette indices, where OpenCV would give colours."""
    try:
        with Image.open(io.BytesIO(data)) as label:
            ids = np.asarray(label)
    except _UNREADABLE as error:
        raise ValueError(f"the label can't be decoded: {path}") from error
    if ids.ndim != 2:
        raise ValueError(_why_coloured(ids, path))
    if not np.issubdtype(ids.dtype, np.integer) and ids.dtype != bool:
        raise ValueError(f"the label holds {ids.dtype}, not whole numbers ({path})")
    return ids // _grey_step(data)


def _grey_step(data: bytes) -> int:
    """What decoders multiply greys of 2 and 4 bits by, to fill 8 bits: 85 and 17. 1 for all other files."""
    depth, colour = (data[24], data[25]) if data.startswith(_PNG) else (8, 0)
    return 255 // (2**depth - 1) if colour == 0 and depth in (2, 4) else 1


def _why_coloured(pixels: np.ndarray, path: str) -> str:
    channels = pixels.shape[2]
    colours = {tuple(map(int, colour)) for colour in np.unique(pixels[..., :3].reshape(-1, min(channels, 3)), axis=0)}
    if colours & set(_CLASS_OF) and colours <= {*_CLASS_OF, *VOID_COLOURS}:
        ending = next((end for end in _ID_FILES if path.endswith(end)), None)
        ids = path.removesuffix(ending) + _ID_FILES[ending] if ending else "the *_labelIds.png that belongs to it"
        return f"the label has {channels} channels: Cityscapes' colours, not ids ({path}): use {ids}"
    if all(len(set(colour)) == 1 for colour in colours):
        return f"the label has {channels} channels: a map of ids has one ({path}): save one of these as grey"
    return f"the label has {channels} channels, so it holds colours: a map of ids has one ({path})"


def _refuse_numbered_colours(data: bytes, ids: np.ndarray, table: np.ndarray, path: str) -> None:
    """Programs that save colours in 8 bits number them as they come: such numbers look like ids and are none."""
    with Image.open(io.BytesIO(data)) as label:
        palette = label.getpalette("RGB") if label.mode == "P" else None
    if not palette:
        return
    colours = {i: tuple(palette[3 * i : 3 * i + 3]) for i in np.unique(ids).tolist()}
    drawn = {i: _CLASS_OF[colour] for i, colour in colours.items() if colour in _CLASS_OF}
    wrong = [i for i, train in drawn.items() if train not in (i, CITYSCAPES_LABEL_IDS.get(i), table[i])]
    other = [i for i in wrong if table[i] != IGNORE]
    if set(colours.values()) <= {*_CLASS_OF, *VOID_COLOURS} and (other or 2 * len(wrong) > len(drawn)):
        i = (other or wrong)[0]
        raise ValueError(
            f"the label's palette has Cityscapes' colours under other numbers than their ids: {i} is the colour of "
            f"{CLASSES[drawn[i]]} ({path}): use its file of ids, or save it without a palette if these are the ids"
        )


def _read_first_channel(data: bytes, path: str) -> np.ndarray:
    """The first of several channels, 8 or 16 bits deep. PIL would cut 16-bit colours to their high byte."""
    pixels = decode_file(data, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError(f"the label can't be decoded: {path}")
    if pixels.ndim != 3:
        raise ValueError(f"the label has one channel: class ids are expected in the first of several ({path})")
    return pixels[..., 2]  # OpenCV turns RGB, and grey with a second channel, into BGR(A): the file's first comes third


def _read_camvid_colours(data: bytes, path: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as label:
            pixels = np.asarray(label.convert("RGB"))
    except _UNREADABLE as error:
        raise ValueError(f"the label can't be decoded: {path}") from error
    return ids_of(pixels, path)


READERS: dict[str, Callable[[bytes, str], np.ndarray]] = {
    "ids": _read_ids,
    "first_channel": _read_first_channel,
    _COLOURED: _read_camvid_colours,
}
"""How a label's file holds ids → (bytes, path) → ids [h, w]."""


def orientation(image: bytes) -> int:
    """The EXIF orientation of an encoded image, 1 (upright) to 8."""
    if image.startswith(_PNG) and b"eXIf" not in image:
        return 1  # PIL would decode the whole PNG to be sure
    try:
        with Image.open(io.BytesIO(image)) as opened:
            return opened.getexif().get(_ORIENTATION, 1)
    except _UNREADABLE:
        return 1


def _refuse_turned(image: bytes, label: tuple[int, ...]) -> None:
    """Some decoders turn by EXIF and some don't, so shards hold upright images only. No guess here: at 180° and in
    mirrored images sizes don't tell what the label was drawn on."""
    turn = orientation(image)
    if turn in (0, 1):
        return
    with Image.open(io.BytesIO(image)) as opened:
        stored = opened.size[::-1]
    turned = stored[::-1] if turn in _SWAPPING else stored
    fits = " and ".join(
        way for way, shape in (("the stored pixels", stored), ("the turned picture", turned)) if shape == label
    )
    raise ValueError(
        f"the image's EXIF orientation is {turn}, so some readers turn it; the label fits {fits or 'neither way'}: "
        "save the image turned (mogrify -auto-orient) if the label was drawn so, else drop the tag "
        "(exiftool -Orientation=)"
    )
