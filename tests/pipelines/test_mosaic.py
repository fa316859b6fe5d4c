"""Transforms that mix several images: as mmseg's own for the same others and draws, whoever asks and from any step."""

import importlib
import random
from types import ModuleType

import numpy as np
import pytest

from datasets.sample import Damaged
from datasets.shards import Shards, decode
from datasets.stream import Loader
from pipelines.feed import build_feed
from pipelines.recipe import parse_recipe
from pipelines.settings import Recipe

MOSAIC = {"type": "RandomMosaic", "prob": 1.0, "img_scale": [40, 64]}
AUGMENT = {"short_edges": [64], "crop_size": (48, 64)}


def recipe(streets, transforms: list[dict], **data) -> Recipe:
    section = {"train": [streets.game, streets.camera], "augment": None, "transforms": transforms} | data
    return parse_recipe({"data": section, "train": {"batch_size": 4}, "seed": 2})


@pytest.fixture(scope="module")
def mmseg() -> ModuleType:
    importlib.import_module("rein_core")  # first: its stub lets mmseg be imported
    return importlib.import_module("mmseg.datasets.transforms.transforms")


def results(image: np.ndarray, label: np.ndarray) -> dict:
    return {"img": image, "gt_seg_map": label, "seg_fields": ["gt_seg_map"]}


def mosaic(mmseg: ModuleType, samples: list[dict], seed: int) -> dict:
    """What mmseg's class makes of a sample and three others with the global generators in this state."""
    own, *others = samples
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (mmseg draws from it)
    return mmseg.RandomMosaic(prob=1.0, img_scale=(40, 64))(own | {"mix_results": others})


def test_a_mosaic_is_mmsegs_for_the_same_others_and_draws(streets, mmseg):
    sources, plan, augment = build_feed(recipe(streets, [MOSAIC]))
    loader = Loader(sources, plan, augment, 0, 0, 1)
    for position in range(6):
        pick = plan.pick(position)
        source = sources[pick.source]
        indices = [pick.index, *plan.others(position, len(source), 3)]
        samples = [results(*decode(source.read(i))) for i in indices]
        expected = mosaic(mmseg, samples, int(plan.rng(position, 4).integers(2**32)))
        row = loader.load(position)
        assert row["image"].shape == (80, 128, 3) and row["name"] == source.read(pick.index).name
        assert np.array_equal(row["image"], expected["img"]) and np.array_equal(row["label"], expected["gt_seg_map"])


def test_others_go_through_what_comes_before_the_list_only(streets, mmseg):
    """As in mmseg's MultiImageMixDataset: its data set's own pipeline, each with draws of its own."""
    sources, plan, augment = build_feed(recipe(streets, [{"type": "RGB2Gray"}, MOSAIC], augment=AUGMENT))
    row, pick = Loader(sources, plan, augment, 0, 0, 1).load(5), plan.pick(5)
    indices = [pick.index, *plan.others(5, len(sources[pick.source]), 3)]
    samples = [sources[pick.source].read(i) for i in indices]
    alone = [results(*augment.before(s.pixels, s.label_ids(), plan.rng(5, part))) for part, s in enumerate(samples)]
    expected = mosaic(mmseg, [mmseg.RGB2Gray()(alone[0]), *alone[1:]], int(plan.rng(5, 4).integers(2**32)))
    assert np.array_equal(row["image"], np.rint(expected["img"])) and np.array_equal(
        row["label"], expected["gt_seg_map"]
    )


def test_the_same_for_any_ranks_and_after_a_resume(streets):
    made = [*build_feed(recipe(streets, [MOSAIC, MOSAIC | {"img_scale": [24, 24]}]))]
    whole, steps = Loader(*made, 0, 0, 1)({"id": np.arange(3)}), np.arange(3)
    ranks = [Loader(*made, 0, rank, 2)({"id": steps}) for rank in (0, 1)]
    for part in ("image", "label", "name", "position"):
        halves = [rank[part].reshape(3, 2, *rank[part].shape[1:]) for rank in ranks]
        assert np.array_equal(np.concatenate(halves, axis=1).reshape(whole[part].shape), whole[part])
        late = Loader(*build_feed(recipe(streets, made[2].transforms)), 2, 0, 1)({"id": np.arange(1)})
        assert np.array_equal(late[part], whole[part][8:])


def test_a_damaged_other_is_replaced_or_stops_the_stream(streets, in_files, spoil):
    usual = {"train": [str(in_files)], "skip_damaged": True}
    whole = Loader(*build_feed(recipe(streets, [MOSAIC], **usual)), 0, 0, 1)
    position, index = next(
        (position, others[0])
        for position in range(40)
        if len({whole.plan.pick(position).index, *(others := whole.plan.others(position, 10, 3))}) == 4
    )
    before, damaged = whole.load(position), Shards(str(in_files)).read(index)
    spoil(in_files / f"part-{index // 5}.parquet", damaged)
    skipping = Loader(*build_feed(recipe(streets, [MOSAIC], **usual)), 0, 0, 1)
    row, again = skipping.load(position), skipping.load(position)
    assert row["name"] == before["name"] and f"sample {damaged.name}: " in row["damage"] and not before["damage"]
    assert not np.array_equal(row["image"], before["image"]) and np.array_equal(row["image"], again["image"])
    strict = Loader(*build_feed(recipe(streets, [MOSAIC], train=[str(in_files)])), 0, 0, 1)
    with pytest.raises(Damaged, match=f"^sample {damaged.name}: .*; or train without it: data.skip_damaged=True$"):
        strict.load(position)


def test_one_that_asks_for_more_than_the_number_of_images_is_refused_by_name(streets, mmseg):
    class MixesByName:
        def get_indices(self, dataset) -> int:
            return dataset.names.index("00001.png")

    mmseg.TRANSFORMS.register_module(module=MixesByName, force=True)
    with pytest.raises(ValueError, match="data.transforms: MixesByName chooses .* by more than their number .*names"):
        Loader(*build_feed(recipe(streets, [{"type": "MixesByName"}])), 0, 0, 1)
    mmseg.TRANSFORMS.module_dict.pop("MixesByName")
