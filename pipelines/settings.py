"""All settings of a recipe, typed and explained; those of its `model` section are in model_settings.py."""

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from pipelines.model_settings import Model
from pipelines.settings_base import Settings, absolute


class Augment(Settings):
    """mmseg's RandomChoiceResize, RandomCrop, RandomFlip, PhotoMetricDistortion, in this order."""

    short_edges: list[Annotated[int, Field(ge=1)]] = Field(
        [512], min_length=1, description="one is drawn: the image's short edge, in pixels"
    )
    max_size: int = Field(2048, ge=1, description="the long edge never exceeds this, in pixels")
    crop_size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(
        (512, 512), description="height, width"
    )
    cat_max_ratio: float = Field(0.75, gt=0, le=1, description="one class fills at most this share of a crop")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    photometric: bool = Field(True, description="brightness, contrast, saturation, hue")


class Data(Settings):
    """What is streamed."""

    train: list[str] = Field([], description="shard folders or URIs to train on")
    val: list[str] = Field([], description="shard folders or URIs of unseen domains to validate on: each is one")
    source_val: list[str] = Field([], description="held-out shards of the source domains: they choose the best")
    val_samples: int | None = Field(
        None, ge=1, description="validate on this many evenly spread samples a domain; None: all"
    )
    weights: list[float] | None = Field(
        None,
        min_length=1,
        description="how often each of train is drawn, relative to the others; None: all shuffled as one",
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
    skip_damaged: bool = Field(
        False,
        description="a sample of train that can't be read is replaced by another of its source, named, and counted in "
        "MLflow (skipped_samples); False: it stops the run",
    )
    cpus_per_worker: float | None = Field(
        None, gt=0, description="CPUs for decoding, a training worker; None: what is free"
    )

    @field_validator("train", "val", "source_val", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """`--set data.train=a,b` is as good as a list."""
        return [part for part in value.split(",") if part] if isinstance(value, str) else value

    @field_validator("train", "val", "source_val")
    @classmethod
    def _absolute(cls, value: list[str]) -> list[str]:
        return [absolute(uri) for uri in value]


class Optimizer(Settings):
    """AdamW and the polynomial schedule."""

    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    weight_decay_end: float | None = Field(
        None, ge=0, description="the decay falls to this along a cosine over the run, as SoMA's does; None: it stays"
    )
    no_decay: list[str] = Field(
        ["norm", "query_embed", "level_embed", "learnable_tokens", "lora_magnitude", r"reins\.(.+\.)?scale$"],
        description="parameters whose name contains one of these (regular expressions, which plain parts of names are "
        "too), and all of norm layers, are not decayed",
    )
    backbone_lr_factor: float = Field(
        1.0,
        ge=0,
        description="learning-rate factor of trained VFM weights, not of what LoRA, DoRA and SoMA train",
    )
    adapter_lr_factor: float = Field(
        1.0, ge=0, description="learning-rate factor of the adapter, also of what LoRA, DoRA and SoMA train in the VFM"
    )
    poly_power: float = Field(0.9, gt=0)
    warmup_steps: int = Field(0, ge=0)
    clip_grad: float | None = Field(None, gt=0, description="largest norm of the gradient")

    @field_validator("no_decay")
    @classmethod
    def _expressions(cls, value: list[str]) -> list[str]:
        for part in value:
            try:
                re.compile(part)
            except re.error as error:
                raise ValueError(f"{part!r} is no regular expression: {error}") from error
        return value


class Train(Settings):
    """How long and on what."""

    steps: int = Field(40_000, ge=1)
    batch_size: int = Field(4, ge=1, description="over all workers together")
    accumulate: int = Field(1, ge=1, description="each worker's share of a batch goes through in this many parts")
    num_workers: int = Field(1, ge=1, description="training processes: one a GPU, or several on a CPU")
    min_workers: int | None = Field(
        None,
        ge=1,
        description="where nodes are lost, train goes on from the last checkpoint with no fewer workers than these, "
        "and grows back to num_workers; None: it waits until all are there. A batch that doesn't divide is shared out "
        "unevenly; with heads of mmseg's own, samples of a larger share then count less",
    )
    regrow_seconds: float = Field(
        60.0, ge=0, description="how often it looks for nodes to grow back; growing goes back to the last checkpoint"
    )
    use_gpu: bool | None = Field(
        None, description="None: if the cluster has GPUs now; True: wait for one a worker, which an autoscaler starts"
    )
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
    ema_begin: int = Field(0, ge=0, description="steps before the average begins; until then it is the weights")
    log_every: int = Field(10, ge=1, description="steps")
    checkpoint_every: int = Field(500, ge=1, description="steps; the last step is always kept")
    validate_every: int | None = Field(None, ge=1, description="steps; None: after the last step only")
    keep_checkpoints: int = Field(2, ge=1, description="the last ones")
    keep_best: Literal["source", "target"] = Field(
        "source",
        description="RUN_DIR/best is the best on data.source_val, if there is any; target: on data.val, which is then "
        "no test of generalisation any more, and the checkpoint says so",
    )
    max_failures: int = Field(
        2, ge=0, description="how often a dead worker group is restarted from its last checkpoint"
    )
    pictures: int = Field(4, ge=0, description="validation pictures a domain")


class Test(Settings):
    """At what resolution a model is tested. Always state it with a figure."""

    short_edge: int | None = Field(
        None, ge=16, description="images are resized to this short edge first; None: as they are"
    )
    short_edge_of: dict[str, Annotated[int, Field(ge=16)]] = Field(
        {}, description="data sets that have another one, such as {'bdd100k': 720}"
    )

    def edge(self, dataset: str) -> int | None:
        """The short edge at which a data set is tested."""
        return self.short_edge_of.get(dataset, self.short_edge)


class Tracking(Settings):
    """Where results go."""

    experiment: str = "rein"
    storage: str = Field(
        "runs",
        validate_default=True,
        description="folder of runs and of the default MLflow store; in an object store, s3://…, only of runs",
    )
    offline: bool = Field(False, description="log into a file in storage whatever MLFLOW_TRACKING_URI says")
    patience_seconds: float = Field(
        600.0,
        ge=0,
        description="how long storage may refuse a file, being full or away, before that counts as a failure of "
        "a worker (train.max_failures), and how long a trial of a sweep waits for it and for MLflow before it starts",
    )

    @field_validator("storage")
    @classmethod
    def _absolute(cls, value: str) -> str:
        return absolute(value)


class Tune(Settings):
    """The search that `tune` runs. A list is what is drawn from; a draw has only what its adapter kind knows."""

    adapter: list[str] = Field([], description="kinds of adapter; empty: the recipe's own")
    token_length: list[int] = Field([50, 100, 150], min_length=1, description="m of rein and fada; prompts of vpt")
    rank: list[int] = Field([8, 16, 32], min_length=1, description="r of rein and fada, lora, dora and soma")
    lr: list[Annotated[float, Field(gt=0)]] = Field([], description="learning rates; empty: the recipe's")
    lr_range: tuple[float, float] | None = Field(
        None, description="in place of lr: least and largest, drawn evenly in the logarithm; not for a grid"
    )
    scale: list[float] = Field(
        [], description="scale_init of rein and fada, scale of adaptformer, alpha / rank of lora and dora"
    )
    layers: list[list[int] | None] = Field(
        [], description="lists of the blocks that rein refines, such as [None, [8, 9, 10, 11]]; None: all"
    )
    sampler: Literal["random", "grid", "tpe"] = Field(
        "random", description="random: distinct draws; grid: all there are; tpe: Optuna's, which learns from scores"
    )
    scheduler: Literal["asha", "median", None] = Field(
        "asha", description="what stops bad trials early: ASHA, the median stopping rule; None: nothing"
    )
    objective: Literal["source", "target"] = Field(
        "source",
        description="what trials are compared by: source_mIoU on data.source_val; target: mIoU on data.val, which is "
        "then no test of generalisation any more, and the result says so",
    )
    num_trials: int = Field(4, ge=1, description="draws; a grid has its own number")
    trial_steps: int | None = Field(
        None, ge=1, description="a trial's train.steps; None: the recipe's, which the best is retrained with"
    )
    max_concurrent: int | None = Field(
        None, ge=1, description="trials at a time, which share the cluster; None: as many as have a GPU or CPU a worker"
    )
    gpus_per_trial: float | None = Field(
        None, gt=0, le=1, description="0.25: four trials share a GPU; None: a GPU a worker, where there are any"
    )
    max_failures: int = Field(2, ge=0, description="how often a trial that crashed goes on from its checkpoint")
    grace_steps: int = Field(100, ge=1, description="no trial is stopped before this step")
    reduction_factor: int = Field(2, ge=2, description="ASHA keeps one in this many at each rung")

    @field_validator("scheduler", mode="before")
    @classmethod
    def _no_pbt(cls, value: Any) -> Any:
        if str(value).lower() in ("pbt", "pb2"):
            raise ValueError(
                f"{value} copies the checkpoints of good trials into bad ones, but Ray Train keeps a trial's "
                "checkpoints from Ray Tune, so it would copy none and say nothing: choose asha or median, or None"
            )
        return value


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

    def validates_after(self, step: int) -> bool:
        """Whether a run validates after this step: at its intervals, and after its last."""
        every = self.train.validate_every
        due = step == self.train.steps or bool(every and step % every == 0)
        return due and bool(self.data.val or self.data.source_val)

    def model_section(self) -> dict[str, Any]:
        """The model section as `rein_core.build_segmentor` takes it."""
        return self.model_dump(mode="json")["model"]
