"""A contact sheet of a shard folder: evenly spread images under their labels, with names and a legend."""

from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from datasets.labels import LABEL_SPACES, LabelSpace
from datasets.shards import Shards, decode
from pipelines.report import overlay

_TILES, _COLUMNS = 16, 4
_WIDTH, _GAP, _MARGIN = 440, 12, 24
_CAPTION, _TITLE, _ENTRY, _SWATCH = 26, 52, 176, 18
_INK, _GREY, _PAPER = (25, 25, 25), (110, 110, 110), (255, 255, 255)


@dataclass(frozen=True)
class _Tile:
    name: str
    picture: np.ndarray
    classes: set[int]


def contact_sheet(shards: Shards) -> Image.Image:
    """Up to 16 samples, each with its label laid half over it; the legend names the classes that are to be seen."""
    manifest = shards.manifest
    space = LABEL_SPACES[manifest.label_space]
    chosen = sorted({int(i) for i in np.linspace(0, len(shards) - 1, _TILES).round()})
    tiles = [_tile(shards, index, space) for index in chosen]
    layout = "" if manifest.layout == manifest.dataset else f"{manifest.layout}, "
    title = f"{manifest.dataset}   {layout}split {manifest.split}"
    grid = _grid(tiles)
    legend = _legend(space, sorted(set().union(*(tile.classes for tile in tiles))), grid.width)
    sheet = Image.new("RGB", (grid.width + 2 * _MARGIN, _TITLE + grid.height + legend.height + 2 * _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 4), title, _INK, _font(24))
    draw.text((sheet.width - _MARGIN, _MARGIN + 2), f"{len(tiles)} of {len(shards)}", _GREY, _font(17), anchor="ra")
    sheet.paste(grid, (_MARGIN, _MARGIN + _TITLE))
    sheet.paste(legend, (_MARGIN, _MARGIN + _TITLE + grid.height))
    return sheet


def _tile(shards: Shards, index: int, space: LabelSpace) -> _Tile:
    sample = shards.read(index)
    image, label = decode(sample)
    size = _WIDTH, max(1, round(_WIDTH * label.shape[0] / label.shape[1]))
    how = cv2.INTER_AREA if label.shape[1] > _WIDTH else cv2.INTER_CUBIC
    classes = {int(i) for i in np.unique(label) if i < len(space.classes)}
    small = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
    return _Tile(sample.name, overlay(cv2.resize(image, size, interpolation=how), small, space), classes)


def _grid(tiles: list[_Tile]) -> Image.Image:
    columns = min(_COLUMNS, len(tiles))
    height = max(tile.picture.shape[0] for tile in tiles) + _CAPTION + _GAP
    rows = -(-len(tiles) // columns)
    grid = Image.new("RGB", (columns * (_WIDTH + _GAP) - _GAP, rows * height), _PAPER)
    draw = ImageDraw.Draw(grid)
    for place, tile in enumerate(tiles):
        x, y = place % columns * (_WIDTH + _GAP), place // columns * height
        grid.paste(Image.fromarray(tile.picture), (x, y))
        draw.text((x, y + tile.picture.shape[0] + 3), _shorten(tile.name), _INK, _font(15))
    return grid


def _shorten(name: str) -> str:
    """The end of a name that is wider than a picture: it is what tells names apart."""
    font, short = _font(15), name
    while font.getlength(short) > _WIDTH:
        short = f"…{short.removeprefix('…')[1:]}"
    return short


def _legend(space: LabelSpace, classes: list[int], width: int) -> Image.Image:
    columns = max(1, width // _ENTRY)
    rows = -(-len(classes) // columns)
    legend = Image.new("RGB", (width, 12 + rows * 30), _PAPER)
    draw = ImageDraw.Draw(legend)
    for place, index in enumerate(classes):
        x, y = place % columns * _ENTRY, 12 + place // columns * 30
        colour = tuple(int(value) for value in space.palette[index])
        draw.rounded_rectangle((x, y, x + _SWATCH, y + _SWATCH), 4, colour, _GREY)
        draw.text((x + _SWATCH + 8, y + _SWATCH // 2), space.classes[index], _INK, _font(15), anchor="lm")
    return legend


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
