"""Recipes: every file is valid, and a wrong key or value is named with the nearest valid one."""

import json
import re

import pytest

from pipelines.recipe import RECIPES, load_recipe, parse_recipe


@pytest.mark.parametrize("path", sorted(RECIPES.glob("[!_]*.py")), ids=lambda path: path.stem)
def test_every_recipe_is_valid(path):
    recipe = load_recipe(path.stem)
    assert recipe.name == path.stem
    dumped = recipe.model_dump(mode="json")
    assert parse_recipe(dumped).model_dump(mode="json") == dumped


@pytest.mark.parametrize("path", sorted(RECIPES.glob("[!_]*.py")), ids=lambda path: path.stem)
def test_every_recipe_has_a_small_twin(path):
    twin = load_recipe(f"{path.stem.removesuffix('_smoke')}_smoke")
    assert twin.name == f"{path.stem.removesuffix('_smoke')}_smoke"
    assert twin.model.vfm.weights is None and twin.train.steps <= 12 and twin.test.short_edge == 64
    assert twin.optimizer.warmup_steps < twin.train.steps


def test_a_small_twin_is_changed_as_its_recipe_is():
    twin = load_recipe("rein_sam_h_1024_smoke", ["train.steps=9", "model.adapter.type=lora"])
    assert twin.train.steps == 9 and twin.optimizer.warmup_steps == 2 and twin.optimizer.lr == 6e-5
    assert twin.model.vfm.name == "sam_huge" and twin.model.adapter == {"type": "lora"}
    assert twin.test.edge("bdd100k") == 64


def test_overrides_are_typed():
    recipe = load_recipe(
        "rein_dinov2_l_512",
        [
            "train.steps=7",
            "model.vfm.weights=None",
            "data.train=/a,s3://b/c",
            "data.augment.crop_size=(64, 96)",
            "test.short_edge=none",
        ],
    )
    assert recipe.train.steps == 7 and recipe.model.vfm.weights is None and recipe.data.train == ["/a", "s3://b/c"]
    assert recipe.data.augment.crop_size == (64, 96) and recipe.test.short_edge is None
    assert recipe.model.adapter["token_length"] == 100


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"trian": {}}, ["trian", "did you mean train"]),
        ({"train": {"stesp": 1}}, ["train.stesp", "did you mean train.steps"]),
        ({"model": {"vfm": {"wieghts": "x"}}}, ["model.vfm.wieghts", "did you mean model.vfm.weights"]),
        ({"train": {"steps": "many"}}, ["train.steps='many'", "valid integer"]),
        ({"train": {"batch_size": 3, "num_workers": 2}}, ["train.batch_size=3", "train.num_workers=2"]),
        ({"data": {"augment": {"cat_max_ratio": 2}}}, ["data.augment.cat_max_ratio=2", "less than or equal to 1"]),
        ({"data": {"augment": {"short_edges": [512, 0]}}}, ["data.augment.short_edges", "greater than or equal to 1"]),
        ({"data": {"augment": {"crop_size": (0, 64)}}}, ["data.augment.crop_size", "greater than or equal to 1"]),
        ({"data": {"augment": {"max_size": -3}}}, ["data.augment.max_size=-3", "greater than or equal to 1"]),
        ({"data": {"weights": []}}, ["data.weights=[]", "at least 1 item"]),
        ({"data": {"weights": [1, float("inf")]}}, ["data.weights", "finite number"]),
        ({"optimizer": {"lr": float("inf")}}, ["optimizer.lr=inf", "finite number"]),
    ],
)
def test_mistakes_are_named(values, words):
    with pytest.raises(ValueError) as caught:
        parse_recipe(values)
    assert all(word in str(caught.value) for word in words), caught.value


SLIDE = {"mode": "slide", "crop_size": (64, 96), "stride": [42, 96]}
OWN = {"type": "EncoderDecoder", "backbone": {"type": "ResNet"}}


@pytest.mark.parametrize("section", [{}, OWN])
@pytest.mark.parametrize(
    ("test_cfg", "words"),
    [
        (SLIDE | {"mode": "slidee"}, "mode='slidee': give 'whole', or 'slide'"),
        ({}, "mode=None"),
        (SLIDE | {"crop_size": 64}, "crop_size=64: mode 'slide' needs"),
        (SLIDE | {"crop_size": (64, 64, 64)}, r"crop_size=\(64, 64, 64\): mode"),
        (SLIDE | {"stride": (42.5, 42)}, r"stride=\(42\.5, 42\): mode"),
        (SLIDE | {"stride": (0, 42)}, r"stride=\(0, 42\): mode"),
        ({"mode": "slide", "crop_size": (64, 64)}, "stride=None: mode"),
        (SLIDE | {"stride": (42, 97)}, r"stride=\(42, 97\) exceeds crop_size=\(64, 96\)"),
    ],
)
def test_windows_that_cant_be_are_named(section, test_cfg, words):
    with pytest.raises(ValueError, match=f"^recipe: model.test_cfg: {words}"):
        parse_recipe({"model": section | {"test_cfg": test_cfg}})


@pytest.mark.parametrize("section", [{}, OWN])
@pytest.mark.parametrize("test_cfg", [SLIDE | {"windows_per_batch": 2}, {"mode": "whole", "stride": None}])
def test_windows_stay_as_they_are(section, test_cfg):
    stored = json.loads(json.dumps(test_cfg))
    assert parse_recipe({"model": section | {"test_cfg": test_cfg}}).model_section()["test_cfg"] == stored
    assert "test_cfg" not in parse_recipe({"model": OWN}).model_section()


def test_local_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = {"data": {"train": "shards"}, "model": {"vfm": {"weights": "w.pth"}}, "tracking": {"storage": "runs"}}
    recipe = parse_recipe(values)
    assert recipe.data.train == [f"{tmp_path}/shards"] and recipe.tracking.storage == f"{tmp_path}/runs"
    assert recipe.model.vfm.weights == f"{tmp_path}/w.pth"


@pytest.mark.parametrize(
    "weights",
    ["hub", "hf-hub:timm/vit_tiny_patch16_224.augreg_in21k", "vit_tiny_patch16_224.augreg_in21k", "s3://bucket/w.pth",
     "https://host/w.pth?download=true", "gs://bucket/w.pth", "file:///w.pth"],
)  # fmt: skip
def test_hub_names_and_uris_stay_as_they_are(weights):
    assert load_recipe("demo", [f"model.vfm.weights={weights}"]).model.vfm.weights == weights


def test_an_override_without_a_value():
    with pytest.raises(ValueError, match="write key=value"):
        load_recipe("rein_dinov2_l_512", ["train.steps"])


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.steps.x=5"],
        ["data.augment=None", "data.augment.crop_size=(64,64)"],
        ["model.adapter=none", "model.adapter.type=lora"],
        ["model=None", "model.adapter.type=lora"],
        ["data.train=[]", "data.train.0=x"],
    ],
)
def test_overrides_that_dont_fit_together_are_named(overrides):
    with pytest.raises(ValueError, match=f"^--set {re.escape(overrides[0])}.*before a dot must be a section"):
        load_recipe("rein_dinov2_s_camvid_smoke", overrides)


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("a.py", "train = dict(steps=", "SyntaxError: .*line 1"),
        ("a.py", "train = dict(steps=many)", "NameError: name 'many'"),
        ("a.py", "import no_such_module", "ModuleNotFoundError: .*no_such_module"),
        ("a.py", "_base_ = 'nowhere.py'", "nowhere.py"),
        ("a.py", "_base_ = 'a.py'", "RecursionError"),
        ("a.py", f"_base_ = ['{RECIPES}/demo.py', '{RECIPES}/rein_dinov2_l_512.py']", "KeyError: .*Duplicate"),
        ("a.py", "x = 1 / 0", "ZeroDivisionError"),
        ("a.yaml", "train: [", "ParserError"),
        ("a.json", "{", "JSONDecodeError"),
        ("a.json", "[1, 2]", "'list' object"),
        ("a.txt", "name", "only py/yml"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path, file, text, reason):
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=f"(?is)^recipe {tmp_path}/{file}: correct it: .*{reason}"):
        load_recipe(str(tmp_path / file))


def test_an_unknown_recipe_names_the_known_ones():
    for name in ("rien_dinov2", "rien_dinov2_smoke"):
        with pytest.raises(FileNotFoundError, match=f"'{name}' .*rein_dinov2_l_512"):
            load_recipe(name)


def test_a_section_with_a_type_is_mmsegs_own():
    model = {"type": "EncoderDecoder", "backbone": {"type": "ResNet", "depth": 50}}
    assert parse_recipe({"model": model}).model_section() == model


def test_another_kind_of_adapter_begins_with_its_own_defaults():
    section = load_recipe("demo", ["model.adapter.type=lora", "model.adapter.rank=4"]).model_section()
    assert section["adapter"] == {"type": "lora", "rank": 4}
    section = load_recipe("demo", ['model.adapter={"type": "vpt", "token_length": 5}']).model_section()
    assert section["adapter"] == {"type": "vpt", "token_length": 5}
    assert load_recipe("demo", ['model.adapter={"rank": 4}']).model_section()["adapter"]["token_length"] == 40
    section = load_recipe("demo", ["model.decode_head.type=linear"]).model_section()
    assert section["decode_head"] == {"type": "linear"}
    assert load_recipe("demo", ["model.adapter.type=none"]).model_section()["adapter"] == {"type": "none"}
    assert load_recipe("demo", ["model.adapter.type=rein"]).model_section()["adapter"]["token_length"] == 40
