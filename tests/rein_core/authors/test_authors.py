"""What is said of the authors' configs that are not read, and what a recipe's section takes from those that are."""

import pytest

from rein_core import load_authors
from rein_core.authors import READERS, section_from_authors


@pytest.fixture
def config(literal):
    return literal.config({
        "type": "ReinsSAMViT", "img_size": 1024, "patch_size": 16, "embed_dim": 32, "depth": 4, "num_heads": 2,
        "mlp_ratio": 4, "qkv_bias": True, "use_abs_pos": True, "use_rel_pos": True, "window_size": 14,
        "global_attn_indexes": [1, 3],
    })  # fmt: skip


def test_another_backbone_names_those_that_are_read(config):
    config["backbone"]["type"] = "ReinsConvNeXt"
    known = "ReinsDinoVisionTransformer, ReinsEVA2, ReinsCLIPVisionTransformer, ReinsSAMViT are"
    with pytest.raises(ValueError, match=f"backbone ReinsConvNeXt is not read: {known}"):
        load_authors(config, {})


@pytest.mark.parametrize("missing", ["type", None])
def test_a_config_without_a_kind_of_backbone_is_named(config, missing):
    if missing:
        del config["backbone"][missing]
    else:
        del config["backbone"]
    with pytest.raises(ValueError, match=r"authors' config: no backbone\.type: give one of ReinsDino"):
        load_authors(config, {})


def test_classes_that_weigh_differently_are_named(config):
    weights = [1.0] * 20
    weights[3] = 5.0
    config["decode_head"]["loss_cls"]["class_weight"] = weights
    with pytest.raises(ValueError, match=r"decode_head\.loss_cls\.class_weight\[3\]=5\.0: only 1 is known"):
        load_authors(config, {})


def test_a_setting_that_is_not_there_is_named(config):
    del config["backbone"]["depth"]
    with pytest.raises(ValueError, match="ReinsSAMViT needs 'depth', which is not there"):
        load_authors(config, {})


def test_another_width_names_those_that_were_released(config):
    known = r"768 \(sam_base\), 1024 \(sam_large\), 1280 \(sam_huge\)"
    with pytest.raises(ValueError, match=f"ReinsSAMViT embed_dim=32: known are {known}"):
        section_from_authors(config, "vfm.pth")


def test_the_section_of_a_1024_recipe(config, monkeypatch):
    monkeypatch.setitem(READERS["ReinsSAMViT"].vfms, 32, "sam_huge")
    config["test_cfg"] = {"mode": "slide", "crop_size": (1024, 1024), "stride": (683, 683)}
    section = section_from_authors(config, "vfm.pth")
    assert section["vfm"] == {"name": "sam_huge", "weights": "vfm.pth", "patch_size": 16, "img_size": 1024}
    assert section["adapter"]["layers"] == [1, 3] and section["test_cfg"]["stride"] == (683, 683)
    assert section["mean"] == [1, 2, 3] and section["std"] == [4, 5, 6]


def test_windows_that_miss_pixels_are_named(config):
    config["test_cfg"] = {"mode": "slide", "crop_size": (1024, 1024), "stride": (1025, 683)}
    with pytest.raises(ValueError, match=r"model\.test_cfg: stride=\(1025, 683\) exceeds crop_size"):
        load_authors(config, {})
