"""What a recipe feeds: mixed sources, rare classes, mmseg's transforms; and wrong settings, which are named."""

import numpy as np
import pytest

from datasets.shards import Shards
from datasets.stream import Loader, batches
from pipelines.feed import build_feed, check_feed
from pipelines.recipe import parse_recipe
from pipelines.settings import Recipe

AUGMENT = {"short_edges": [64], "crop_size": (48, 64)}
CUT = {"type": "RandomCutOut", "prob": 1.0, "n_holes": 1, "cutout_shape": (16, 16), "seg_fill_in": 255}


def recipe(streets, **data) -> Recipe:
    section = {"train": [streets.game, streets.camera], "augment": AUGMENT} | data
    return parse_recipe({"data": section, "train": {"batch_size": 4}, "seed": 2})


def batch(made: Recipe, step: int = 0) -> dict[str, np.ndarray]:
    return Loader(*build_feed(made), step, 0, 1)({"id": np.arange(1)})


def test_weights_mix_the_sources(streets):
    _, plan, _ = build_feed(recipe(streets, weights=[1, 3]))
    assert np.mean([plan.pick(position).source for position in range(1000)]) == 0.75


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, 0.0], [1, 2, 3]])
def test_weights_fit_the_folders(streets, weights):
    with pytest.raises(ValueError, match="data.weights=.*one number above 0 for each of the 2 folders of data.train"):
        recipe(streets, weights=weights)


def test_rare_classes_come_from_the_stored_counts(streets):
    """Every drawn class is in its sample, and its crop shows more of it than crops at random do."""
    made = recipe(streets, rare_class_temperature=0.1, rare_class_pixels=60)
    sources, plan, augment = build_feed(made)
    picks = [plan.pick(position) for position in range(200)]
    labels = {(pick.source, pick.index): sources[pick.source].read(pick.index).label_ids() for pick in picks}
    shown = [np.count_nonzero(labels[pick.source, pick.index] == pick.wanted) for pick in picks]
    assert min(shown) > 60 and len({pick.wanted for pick in picks}) > 5
    counts = {True: 0, False: 0}
    for position, pick in enumerate(picks):
        pixels = sources[pick.source].read(pick.index).pixels
        for asked in counts:
            wanted = pick.wanted if asked else None
            _, ids = augment(pixels, labels[pick.source, pick.index], plan.rng(position), wanted)
            counts[asked] += np.count_nonzero(ids == pick.wanted) > 30
    assert counts[True] > counts[False]


def test_rare_classes_need_enough_pixels(streets):
    with pytest.raises(ValueError, match="rare_class_pixels=100000: no sample"):
        check_feed(recipe(streets, rare_class_temperature=0.01, rare_class_pixels=100_000))


def test_any_transform_of_mmsegs_runs_after_ours(streets):
    plain, cut = batch(recipe(streets)), batch(recipe(streets, transforms=[CUT]))
    for before, after, label in zip(plain["image"], cut["image"], cut["label"], strict=True):
        changed = (before != after).any(-1)
        assert 0 < changed.sum() <= 256 and not after[changed].any() and (label[changed] == 255).all()
    again, later = batch(recipe(streets, transforms=[CUT])), batch(recipe(streets, transforms=[CUT]), step=1)
    assert np.array_equal(again["image"], cut["image"]) and not np.array_equal(later["image"], cut["image"])


def test_mmsegs_transforms_alone(streets):
    """The usual training pipeline, all of it mmseg's, through Ray."""
    own = [
        {"type": "RandomChoiceResize", "scales": [64, 96], "resize_type": "ResizeShortestEdge", "max_size": 256},
        {"type": "RandomCrop", "crop_size": (48, 64), "cat_max_ratio": 0.75},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
    ]
    made = recipe(streets, augment=None, transforms=own)
    streamed = list(batches(*build_feed(made), range(2)))
    assert [part["image"].shape for part in streamed] == [(4, 48, 64, 3)] * 2
    for step, part in enumerate(streamed):
        expected = batch(made, step)
        assert np.array_equal(part["image"], expected["image"]) and np.array_equal(part["label"], expected["label"])


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([{"type": "RandomCutout"}], "mmseg has no transform RandomCutout; the nearest are RandomCutOut"),
        ([{"type": "RandomCutOut", "prob": 2, "n_holes": 1, "cutout_shape": (4, 4)}], "RandomCutOut: "),
        ([{"type": "RandomCutOut", "holes": 1}], "RandomCutOut: .*holes"),
        (
            [{"type": "Normalize", "mean": [120.0] * 3, "std": [60.0] * 3, "to_rgb": True}],
            "Normalize leaves values from -",
        ),
        ([{"type": "PackSegInputs"}], "PackSegInputs leaves no img and gt_seg_map"),
        ([{"type": "CLAHE"}, {"type": "RandomRotate", "prob": 1.0, "degree": 9}, {"type": "RGB2Gray"}], None),
        ([{"type": "Resize", "scale_factor": (0.5, 0.5), "keep_ratio": False}], None),
        ([{"type": "RandomMosaic", "prob": 2.0}], "RandomMosaic: "),
        ([{"type": "RandomMosaic", "prob": 1.0, "img_scale": [32, 32]}], None),
    ],
)
def test_wrong_transforms_are_named_before_anything_starts(streets, transforms, message):
    made = recipe(streets, transforms=transforms)
    if message is None:
        check_feed(made)
        return
    with pytest.raises(ValueError, match=f"data.transforms: {message}"):
        check_feed(made)


def test_samples_of_several_sizes_make_no_batch(streets):
    drawn = {"type": "RandomResize", "scale": (128, 64), "ratio_range": (0.5, 2.0), "keep_ratio": True}
    with pytest.raises(ValueError, match="in a batch: end with a crop and padding to one size"):
        check_feed(recipe(streets, augment=None, transforms=[drawn]))


def test_files_that_are_left_out_are_said_and_never_drawn_by_class(streets, in_files, capsys):
    data = {"train": [str(in_files)], "rare_class_temperature": 0.1, "rare_class_pixels": 60}
    (in_files / "part-1.parquet").unlink()
    with pytest.raises(ValueError, match=r"part-1\.parquet is missing: .*; or train without .*skip_damaged=True"):
        check_feed(recipe(streets, **data))
    skipping = recipe(streets, **data, skip_damaged=True)
    check_feed(skipping)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert f"{in_files}: part-1.parquet is missing" in line and line.endswith("its 5 samples are left out")
    _, plan, _ = build_feed(skipping)
    assert {plan.pick(position).index for position in range(200)} == set(range(5))
    (in_files / "part-0.parquet").unlink()
    with pytest.raises(ValueError, match="none of its files can be read") as error:
        check_feed(skipping)
    assert "or train without" not in str(error.value)


def test_a_damaged_sample_of_the_first_batch_is_found_before_anything_starts(streets, in_files, spoil):
    made = recipe(streets, train=[str(in_files)])
    index = build_feed(made)[1].pick(0).index
    spoil(in_files / f"part-{index // 5}.parquet", Shards(str(in_files)).read(index))
    with pytest.raises(ValueError, match=r"can't be read at sample .*; or train without it: data.skip_damaged=True"):
        check_feed(made)
    check_feed(recipe(streets, train=[str(in_files)], skip_damaged=True))
