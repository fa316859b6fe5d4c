"""CamVid's colours: the published 32 become ids, whatever holds them, and others are refused with their place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.camvid_colours import COLOURS, ids_of
from datasets.labels import PALETTE
from datasets.layouts import Layout, Pair, get_layout

# label_colors.txt, as it comes with the data
PUBLISHED = """64 128 64 Animal, 192 0 128 Archway, 0 128 192 Bicyclist, 0 128 64 Bridge, 128 0 0 Building,
64 0 128 Car, 64 0 192 CartLuggagePram, 192 128 64 Child, 192 192 128 Column_Pole, 64 64 128 Fence,
128 0 192 LaneMkgsDriv, 192 0 64 LaneMkgsNonDriv, 128 128 64 Misc_Text, 192 0 192 MotorcycleScooter,
128 64 64 OtherMoving, 64 192 128 ParkingBlock, 64 64 0 Pedestrian, 128 64 128 Road, 128 128 192 RoadShoulder,
0 0 192 Sidewalk, 192 128 128 SignSymbol, 128 128 128 Sky, 64 128 192 SUVPickupTruck, 0 0 64 TrafficCone,
0 64 64 TrafficLight, 192 64 128 Train, 128 128 0 Tree, 192 128 192 Truck_Bus, 64 0 64 Tunnel, 192 192 0 VegetationMisc,
0 0 0 Void, 64 192 0 Wall"""
ROAD, SKY, CAR, TRUCK = (128, 64, 128), (128, 128, 128), (64, 0, 128), (192, 128, 192)


@pytest.fixture
def published(tmp_path, raw_files) -> tuple[Layout, Pair]:
    """A pair whose label a test replaces."""
    raw_files.image(tmp_path / "701_StillsRaw_full/0001TP_006690.png")
    raw_files.label([17], tmp_path / "LabeledApproved_full/0001TP_006690_L.png", "camvid colours")
    layout, _, pairs = get_layout("camvid").find(str(tmp_path))
    return layout, pairs[0]


def test_labels_that_are_missing_are_named(published, tmp_path):
    Path(published[1].label).unlink()
    with pytest.raises(ValueError, match=r"split all, and no labels: expected LabeledApproved_full/\*_L\.png$"):
        get_layout("camvid").find(str(tmp_path))
    with pytest.raises(ValueError, match=r"holds 701_StillsRaw_full/\*\.png and LabeledApproved_full/\*_L\.png \("):
        get_layout("camvid").find(str(tmp_path / "nowhere"), "all")


def test_every_published_colour():
    rows = [entry.split() for entry in PUBLISHED.replace("\n", " ").split(",")]
    assert {name: tuple(map(int, colour)) for *colour, name in rows} == COLOURS
    pixels = np.array(list(COLOURS.values()), np.uint8).reshape(4, 8, 3)
    assert ids_of(pixels, "").ravel().tolist() == list(range(32))


def test_whatever_holds_the_colours(published, raw_files):
    layout, pair = published
    label = Image.fromarray(np.resize(np.uint8([ROAD, SKY, CAR, TRUCK]), (*raw_files.size, 3)))
    for picture in (label, label.convert("RGBA"), label.convert("P", palette=Image.Palette.ADAPTIVE)):
        picture.save(pair.label)
        assert raw_files.converted(layout, pair) == [0, 10, 13, 255] * 6


@pytest.mark.parametrize("colour", [(128, 64, 127), (255, 255, 255), (0, 0, 1), PALETTE[13].tolist()])
def test_another_colour_is_refused(published, raw_files, colour):
    layout, pair = published
    pixels = np.full((*raw_files.size, 3), ROAD, np.uint8)
    pixels[2, 5] = colour
    Image.fromarray(pixels).save(pair.label)
    told = ", ".join(map(str, colour))
    assert f"the label's colour ({told}) in row 2, column 5 is none of CamVid's 32" in raw_files.reason(layout, pair)


def test_ids_are_no_colours(published, raw_files):
    layout, pair = published
    raw_files.label([17, 21], Path(pair.label), "grey")
    assert "colour (17, 17, 17) in row 0, column 0 is none" in raw_files.reason(layout, pair)
    Path(pair.label).write_bytes(b"no image")
    assert raw_files.reason(layout, pair) == f"the label can't be decoded: {pair.label}"


def test_both_releases_in_one_folder(published, tmp_path, raw_files):
    """Split train is the default, as everywhere."""
    raw_files.image(tmp_path / "train/a.png")
    raw_files.label([17], tmp_path / "train_labels/a_L.png", "camvid colours")
    layout = get_layout("camvid")
    found = {split: [pair.name for pair in layout.find(str(tmp_path), split)[2]] for split in (None, "train", "all")}
    assert found == {None: ["a"], "train": ["a"], "all": ["0001TP_006690"]}
