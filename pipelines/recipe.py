"""A recipe: one experiment as an mmengine config file, checked against typed, documented settings."""

import ast
import difflib
import os
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

from mmengine.config import Config
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator

RECIPES = Path(__file__).parent / "recipes"


def absolute(uri: str) -> str:
    """A local path from the root, since workers run in other folders; a URI as it is."""
    return uri if "://" in uri else os.path.abspath(uri)


class Settings(BaseModel):
    """Base of all settings: an unknown key is an error, and values are checked when they are set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VFM(Settings):
    """The frozen vision foundation model."""

    name: str = Field("dinov2_small", description="a name that rein_core.vfms lists")
    weights: str | None = Field(
        None,
        description="'hub', timm's hf-hub:ORG/NAME or MODEL.TAG, a file, or its URI (https://, s3://, gs://, file://); "
        "None: random (for tests and the demo)",
    )
    patch_size: int = Field(16, ge=1, description="the patch kernel is resampled to this size, in pixels")
    img_size: int = Field(
        512, ge=16, description="position embeddings are resized for a square image of this size, in pixels"
    )
    resample: Literal["bicubic", "timm"] = Field(
        "bicubic", description="the paper's plain bicubic, or timm's pseudo-inverse"
    )
    seed: int = Field(0, description="seed of random weights")

    @field_validator("weights")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        from rein_core.vfms import is_hub_name  # takes seconds, and other settings do without

        return value if value is None or is_hub_name(value) else absolute(value)


class Model(Settings):
    """VFM + adapter + head. A section with a `type` key goes to mmseg's registry instead, as it is."""

    vfm: VFM = VFM()
    adapter: dict[str, Any] = Field(
        {"type": "rein"},
        description="type: none, full, rein, fada, lora, dora, vpt, adaptformer or soma; and that adapter's settings",
    )
    decode_head: dict[str, Any] = Field(
        {"type": "ReinMask2FormerHead"},
        description="ReinMask2FormerHead, linear, semantic_fpn, or any head in mmseg's registry",
    )
    mean: tuple[float, float, float] | None = Field(
        None, description="of red, green and blue, 0 to 255, taken from images; None: as in the VFM's pretraining"
    )
    std: tuple[float, float, float] | None = Field(None, description="images are divided by; None: as for the mean")
    test_cfg: dict[str, Any] = Field({"mode": "whole"}, description="mmseg's: mode whole or slide, crop_size, stride")


class Augment(Settings):
    """mmseg's RandomChoiceResize, RandomCrop, RandomFlip, PhotoMetricDistortion, in this order."""

    short_edges: list[int] = Field([512], min_length=1, description="one is drawn: the image's short edge, in pixels")
    max_size: int = Field(2048, description="the long edge never exceeds this, in pixels")
    crop_size: tuple[int, int] = Field((512, 512), description="height, width")
    cat_max_ratio: float = Field(0.75, gt=0, le=1, description="one class fills at most this share of a crop")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    photometric: bool = Field(True, description="brightness, contrast, saturation, hue")


class Data(Settings):
    """What is streamed."""

    train: list[str] = Field([], description="shard folders or URIs to train on")
    val: list[str] = Field([], description="shard folders or URIs to validate on: each is a domain")
    val_samples: int | None = Field(
        None, ge=1, description="validate on this many evenly spread samples a domain; None: all"
    )
    weights: list[float] | None = Field(
        None, description="how often each of train is drawn, relative to the others; None: all shuffled as one"
    )
    rare_class_temperature: float | None = Field(
        None, gt=0, description="DAFormer's rare-class sampling, with this T (theirs: 0.01); None: every sample in turn"
    )
    rare_class_pixels: int = Field(
        3000, ge=1, description="a sample shows a class if it has more pixels of it; its crop should have half as many"
    )
    augment: Augment | None = Field(
        Augment(), description="None: none but what transforms do; images then arrive there as they are stored"
    )
    transforms: list[dict[str, Any]] = Field(
        [],
        description="transforms of mmseg's registry, {'type': …}, that run after augment, in this order",
    )
    cpus_per_worker: float | None = Field(
        None, gt=0, description="CPUs for decoding, a training worker; None: what is free"
    )

    @field_validator("train", "val", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """`--set data.train=a,b` is as good as a list."""
        return [part for part in value.split(",") if part] if isinstance(value, str) else value

    @field_validator("train", "val")
    @classmethod
    def _absolute(cls, value: list[str]) -> list[str]:
        return [absolute(uri) for uri in value]


class Optimizer(Settings):
    """AdamW and the polynomial schedule."""

    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    no_decay: list[str] = Field(
        ["norm", "query_embed", "level_embed", "learnable_tokens", "reins.scale"],
        description="parameters whose name contains one of these, and all of norm layers, are not decayed",
    )
    backbone_lr_factor: float = Field(1.0, ge=0, description="learning-rate factor of trained VFM weights")
    poly_power: float = Field(0.9, gt=0)
    warmup_steps: int = Field(0, ge=0)
    clip_grad: float | None = Field(None, gt=0, description="largest norm of the gradient")


class Train(Settings):
    """How long and on what."""

    steps: int = Field(40_000, ge=1)
    batch_size: int = Field(4, ge=1, description="over all workers together")
    num_workers: int = Field(1, ge=1, description="training processes: one a GPU, or several on a CPU")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 on CUDA and on CPUs with AMX, else fp32; fp16 scales the loss"
    )
    activation_checkpointing: bool = Field(False, description="less memory: the backward pass runs VFM blocks again")
    compile: bool = Field(
        False, description="torch.compile of the VFM and adapter in training: minutes once, then faster"
    )
    ema_decay: float | None = Field(
        None, gt=0, lt=1, description="validate and save the moving average of the trained weights, such as 0.999"
    )
    log_every: int = Field(10, ge=1, description="steps")
    checkpoint_every: int = Field(500, ge=1, description="steps; the last step is always kept")
    validate_every: int | None = Field(None, ge=1, description="steps; None: after the last step only")
    keep_checkpoints: int = Field(2, ge=1)
    max_failures: int = Field(
        2, ge=0, description="how often a dead worker group is restarted from its last checkpoint"
    )
    pictures: int = Field(4, ge=0, description="validation pictures a domain")


class Test(Settings):
    """At what resolution a model is tested. Always state it with a figure."""

    short_edge: int | None = Field(
        None, ge=16, description="images are resized to this short edge first; None: as they are"
    )


class Tracking(Settings):
    """Where results go."""

    experiment: str = "rein"
    storage: str = Field("runs", validate_default=True, description="folder of runs and of the default MLflow store")

    @field_validator("storage")
    @classmethod
    def _absolute(cls, value: str) -> str:
        return absolute(value)


class Tune(Settings):
    """The search that `tune` runs."""

    token_length: list[int] = Field([50, 100, 150], min_length=1, description="Rein's m: drawn from these")
    rank: list[int] = Field([8, 16, 32], min_length=1, description="Rein's r: drawn from these")
    lr: list[float] = Field([], description="learning rates to draw from; empty: the recipe's")
    num_trials: int = Field(4, ge=1)
    max_concurrent: int = Field(1, ge=1, description="trials at a time: they share the cluster")
    grace_steps: int = Field(100, ge=1, description="ASHA stops no trial before this step")
    reduction_factor: int = Field(2, ge=2, description="ASHA keeps one in this many at each rung")


def _kind_of_model(section: Any) -> str:
    return "mmseg" if isinstance(section, dict) and "type" in section else "vfm_model"


AnyModel = Annotated[
    Annotated[Model, Tag("vfm_model")] | Annotated[dict[str, Any], Tag("mmseg")], Discriminator(_kind_of_model)
]


class Recipe(Settings):
    """One experiment."""

    name: str = "rein"
    seed: int = Field(0, ge=0)
    model: AnyModel = Model()
    data: Data = Data()
    optimizer: Optimizer = Optimizer()
    train: Train = Train()
    test: Test = Test()
    tracking: Tracking = Tracking()
    tune: Tune = Tune()

    def model_section(self) -> dict[str, Any]:
        """The model section as `rein_core.build_segmentor` takes it."""
        return self.model_dump(mode="json")["model"]


def load_recipe(path: str, overrides: list[str] | None = None) -> Recipe:
    """Reads a recipe file (a path, or the name of one in pipelines/recipes) and applies `key=value` overrides.

    Raises:
        ValueError: an unknown key (with the nearest valid one) or a wrong value (with the reason).
        FileNotFoundError: no such recipe.
    """
    config = Config.fromfile(str(_find(path)), lazy_import=False)
    changes = dict(_override(item) for item in overrides or [])
    for part in ("adapter", "decode_head"):
        _start_anew(config, part, changes.get(f"model.{part}.type"))
    config.merge_from_dict(changes)
    return parse_recipe(config.to_dict())


def _start_anew(config: Config, part: str, kind: str | None) -> None:
    """Another kind of adapter or head has other settings: it begins with its own defaults."""
    if kind and "model" in config and config.model.get(part, {}).get("type") != kind:
        config.model[part] = {"type": kind}


def parse_recipe(values: dict[str, Any]) -> Recipe:
    """Checks a recipe that is already a dict, such as a checkpoint's. Raises ValueError as `load_recipe` does."""
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise ValueError("; ".join(map(_explain, error.errors()))) from None
    return _check(recipe)


def _find(path: str) -> Path:
    for candidate in (Path(path), RECIPES / path, RECIPES / f"{path}.py"):
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(file.stem for file in RECIPES.glob("[!_]*.py")))
    raise FileNotFoundError(f"recipe {path!r} is neither a file nor one of the recipes here: {known}")


def _override(item: str) -> tuple[str, Any]:
    key, separator, value = item.partition("=")
    if not separator:
        raise ValueError(f"--set {item}: write key=value, for example --set train.steps=200")
    return key, _literal(value)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "none": None, "null": None}.get(text.lower(), text)


def _explain(problem: dict) -> str:
    keys = [str(key) for key in problem["loc"] if key != "vfm_model"]
    name = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(name, known_keys(), n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known there: {', '.join(_siblings(name))}"
        return f"recipe: unknown key {name}: {hint}"
    return f"recipe: {name}={problem['input']!r}: {problem['msg'].lower()}"


def _siblings(name: str) -> list[str]:
    parent = name.rpartition(".")[0]
    return [key for key in known_keys() if key.rpartition(".")[0] == parent]


def known_keys(settings: type[Settings] = Recipe, prefix: str = "") -> list[str]:
    """All dotted keys that a recipe may set."""
    keys = []
    for name, field in settings.model_fields.items():
        keys.append(prefix + name)
        for part in _parts(field.annotation):
            keys += known_keys(part, f"{prefix}{name}.")
    return keys


def _parts(annotation: Any) -> list[type[Settings]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Settings) else []
    return [part for option in typing.get_args(annotation) for part in _parts(option)]


def _check(recipe: Recipe) -> Recipe:
    train, weights = recipe.train, recipe.data.weights
    if weights is not None and (len(weights) != len(recipe.data.train) or min(weights) <= 0):
        raise ValueError(
            f"recipe: data.weights={weights}: give one number above 0 for each of the {len(recipe.data.train)} "
            "folders of data.train"
        )
    if train.batch_size % train.num_workers:
        raise ValueError(
            f"recipe: train.batch_size={train.batch_size} does not divide by train.num_workers={train.num_workers}"
        )
    return recipe
