"""Raw labels: every encoding of ids is read, colours and what else holds no ids are refused with the reason."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.convert import convert, id_table
from datasets.labels import PALETTE, TRAIN_IDS
from datasets.layouts import Layout, Pair, get_layout


@pytest.fixture
def gtav(tmp_path, raw_files) -> tuple[Layout, Pair]:
    """A pair whose parts a test replaces."""
    raw_files.image(tmp_path / "images/00001.png")
    raw_files.label([7], tmp_path / "labels/00001.png", "palette")
    layout, _, pairs = get_layout("gtav").find(str(tmp_path))
    return layout, pairs[0]


@pytest.mark.parametrize("kind", ["grey", "palette", "16-bit grey", "1-bit", "2-bit", "4-bit"])
def test_every_encoding_of_ids(gtav, raw_files, kind):
    layout, pair = gtav
    ids = {"1-bit": [0, 1], "2-bit": [0, 1, 2, 3], "4-bit": [7, 8, 11, 12]}.get(kind, [7, 8, 33])
    if kind in ("2-bit", "4-bit"):
        bits = np.resize(ids, raw_files.size)[..., None] >> np.arange(int(kind[0]))[::-1] & 1
        rows = [np.packbits(row.ravel().astype(bool)).tobytes() for row in bits]
        raw_files.png(Path(pair.label), int(kind[0]), 0, rows)
    else:
        raw_files.label(ids, Path(pair.label), kind)
    assert raw_files.converted(layout, pair)[: len(ids)] == [layout.id_to_train[raw] for raw in ids]


def test_colours_are_refused_with_the_reason(gtav, raw_files, tmp_path):
    layout, pair = gtav
    label = Image.fromarray(np.resize(PALETTE[[0, 1, 13]], (*raw_files.size, 3)))
    label.save(pair.label)
    assert "3 channels: Cityscapes' colours, not ids" in raw_files.reason(layout, pair)
    coloured = tmp_path / "aachen_gtFine_color.png"
    label.convert("RGBA").save(coloured)
    told = raw_files.reason(layout, Pair("a", pair.image, str(coloured)))
    assert "4 channels: Cityscapes' colours" in told and "use " + str(tmp_path / "aachen_gtFine_labelIds.png") in told
    Image.fromarray(np.resize(np.arange(9, dtype=np.uint8), (*raw_files.size, 3))).save(pair.label)
    assert "3 channels, so it holds colours" in raw_files.reason(layout, pair)
    Image.fromarray(np.full((*raw_files.size, 3), 7, np.uint8)).save(pair.label)
    assert "3 channels: a map of ids has one" in raw_files.reason(layout, pair)


def test_numbered_colours_are_refused(gtav, raw_files, tmp_path):
    """Colours that were saved with a palette have numbers of their own; ids with their colours are fine, whatever
    classes they are merged into."""
    layout, pair = gtav
    drawn = np.resize(PALETTE[[13, 0, 10, 2]], (*raw_files.size, 3))
    Image.fromarray(drawn).convert("P", palette=Image.Palette.ADAPTIVE).save(pair.label)
    with pytest.raises(ValueError, match="Cityscapes' colours under other numbers .* 0 is the colour of sky"):
        convert(pair, id_table(replace(layout, forms=(replace(layout.forms[0], ids=TRAIN_IDS),))))
    assert "Cityscapes' colours under other numbers" in raw_files.reason(layout, pair), "these would all be void"
    ids = Image.fromarray(np.resize(np.uint8([7, 8, 26, 34]), raw_files.size))
    palette = np.zeros((256, 3), np.uint8)
    palette[[7, 8, 26, 34]] = PALETTE[[0, 1, 13, 13]]  # a licence plate has a car's colour
    ids.putpalette(palette.tobytes())
    ids.save(pair.label)
    assert raw_files.converted(layout, pair)[:4] == [0, 1, 13, 255]
    merged = replace(layout.forms[0], ids=layout.id_to_train | {8: 0})
    assert raw_files.converted(replace(layout, forms=(merged,)), pair)[:4] == [0, 0, 13, 255]


@pytest.mark.parametrize("kind", ["image", "label"])
def test_what_opencv_gives_up_on_is_set_apart(tmp_path, raw_files, kind):
    layout = get_layout("synthia")
    image, label = raw_files.image(tmp_path / "a.png"), raw_files.label([3], tmp_path / "b.png", "16-bit channels")
    broken = {"image": image, "label": label}[kind]
    data = bytearray(broken.read_bytes())
    data[16:24] = np.array([40_000, 30_000], ">u4").tobytes()  # says that it is huge
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    broken.write_bytes(data)
    with pytest.raises(ValueError, match=f"the {kind} can't be decoded"):
        convert(Pair("a", str(image), str(label), "first_channel"), id_table(layout))


def test_what_holds_no_ids_is_refused(gtav, raw_files):
    layout, pair = gtav
    Image.fromarray(np.full(raw_files.size, 7, np.uint8)).save(pair.label, format="JPEG")
    assert "JPEG, which changes ids" in raw_files.reason(layout, pair)
    first = Pair(pair.name, pair.image, pair.label, "first_channel")
    Image.fromarray(np.full((*raw_files.size, 3), 7, np.uint8)).save(pair.label, format="JPEG")
    assert "JPEG, which changes ids" in raw_files.reason(layout, first)
    raw_files.label([7, 700], Path(pair.label), "16-bit grey")
    assert "wrong label ids 7 to 700" in raw_files.reason(layout, pair)
    Image.fromarray(np.full(raw_files.size, 7, np.float32)).save(pair.label, format="TIFF")
    assert "float32, not whole numbers" in raw_files.reason(layout, pair)


def test_a_label_of_impossible_size_is_refused(gtav, raw_files, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    layout, pair = gtav
    assert "label can't be decoded" in raw_files.reason(layout, pair)


@pytest.mark.parametrize(
    ("turn", "label_size", "words"),
    [
        (6, (4, 6), "is 6, .*fits the stored pixels: "),
        (6, (6, 4), "is 6, .*fits the turned picture: "),
        (3, (4, 6), "is 3, .*fits the stored pixels and the turned picture: "),
        (8, (5, 5), "is 8, .*fits neither way: "),
    ],
)
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_turned_images_are_set_apart(tmp_path, gtav, raw_files, turn, label_size, words, ending):
    exif = Image.Exif()
    exif[0x0112] = turn
    image = raw_files.image(tmp_path / f"turned.{ending}", exif=exif)
    label = raw_files.label([7], tmp_path / "turned_label.png", size=label_size)
    with pytest.raises(ValueError, match=words):
        convert(Pair("a", str(image), str(label)), id_table(gtav[0]))
    exif[0x0112] = 1
    upright = raw_files.image(tmp_path / f"upright.{ending}", exif=exif)
    raw_files.label([7], label)
    assert raw_files.converted(gtav[0], Pair("a", str(upright), str(label))) == [0] * 24
