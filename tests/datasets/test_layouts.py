"""Layouts: every data set in miniature, as it really lies on disk and is encoded, through the real converter."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.layouts import Layout, Pair, expected_count, get_layout, layout_names, recognise
from datasets.raw_folder import RawFolder

V12 = ["animal--bird", "construction--barrier--curb", "construction--flat--road", "human--rider--bicyclist"]
V12 += ["human--person", "marking--crosswalk-zebra", "object--support--traffic-sign-frame", "object--vehicle--car"]
V12 += ["object--traffic-sign--back", "object--bench", "object--vehicle--on-rails", "void--unlabeled"]
V20 = ["construction--flat--traffic-island", "human--person--individual", "object--traffic-light--pedestrians"]
V20 += ["marking-only--discrete--text", "object--vehicle--vehicle-group", "object--support--pole-group"]


class LayoutCase:
    """What holds of every layout; a subclass builds one, with two pairs in a split.

    `image` and `label` are paths with the name in braces; `ids` maps some raw ids to the ids they become.
    """

    layout: str
    split: str
    folder: str | None = None  # the split on the command line, if it isn't the default
    image: str
    label: str
    names = ("a", "b")
    ids: dict[int, int]
    kind = "grey"
    domain: str | None = None
    count: int | tuple[int, ...] | None = None

    @pytest.fixture(autouse=True)
    def _give_files(self, raw_files):
        self.files = raw_files

    def build(self, root: Path) -> None:
        for name in self.names:
            self.files.image(root / self.image.format(name))
            self.files.label(list(self.ids), root / self.label.format(name), self.kind)

    def find(self, root: Path) -> tuple[Layout, str, list[Pair]]:
        return get_layout(self.layout).find(str(root), self.folder)

    def test_pairs_and_ids(self, tmp_path):
        self.build(tmp_path)
        layout, split, pairs = self.find(tmp_path)
        assert split == self.split and [pair.name for pair in pairs] == list(self.names)
        assert layout.domain(split) == (self.domain or self.layout)
        for pair in pairs:
            expected = np.resize(list(self.ids.values()), self.files.size)
            assert self.files.converted(layout, pair) == expected.ravel().tolist()

    def test_a_missing_part_is_named(self, tmp_path):
        self.build(tmp_path)
        (tmp_path / self.label.format(self.names[0])).unlink()
        (tmp_path / self.image.format(self.names[1])).unlink()
        layout, _, pairs = self.find(tmp_path)
        assert [pair.name for pair in pairs] == list(self.names)
        assert self.files.reason(layout, pairs[0]).startswith("no label: ")
        missing = tmp_path / self.image.format(self.names[1])
        assert self.files.reason(layout, pairs[1]).startswith(f"no image: {missing.with_suffix('')}")

    def test_no_labels_at_all(self, tmp_path):
        self.build(tmp_path)
        for name in self.names:
            (tmp_path / self.label.format(name)).unlink()
        with pytest.raises(ValueError, match=f"{self.layout}: 2 images in .*, and no labels: expected "):
            self.find(tmp_path)

    def test_it_is_recognised(self, tmp_path):
        self.build(tmp_path)
        assert recognise(str(tmp_path)) == self.layout

    def test_facts(self):
        layout = get_layout(self.layout)
        assert layout.name == self.layout and layout.licence and layout.url
        expected = self.count if isinstance(self.count, tuple) else (self.count,) if self.count else ()
        assert expected_count(self.layout, self.split) == expected


class TestGtav(LayoutCase):
    layout, split, count = "gtav", "all", 24966
    image, label, names, kind = "images/{}.png", "labels/{}.png", ("00001", "00002"), "palette"
    ids = {7: 0, 8: 1, 34: 255, 33: 18, 0: 255}

    def test_pairs_of_two_sizes(self, tmp_path):
        for name in ("15188", "17705"):
            self.files.image(tmp_path / f"images/{name}.png", (5, 6))
            self.files.label([7], tmp_path / f"labels/{name}.png", self.kind)
        layout, _, pairs = self.find(tmp_path)
        for pair in pairs:
            assert "the image is 5×6 and the label 4×6" in self.files.reason(layout, pair)


class TestCityscapes(LayoutCase):
    layout, split, count = "cityscapes", "val", 500
    image, label = "leftImg8bit/val/{}_leftImg8bit.png", "gtFine/val/{}_gtFine_labelIds.png"
    names = ("aachen/aachen_000000_000019", "ulm/ulm_000000_000019")
    ids = {7: 0, 26: 13, 29: 255, 255: 255}


class TestCityscapesTrainIds(TestCityscapes):
    label = "gtFine/val/{}_gtFine_labelTrainIds.png"
    ids = {0: 0, 18: 18, 255: 255}


class TestSynthia(LayoutCase):
    layout, split, count = "synthia", "all", 9400
    image, label, names, kind = "RGB/{}.png", "GT/LABELS/{}.png", ("0000000", "0000001"), "16-bit channels"
    ids = {0: 255, 1: 10, 3: 0, 12: 17, 15: 6, 21: 3, 22: 255}

    def test_grey_with_a_second_channel(self, tmp_path):
        self.build(tmp_path)
        layout, _, pairs = self.find(tmp_path)
        self.files.png(Path(pairs[0].label), 16, 4, [np.array([8, 300] * 6, ">u2").tobytes()] * 4)
        assert self.files.converted(layout, pairs[0]) == [13] * 24

    def test_one_channel_is_something_else(self, tmp_path):
        self.build(tmp_path)
        layout, _, pairs = self.find(tmp_path)
        self.files.label([3], Path(pairs[0].label), "16-bit grey")
        assert "one channel" in self.files.reason(layout, pairs[0])

    def test_the_folder_above_is_told(self, tmp_path):
        self.build(tmp_path / "RAND_CITYSCAPES")
        with pytest.raises(ValueError, match="did you mean the folder RAND_CITYSCAPES in it"):
            self.find(tmp_path)


class TestUrbanSyn(LayoutCase):
    layout, split, count = "urbansyn", "all", 7539
    image, label, names = "rgb/rgb_{}.png", "ss/ss_{}.png", ("0001", "0002")
    ids = {0: 0, 18: 18, 19: 255}


class TestBdd100k(LayoutCase):
    layout, split, count = "bdd100k", "train", 7000
    image, label = "images/10k/train/{}.jpg", "labels/sem_seg/masks/train/{}.png"
    names, ids = ("0004a4c0-d4dff0ad", "00067cfb-5443fe39"), {0: 0, 18: 18, 255: 255}


class TestBdd100kFirstRelease(TestBdd100k):
    image, label = "seg/images/train/{}.jpg", "seg/labels/train/{}_train_id.png"


class TestBdd100kWithoutSeg(TestBdd100k):
    image, label = "images/train/{}.jpg", "labels/train/{}_train_id.png"


class TestMapillary(LayoutCase):
    layout, split, count = "mapillary", "train", 18000
    image, label, kind = "training/images/{}.jpg", "training/labels/{}.png", "palette"
    config, labels = "config.json", V12
    ids = dict(enumerate([255, 1, 0, 12, 11, 0, 7, 13, 7, 255, 16, 255]))

    def build(self, root):
        super().build(root)
        entries = [{"name": name, "readable": name, "color": [0, 0, 0]} for name in self.labels]
        (root / self.config).write_text(json.dumps({"labels": entries, "version": 1.1}))

    def test_ids_come_from_its_config(self, tmp_path):
        self.build(tmp_path)
        (tmp_path / self.config).write_text(json.dumps({"labels": [{"name": "nature--sky"}] * len(self.labels)}))
        layout, _, pairs = self.find(tmp_path)
        assert self.files.converted(layout, pairs[0]) == [10] * 24
        (tmp_path / self.config).write_text(json.dumps({"labels": 3}))
        with pytest.raises(ValueError, match="no list of labels with names"):
            self.find(tmp_path)
        (tmp_path / self.config).unlink()
        with pytest.raises(ValueError, match="no config.*json in .*comes with the labels"):
            self.find(tmp_path)
        with pytest.raises(ValueError, match="no split train .*expected training/images/"):
            self.find(tmp_path / "training/images")

    def test_a_split_has_two_names(self, tmp_path):
        self.build(tmp_path)
        assert get_layout(self.layout).find(str(tmp_path), "training")[1] == "train"
        assert get_layout(self.layout).find(str(tmp_path / "training"))[1] == "train"


class TestMapillaryInTheNewArchive(TestMapillary):
    label, config = "training/v1.2/labels/{}.png", "config_v1.2.json"


class TestMapillaryV2(TestMapillary):
    layout, domain = "mapillary_v2", "mapillary"
    label, config, labels = "training/v2.0/labels/{}.png", "config_v2.0.json", V20
    ids = dict(enumerate([1, 11, 6, 0, 255, 5]))


class TestAcdc(LayoutCase):
    layout, split, folder, domain, count = "acdc", "night_val", "night_val", "acdc_night", 106
    image, label = "rgb_anon/night/val/{}_rgb_anon.png", "gt/night/val/{}_gt_labelIds.png"
    names, ids = ("GOPR0356/GOPR0356_frame_000321", "GP010376/GP010376_frame_000001"), {7: 0, 33: 18, 0: 255}

    def test_every_condition_is_a_domain(self, tmp_path):
        for condition in ("fog", "night", "rain", "snow"):
            for split in ("train", "train_ref", "val"):
                self.files.image(tmp_path / f"rgb_anon/{condition}/{split}/GOPR1/GOPR1_1_rgb_anon.png")
                self.files.label([7], tmp_path / f"gt/{condition}/{split}/GOPR1/GOPR1_1_gt_labelIds.png")
        layout = get_layout("acdc")
        splits = layout.splits(RawFolder(str(tmp_path)))
        assert splits[:3] == ["fog_train", "fog_val", "night_train"] and len(splits) == 8
        assert {layout.domain(split) for split in splits} == {"acdc_fog", "acdc_night", "acdc_rain", "acdc_snow"}
        assert layout.find(str(tmp_path), "rain/train")[1] == "rain_train"
        with pytest.raises(ValueError, match="no split train .*there: fog_train, fog_val, night_train"):
            layout.find(str(tmp_path))


class TestAcdcTrainIds(TestAcdc):
    label, ids = "gt/night/val/{}_gt_labelTrainIds.png", {0: 0, 18: 18, 255: 255}


class TestIdd(LayoutCase):
    layout, split, count = "idd", "train", (6993, 14027)
    image, label = "leftImg8bit/train/{}_leftImg8bit.png", "gtFine/train/{}_gtFine_labelids.png"
    names, ids = ("0/005506", "201/frame0029"), {0: 0, 5: 9, 11: 255, 17: 16, 33: 10, 34: 255, 39: 255}

    def test_polygons_are_rendered_first(self, tmp_path):
        self.build(tmp_path)
        for name in self.names:
            label = tmp_path / self.label.format(name)
            label.with_name(label.name.rsplit("_", 1)[0] + "_polygons.json").write_text("{}")
            label.unlink()
        with pytest.raises(ValueError, match="not rendered yet .*preperation/createLabels.py --id-type id"):
            self.find(tmp_path)

    def test_part_2_has_jpegs(self, tmp_path):
        self.build(tmp_path)
        file = tmp_path / self.image.format(self.names[1])
        self.files.image(file.with_suffix(".jpg"))
        file.unlink()
        layout, _, pairs = self.find(tmp_path)
        assert len(pairs) == 2 and self.files.converted(layout, pairs[1])
        self.files.image(file)
        with pytest.raises(ValueError, match=f"{file.name} and .*{file.stem}.jpg stand for one sample"):
            self.find(tmp_path)


class TestIddLevel3(TestIdd):
    label = "gtFine/train/{}_gtFine_labellevel3Ids.png"
    ids = {0: 0, 3: 9, 8: 255, 12: 255, 22: 2, 25: 10, 255: 255}


class TestIddCityscapesTrainIds(TestIdd):
    label, ids = "gtFine/train/{}_gtFine_labelcsTrainIds.png", {0: 0, 18: 18, 255: 255}


class TestIddLite(LayoutCase):
    layout, split, count = "idd_lite", "train", 1403
    image, label, names = "leftImg8bit/train/{}_image.jpg", "gtFine/train/{}_label.png", ("0/024541", "1/471")
    ids = {0: 0, 6: 6, 255: 255}

    def test_instances_are_no_labels(self, tmp_path):
        self.build(tmp_path)
        self.files.label([1], tmp_path / "gtFine/train/0/024541_inst_label.png")
        layout, _, pairs = self.find(tmp_path)
        assert [pair.name for pair in pairs] == list(self.names) and layout.label_space.name == "idd_lite"


class TestCamvid(LayoutCase):
    layout, split, count = "camvid", "train", (367, 369)
    image, label, ids = "train/images/{}.jpg", "train/labels/{}.png", {0: 10, 3: 0, 4: 1, 6: 7, 10: 18, 11: 255}

    def test_the_splits_own_folder(self, tmp_path):
        self.build(tmp_path / "CamVid")
        folder = tmp_path / "CamVid" / Path(self.image).parts[0]
        assert get_layout("camvid").find(str(folder))[1] == self.split


class TestCamvidOfSegNet(TestCamvid):
    image, label = "train/{}.png", "trainannot/{}.png"


class TestCamvidInColours(TestCamvid):
    image, label, kind = "train/{}.png", "train_labels/{}_L.png", "camvid colours"
    ids = {17: 0, 18: 0, 2: 18, 13: 17, 22: 13, 27: 255, 31: 3, 30: 255}


class TestCamvidAsPublished(TestCamvidInColours):
    split, count, names = "all", 701, ("0001TP_006690", "Seq05VD_f05100")
    image, label = "701_StillsRaw_full/{}.png", "LabeledApproved_full/{}_L.png"


def test_every_layout_has_a_case_and_says_what_it_is():
    cases, todo = set(), [LayoutCase]
    while todo:
        todo += (case := todo.pop()).__subclasses__()
        cases.add(getattr(case, "layout", None))
    assert cases == {None, *layout_names()} - {"folder"}  # that has a file of its own
    for name in layout_names():
        layout = get_layout(name)
        assert all(0 <= raw <= 255 for form in layout.forms for raw in form.ids)
