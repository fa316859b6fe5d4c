"""What a recipe's data section feeds to training: its shards, in which order, and how each sample is changed."""

from collections.abc import Sequence

import numpy as np

from datasets.augment import Augment
from datasets.labels import CITYSCAPES
from datasets.plan import Plan
from datasets.rare_classes import RareClasses
from datasets.sample import OR_SKIP, Damaged
from datasets.shards import Shards
from datasets.stream import Augmentation, Loader
from pipelines.settings import Data, Recipe
from pipelines.terminal import say
from pipelines.transforms import MMSegTransforms


def build_feed(recipe: Recipe) -> tuple[list[Shards], Plan, Augmentation]:
    """The sources, which of their samples comes when, and the augmentation.

    Raises:
        ValueError: no or damaged shards, other labels than the 19 classes, or settings that don't fit them.
    """
    if not recipe.data.train:
        raise ValueError("recipe: data.train is empty: name a folder that ingest wrote, --set data.train=SHARDS")
    try:
        sources = [Shards(uri, recipe.data.skip_damaged) for uri in recipe.data.train]
        _check_labels(sources)
        plan = _plan(recipe, sources)
    except Damaged as error:
        if recipe.data.skip_damaged:
            raise
        raise Damaged(f"{error}; {OR_SKIP}") from error
    return sources, plan, _augmentation(recipe.data)


def _check_labels(sources: Sequence[Shards]) -> None:
    for source in sources:
        if source.manifest.label_space != CITYSCAPES.name:
            raise ValueError(
                f"data.train: {source.uri} has {source.manifest.label_space} labels: only the 19 classes can be "
                "trained on"
            )


def _plan(recipe: Recipe, sources: Sequence[Shards]) -> Plan:
    data, rare = recipe.data, None
    if data.rare_class_temperature:
        rare = [RareClasses(s.class_pixels(), data.rare_class_temperature, data.rare_class_pixels) for s in sources]
    return Plan.of([len(source) for source in sources], recipe.train.batch_size, recipe.seed, data.weights, rare)


def _augmentation(data: Data) -> Augmentation:
    augment = None
    if data.augment:
        augment = Augment(**data.augment.model_dump(), wanted_pixels=data.rare_class_pixels // 2)
    return MMSegTransforms(augment, data.transforms) if data.transforms or not augment else augment


def check_feed(recipe: Recipe) -> list[Shards]:
    """Makes the first batch here, so that what can't be fed is found before anything is started. Says which files are
    left out.

    Returns:
        The sources.

    Raises:
        ValueError: as `build_feed`, or a sample of the batch can't be made.
    """
    sources, plan, augmentation = build_feed(recipe)
    for source in sources:
        rows = {entry["file"]: entry["rows"] for entry in source.manifest.files}
        for file, reason in source.lost.items():
            say(f"warning: {reason}; its {rows[file]} samples are left out")
    Loader(sources, plan, augmentation, first_step=0, rank=0, world_size=1)({"id": np.arange(1)})
    return sources
