"""The paper's recipes: their numbers, each whole model built without memory, and a step of its small twin."""

import re
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pytest
import torch
from torch import nn

from datasets.layouts import get_layout
from datasets.sample import Sample
from datasets.shards import Shards, decode
from datasets.stream import Loader
from pipelines.clock import Clock
from pipelines.feed import build_feed
from pipelines.recipe import RECIPES, load_recipe
from pipelines.settings import Recipe
from pipelines.trainer_state import TrainerState
from pipelines.validation import validate
from pipelines.worker import Step, build_for_training, to_mmseg
from rein_core import build_segmentor
from rein_core.segmentor import _mmseg_config

DOC = (Path(__file__).resolve().parents[2] / "docs/recipes.md").read_text()
NAMES = sorted(file.stem for file in RECIPES.glob("rein_*.py") if re.search(r"_(512|1024)", file.stem))
MEAN, STD = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
VFMS = {
    "dinov2_s": ("dinov2_small", 384, 12, [2, 5, 8, 11]),
    "dinov2_b": ("dinov2_base", 768, 12, [2, 5, 8, 11]),
    "dinov2_l": ("dinov2_large", 1024, 24, [7, 11, 15, 23]),
    "eva02_l": ("eva02_large", 1024, 24, [7, 11, 15, 23]),
    "clip_l": ("clip_large", 1024, 24, [7, 11, 15, 23]),
    "mae_l": ("mae_large", 1024, 24, [7, 11, 15, 23]),
    "sam_h": ("sam_huge", 1280, 32, [7, 15, 23, 31]),
}
"""In a recipe's name → the VFM, its width, blocks and levels."""
METHODS = dict(re.findall(r"^\| (\w+) \| (`--set.*?`) \|", DOC, re.M))


def parts_of(name: str) -> tuple[str, int]:
    """VFM and size in a recipe's name."""
    vfm, size = re.match(r"rein_(.+?)_(512|1024)", name).groups()
    return vfm, int(size)


def settings_in(text: str) -> list[str]:
    return re.findall(r"--set\s+([\w.]+=[\w.,]+)", text)


def trained(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_every_experiment_has_its_recipe():
    single = {f"rein_{vfm}_{size}" for vfm in VFMS for size in (512, 1024)}
    others = {
        f"rein_dinov2_l_{size}_{what}" for size in (512, 1024) for what in ("gtav_synthia_urbansyn", "cityscapes_acdc")
    }
    assert set(NAMES) == single | others
    assert METHODS.keys() == {"frozen", "full", "LoRA", "AdaptFormer", "VPT"}


@pytest.mark.parametrize("name", NAMES)
def test_the_papers_numbers(name):
    recipe, (vfm, size) = load_recipe(name), parts_of(name)
    optimizer, augment = recipe.optimizer, recipe.data.augment
    lr, warmup, batch, stride = {512: (1e-4, 0, 4, 341), 1024: (6e-5, 10_000, 8, 683)}[size]
    assert (optimizer.lr, optimizer.warmup_steps, recipe.train.batch_size) == (lr, warmup, batch)
    assert (optimizer.weight_decay, optimizer.poly_power, recipe.train.steps) == (0.05, 0.9, 40_000)
    assert augment.short_edges == [size * tenth // 10 for tenth in range(5, 21)] and augment.max_size == 4 * size
    assert augment.crop_size == (size, size) and augment.cat_max_ratio == 0.75
    assert augment.flip == 0.5 and augment.photometric
    section = recipe.model_section()
    assert section["test_cfg"] == {"mode": "slide", "crop_size": [size, size], "stride": [stride, stride]}
    assert (recipe.test.edge("cityscapes"), recipe.test.edge("bdd100k")) == (size, 720)
    assert (
        section["vfm"].items() >= {"name": VFMS[vfm][0], "weights": "hub", "patch_size": 16, "img_size": size}.items()
    )
    assert section["vfm"]["resample"] == "bicubic" and section["vfm"]["heads"] is None
    layers = {"layers": VFMS[vfm][3]} if vfm == "sam_h" else {}
    assert section["adapter"] == {"type": "rein", "token_length": 100, "rank": 16, "link_queries": True} | layers


@pytest.mark.parametrize("name", NAMES)
def test_images_are_normalised_as_by_the_authors(name):
    """By ImageNet's values, also for VFMs that were pretrained with others."""
    section = load_recipe(name, ["model.vfm.weights=None", "model.adapter.type=none"]).model_section()
    with torch.device("meta"):
        config = _mmseg_config(section)["data_preprocessor"]
    assert config["mean"] == pytest.approx(MEAN) and config["std"] == pytest.approx(STD)


@pytest.mark.parametrize(("size", "edge"), [(512, 540), (1024, 1080)])
def test_acdc_is_tested_as_by_the_authors(size, edge):
    test = load_recipe(f"rein_dinov2_l_{size}_cityscapes_acdc").test
    domains = get_layout("acdc").domains.values()
    assert {test.edge(domain) for domain in domains} == {edge} and test.edge("bdd100k") == 720


@pytest.mark.parametrize("name", NAMES)
def test_no_more_than_two_levels_of_base(name):
    for _ in range(2):
        name = re.search(r'_base_ = "(\w+)\.py"', (RECIPES / f"{name}.py").read_text())[1]
    assert name == "_base_" and "_base_ =" not in (RECIPES / f"{name}.py").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_each_whole_model(name):
    """Built and run without memory: levels, strides, what is trained, the head's size."""
    vfm, size = parts_of(name)
    _, width, depth, levels = VFMS[vfm]
    with torch.device("meta"):
        segmentor = build_segmentor(load_recipe(name, ["model.vfm.weights=None"]).model_section())
        features, queries = segmentor.backbone(torch.empty(1, 3, size, size))
    assert segmentor.backbone.out_indices == levels and len(segmentor.backbone.vfm.blocks) == depth
    assert [tuple(level.shape) for level in features] == [(1, width, size // s, size // s) for s in (4, 8, 16, 32)]
    assert queries.shape == (100, 256)
    assert trained(segmentor.backbone) == reins_parameters(4 if vfm == "sam_h" else depth, width)
    head = segmentor.decode_head
    assert len(head.transformer_decoder.layers) == 9 and len(head.pixel_decoder.encoder.layers) == 6
    assert (head.losses.num_points, head.losses.oversample_ratio, head.losses.importance_sample_ratio) == (
        12544,
        3,
        0.75,
    )


def reins_parameters(layers: int, width: int, tokens: int = 100, rank: int = 16, queries: int = 256) -> int:
    """A and B of each layer, the scale, W_T and W_f, W_Q, and W of eq. 5, with biases."""
    low_rank = layers * rank * (tokens + width)
    return low_rank + 1 + 2 * (width + 1) * width + (width + 1) * queries + (3 * queries + 1) * queries


def test_rein_on_a_vit_l_has_the_papers_parameters():
    assert reins_parameters(24, 1024) == 2_990_081


@pytest.mark.parametrize("method", METHODS)
def test_what_rein_is_compared_with(method):
    """The settings of docs/recipes.md, and how many parameters they train, as it says."""
    recipe = load_recipe("rein_dinov2_l_512", ["model.vfm.weights=None", *settings_in(METHODS[method])])
    with torch.device("meta"):
        backbone = build_segmentor(recipe.model_section()).backbone
    said = re.search(rf"^\| {method} \| `--set.*?` \| ([\d.]+) \|", DOC, re.M)[1]
    assert f"{trained(backbone) / 1e6:.2f}" == said
    assert recipe.optimizer.backbone_lr_factor == (0.1 if method == "full" else 1)


def test_somas_recipe():
    """Trained as Rein's, but for what its authors set; Yun et al. count 4.9 M in the VFM."""
    recipe, reins = load_recipe("soma_dinov2_l_512", ["model.vfm.weights=None"]), load_recipe("rein_dinov2_l_512")
    assert recipe.optimizer == reins.optimizer.model_copy(update={"adapter_lr_factor": 0.5, "weight_decay_end": 1e-5})
    averaged = {"ema_decay": 0.9998, "ema_begin": 12_000}
    assert recipe.train == reins.train.model_copy(update=averaged) and recipe.data == reins.data
    assert (recipe.test.edge("cityscapes"), recipe.test.edge("bdd100k")) == (1024, 720)
    assert recipe.model.adapter == {"type": "soma", "rank": 16} and recipe.model.test_cfg == reins.model.test_cfg
    with torch.device("meta"):
        backbone = build_segmentor(recipe.model_section()).backbone
    assert trained(backbone) == 16 * (294_912 + 9_216)
    assert recipe.model.vfm.name == reins.model.vfm.name and re.search(r"^\| `soma_dinov2_l_512` \|", DOC, re.M)


@pytest.fixture(scope="module")
def shards(streets, tmp_path_factory, run_command) -> dict[str, str]:
    """The streets as shards of every data set in the recipes' commands: through its own layout where it has another."""
    root = tmp_path_factory.mktemp("recipes")
    game, camera = ([Shards(uri).read(i) for i in range(2)] for uri in (streets.game, streets.camera))
    write_synthia(root / "raw-synthia", game)
    write_urbansyn(root / "raw-urbansyn", game)
    write_acdc(root / "raw-acdc", camera)
    for name in ("synthia", "urbansyn"):
        run_command("ingest", name, root / f"raw-{name}", root / name)
    for name in ("fog", "night", "rain", "snow"):
        run_command("ingest", "acdc", root / "raw-acdc", root / name, "--split", f"{name}_val")
    for name in ("cityscapes", "bdd100k", "mapillary"):
        run_command("ingest", "cityscapes", streets.raw_cityscapes, root / name, "--name", name)
    made = {folder.name: str(folder) for folder in root.iterdir() if not folder.name.startswith("raw-")}
    return made | {"gtav": streets.game}


def write_synthia(raw: Path, samples: list[Sample]) -> None:
    raw_ids = {train_id: raw_id for raw_id, train_id in get_layout("synthia").id_to_train.items()}
    table = np.array([raw_ids.get(train_id, 0) for train_id in range(256)], np.uint16)
    for i, sample in enumerate(samples):
        image, label = decode(sample)
        write(raw / f"RGB/{i:07}.png", image)
        write(raw / f"GT/LABELS/{i:07}.png", np.stack([0 * table[label], 0 * table[label], table[label]], axis=2))


def write_urbansyn(raw: Path, samples: list[Sample]) -> None:
    for i, sample in enumerate(samples, start=1):
        image, label = decode(sample)
        write(raw / f"rgb/rgb_{i:04}.png", image)
        write(raw / f"ss/ss_{i:04}.png", np.where(label == 255, 19, label))


def write_acdc(raw: Path, samples: list[Sample]) -> None:
    for condition in ("fog", "night", "rain", "snow"):
        for i, sample in enumerate(samples):
            image, label = decode(sample)
            write(raw / f"rgb_anon/{condition}/val/GOPR1/GOPR1_{i:06}_rgb_anon.png", image)
            write(raw / f"gt/{condition}/val/GOPR1/GOPR1_{i:06}_gt_labelTrainIds.png", label)


def write(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), pixels)


def command_of(name: str, shards: dict[str, str]) -> list[str]:
    """The overrides of the command in a recipe's docstring, with shards in the place of GTAV, CITYSCAPES …"""
    docstring = (RECIPES / f"{name}.py").read_text().split('"""')[1]
    assert re.search(rf"`python -m\s+pipelines\s+train\s+{name}\s", docstring)
    overrides = [item.split("=") for item in settings_in(re.search(r"`python -m[^`]*`", docstring)[0])]
    return [f"{key}={','.join(shards[source.lower()] for source in sources.split(','))}" for key, sources in overrides]


@pytest.mark.parametrize("name", NAMES)
def test_a_step_of_each_in_small(name, shards):
    """The command of its docstring: real batch, losses, gradients, optimizer; then validation by sliding windows."""
    recipe = load_recipe(f"{name}_smoke", [*command_of(name, shards), "data.val_samples=1"])
    segmentor = one_step(recipe)
    assert len(segmentor.backbone.vfm.blocks) == VFMS[parts_of(name)[0]][2]
    assert segmentor.data_preprocessor.mean.flatten().tolist() == pytest.approx(MEAN)
    assert segmentor.data_preprocessor.std.flatten().tolist() == pytest.approx(STD)
    metrics = validate(segmentor, recipe, rank=0, world_size=1, step=1, tracker=None)
    domains = {Shards(uri).manifest.dataset for uri in recipe.data.val}
    assert len(domains) == len(recipe.data.val) >= 3
    assert all(0 <= metrics[f"val/{domain}/mIoU"] <= 100 for domain in domains)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_of_each_method_in_small(method, shards):
    overrides = [f"data.train={shards['gtav']}", *settings_in(METHODS[method])]
    one_step(load_recipe("rein_dinov2_l_512_smoke", overrides))


def test_a_step_of_soma_in_small(shards):
    recipe = load_recipe("soma_dinov2_l_512_smoke", [*command_of("soma_dinov2_l_512", shards), "data.val_samples=1"])
    assert recipe.model.adapter == {"type": "soma", "rank": 4} and recipe.optimizer.adapter_lr_factor == 0.5
    metrics = validate(one_step(recipe), recipe, rank=0, world_size=1, step=1, tracker=None)
    assert 0 <= metrics["val/mapillary/mIoU"] <= 100


def one_step(recipe: Recipe) -> nn.Module:
    """The segmentor after one step of a training worker's."""
    torch.manual_seed(recipe.seed)
    segmentor = build_for_training(recipe)
    state = TrainerState(segmentor, recipe, torch.device("cpu"))
    before = {name: p.detach().clone() for name, p in segmentor.named_parameters()}
    batch = Loader(*build_feed(recipe), first_step=0, rank=0, world_size=1)({"id": np.arange(1)})
    assert len(batch["label"]) == recipe.train.batch_size
    loss, _ = segmentor.parse_losses(Step(segmentor.train())(to_mmseg(batch), Clock()))
    state.backward(loss)
    assert_gradients(segmentor)
    state.update(measure=True)
    assert np.isfinite(state.metrics()["grad_norm"]) and state.metrics()["grad_norm"] > 0
    for name, parameter in segmentor.named_parameters():
        assert parameter.requires_grad or torch.equal(parameter, before[name]), name
    assert any(not torch.equal(parameter, before[name]) for name, parameter in segmentor.named_parameters())
    return segmentor


def assert_gradients(segmentor: nn.Module) -> None:
    for name, parameter in segmentor.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_cityscapes_to_acdc_for_real(shards, tmp_path, run_command):
    """Each condition is a domain in training and in evaluation, which scores them together too."""
    name = "rein_dinov2_l_1024_cityscapes_acdc"
    result = train(run_command, name, [*command_of(name, shards), f"tracking.storage={tmp_path}"])
    conditions = [f"acdc_{condition}" for condition in ("fog", "night", "rain", "snow")]
    assert {f"val/{condition}/mIoU" for condition in conditions} <= result["metrics"].keys()
    uris = [shards[condition] for condition in ("fog", "night", "rain", "snow")]
    page = tmp_path / "page"
    scores = run_command("evaluate", result["run_dir"], *uris, "--storage", tmp_path, "--report", page)
    assert list(scores["domains"]) == conditions and scores["pooled"]["acdc"]["of"] == conditions
    tracked = mlflow.get_run(result["mlflow_run_id"])
    assert tracked.data.metrics["evaluate/acdc_all/mIoU"] == scores["pooled"]["acdc"]["mIoU"]
    assert tracked.data.tags["evaluate/acdc_all/of"] == str(conditions)
    assert "acdc, all" in (page / "report.html").read_text()


def test_several_sources_with_weights_for_real(shards, tmp_path, run_command):
    name = "rein_dinov2_l_512_gtav_synthia_urbansyn"
    overrides = [*command_of(name, shards), "data.weights=[2,1,1]", f"tracking.storage={tmp_path}"]
    result = train(run_command, name, overrides)
    assert {"val/cityscapes/mIoU", "val/bdd100k/mIoU", "val/mapillary/mIoU"} <= result["metrics"].keys()


def train(run_command, name: str, overrides: list[str]) -> dict:
    """With Ray, for as many steps as show a warm-up, a checkpoint and a validation."""
    overrides = [*overrides, "train.steps=3", "train.pictures=0", "data.val_samples=1"]
    return run_command("train", f"{name}_smoke", *(part for item in overrides for part in ("--set", item)))
