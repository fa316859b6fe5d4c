"""Our augmentation against mmseg's own transforms, for the same draws."""

import importlib

import cv2
import numpy as np
import pytest

from datasets.augment import Augment, Distortion, distort, draw_crop, draw_distortion, pad, resized_crop, resized_shape
from datasets.labels import IGNORE


@pytest.fixture(scope="module")
def transforms():
    importlib.import_module("rein_core")  # first: its stub lets mmseg be imported
    return importlib.import_module("mmseg.datasets.transforms.transforms")


@pytest.fixture
def image() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 2)


class ScriptedRandom:
    """Stands in for `numpy.random` inside mmseg and answers with one drawn Distortion."""

    def __init__(self, draw: Distortion):
        self.answers = []
        self._step(draw.brightness, "uniform")
        self.answers.append(("randint", int(draw.contrast_first)))
        if draw.contrast_first:
            self._step(draw.contrast, "uniform")
        self._step(draw.saturation, "uniform")
        self._step(draw.hue, "randint")
        if not draw.contrast_first:
            self._step(draw.contrast, "uniform")

    def _step(self, value: float | None, kind: str) -> None:
        self.answers.append(("randint", int(value is not None)))
        if value is not None:
            self.answers.append((kind, value))

    def _answer(self, kind: str) -> float:
        expected, value = self.answers.pop(0)
        assert expected == kind
        return value

    def randint(self, *_):
        return self._answer("randint")

    def uniform(self, *_):
        return self._answer("uniform")


@pytest.mark.parametrize("seed", range(12))
def test_distortion_equals_mmseg(transforms, image, monkeypatch, seed):
    draw = draw_distortion(np.random.default_rng(seed))
    scripted = ScriptedRandom(draw)
    monkeypatch.setattr(transforms, "random", scripted)
    expected = transforms.PhotoMetricDistortion().transform({"img": image.copy()})["img"]
    assert not scripted.answers
    assert np.array_equal(distort(image, draw), expected)


def test_every_distortion_is_drawn_half_of_the_time():
    draws = [draw_distortion(np.random.default_rng(seed)) for seed in range(2000)]
    for step in ("brightness", "contrast", "saturation", "hue"):
        assert 0.45 < np.mean([getattr(draw, step) is not None for draw in draws]) < 0.55
    assert {draw.hue for draw in draws if draw.hue is not None} == set(range(-18, 18))


SHAPES = [(1052, 1914), (1024, 2048), (360, 480), (227, 320), (480, 360), (720, 1280)]
RESIZES = [(shape, short_edge, 2048) for shape in SHAPES for short_edge in (256, 307, 512, 1024)]
BOUND = [((98, 726), 450, 2048), ((892, 96), 249, 800), ((1052, 1914), 1024, 1280)]
NEARLY_WHOLE = [((1025, 2050), 1024, 2048), ((513, 1026), 512, 2048), ((511, 700), 512, 2048), ((220, 726), 220, 725)]


@pytest.mark.parametrize(("shape", "short_edge", "max_size"), RESIZES + BOUND + NEARLY_WHOLE)
def test_resized_crops_are_crops_of_what_mmseg_resizes(transforms, shape, short_edge, max_size):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    theirs = mmseg_resized(transforms, image, short_edge, max_size)
    resized = resized_shape(shape, short_edge, max_size)
    assert resized == theirs.shape[:2]
    drawn = [[int(rng.integers(max(side - 200, 0) + 1)) for side in resized] for _ in range(8)]
    for top, left in [(0, 0), *drawn]:
        window = np.s_[top : top + 200, left : left + 200]
        seen = []

        def pixels(*part: slice, seen=seen) -> np.ndarray:
            seen.append(part)
            only = np.zeros_like(image)
            only[part] = image[part]
            return only

        crop = resized_crop(pixels, shape, resized, window)
        assert np.array_equal(crop, theirs[window])
        for side, part in enumerate(seen[0]):
            assert part.stop - part.start <= 200 * shape[side] / resized[side] + 8


@pytest.mark.parametrize("max_size", [300, 511, 2048])
def test_resized_shapes_equal_mmseg(transforms, max_size):
    rng = np.random.default_rng(0)
    sizes = [*rng.integers(40, 900, (400, 2)), *np.repeat(rng.integers(40, 900, (50, 1)), 2, axis=1)]
    for size in sizes:
        shape, short_edge = tuple(size.tolist()), int(rng.integers(32, 600))
        theirs = mmseg_resized(transforms, np.zeros(shape, dtype=np.uint8), short_edge, max_size)
        assert resized_shape(shape, short_edge, max_size) == theirs.shape, (shape, short_edge)


def mmseg_resized(transforms, image: np.ndarray, short_edge: int, max_size: int) -> np.ndarray:
    """By its ResizeShortestEdge."""
    return transforms.ResizeShortestEdge(short_edge, max_size).transform({"img": image})["img"]


@pytest.mark.parametrize("cat_max_ratio", [0.75, 1.0])
@pytest.mark.parametrize(
    ("shape", "short_edges", "max_size", "crop_size"),
    [
        ((131, 239), [66, 96, 131, 197], 2048, (64, 64)),
        ((240, 130), [65, 90, 150], 200, (48, 96)),  # the bound on the long edge binds
        ((98, 363), [97, 98, 225], 1024, (64, 80)),
        ((90, 161), [40, 75, 120], 2048, (80, 144)),  # some are smaller than the crop
    ],
)
def test_resize_crop_and_flip_equal_mmseg(
    transforms, monkeypatch, shape, short_edges, max_size, crop_size, cat_max_ratio
):
    rng = np.random.default_rng(2)
    image, label = rng.integers(0, 256, (*shape, 3), dtype=np.uint8), patchy_label(rng, shape)
    augment = Augment(short_edges, crop_size, max_size, cat_max_ratio, photometric=False)
    theirs = mmseg_pipeline(transforms, augment)
    for seed in range(40):
        ours, ours_ids = augment(image, label, np.random.default_rng(seed))
        draw_from(np.random.default_rng(seed), monkeypatch)
        sample = {"img": image, "gt_seg_map": label, "seg_fields": ["gt_seg_map"]}
        for transform in theirs:
            sample = transform.transform(sample)
        expected, expected_ids = pad(sample["img"], sample["gt_seg_map"], crop_size)
        assert np.array_equal(ours, expected), seed
        assert np.array_equal(ours_ids, expected_ids), seed


def patchy_label(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Road alone at the left; else road, void and a little of the rest: road fills about 3/4 of what is labelled."""
    shares = [0.5, 0.32, 0.06, 0.06, 0.06]
    small = rng.choice(np.array([0, IGNORE, 2, 8, 13], dtype=np.uint8), [side // 6 + 1 for side in shape], p=shares)
    label = np.ascontiguousarray(small.repeat(6, 0).repeat(6, 1)[: shape[0], : shape[1]])
    label[:, : shape[1] // 2] = 0
    return label


def mmseg_pipeline(transforms, augment: Augment) -> list:
    """What Augment stands for, without the distortion."""
    processing = importlib.import_module("mmcv.transforms.processing")
    return [
        processing.RandomChoiceResize(augment.short_edges, "mmseg.ResizeShortestEdge", max_size=augment.max_size),
        transforms.RandomCrop(augment.crop_size, augment.cat_max_ratio),
        transforms.RandomFlip(augment.flip),
    ]


def draw_from(rng: np.random.Generator, monkeypatch) -> None:
    """Lets `numpy.random`, which mmseg draws from, answer from a generator."""
    monkeypatch.setattr(np.random, "randint", rng.integers)
    monkeypatch.setattr(np.random, "choice", lambda options, p: options[int(rng.random() >= p[0])])


@pytest.mark.parametrize("flip", [0.0, 0.2, 0.5, 1.0])
def test_share_of_flips(flip):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    label = image[..., 0].copy()
    augment = Augment([4], (4, 4), flip=flip, photometric=False)
    seen = [augment(image, label, np.random.default_rng(seed)) for seed in range(2000)]
    flipped = [np.array_equal(pixels, image[:, ::-1]) for pixels, _ in seen]
    assert abs(np.mean(flipped) - flip) < 0.04
    for (pixels, ids), mirrored in zip(seen, flipped, strict=True):
        assert np.array_equal(ids, label[:, ::-1] if mirrored else label)
        assert mirrored or np.array_equal(pixels, image)


def test_every_short_edge_is_drawn_equally_often():
    image, label = np.zeros((20, 30, 3), dtype=np.uint8), np.zeros((20, 30), dtype=np.uint8)
    short_edges = [10, 15, 20, 25, 30]
    augment = Augment(short_edges, (64, 64), photometric=False)
    labels = [augment(image, label, np.random.default_rng(seed))[1] for seed in range(2000)]
    drawn = np.array([np.count_nonzero((ids == 0).any(axis=1)) for ids in labels])
    assert set(drawn.tolist()) == set(short_edges)
    assert all(0.16 < np.mean(drawn == edge) < 0.24 for edge in short_edges)


def test_crop_avoids_windows_that_one_class_fills():
    label = np.zeros((64, 256), dtype=np.uint8)
    label[:, 200:] = 1
    for seed in range(50):
        _, left = draw_crop(label, (64, 64), 0.75, np.random.default_rng(seed))
        share = np.mean(label[:, left : left + 64] == 1)
        assert left > 64 or share == 0  # 11 tries miss the border rarely, but never keep a mixed window below the bound
    found = [draw_crop(label, (64, 64), 0.75, np.random.default_rng(seed))[1] for seed in range(50)]
    assert np.mean([152 <= left <= 184 for left in found]) > 0.8


def test_crop_shows_the_wanted_class():
    label = np.tile(np.arange(2, dtype=np.uint8), (64, 128))
    label[:, 200:220] = 2
    draws = [np.random.default_rng(seed) for seed in range(50)]
    windows = [draw_crop(label, (64, 64), 0.75, rng, least=(2, 64 * 10))[1] for rng in draws]
    assert np.mean([np.count_nonzero(label[:, left : left + 64] == 2) > 640 for left in windows]) > 0.95


def test_crop_of_an_unlabelled_image_ends():
    label = np.full((80, 80), IGNORE, dtype=np.uint8)
    top, left = draw_crop(label, (64, 64), 0.75, np.random.default_rng(0))
    assert 0 <= top <= 16 and 0 <= left <= 16


def test_small_images_are_padded_with_the_mean_and_ignored(image):
    label = np.zeros(image.shape[:2], dtype=np.uint8)
    padded, ids = pad(image, label, (128, 192))
    assert padded.shape == (128, 192, 3) and ids.shape == (128, 192)
    assert np.array_equal(padded[:90, :160], image)
    assert (ids[90:] == IGNORE).all() and (ids[:, 160:] == IGNORE).all()
    assert padded[-1, -1].tolist() == [104, 116, 124]


def test_image_and_label_move_together():
    """A picture that shows its own label stays aligned through resize, crop and flip."""
    label = np.random.default_rng(3).integers(0, 2, (12, 24)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    image = np.repeat(label[..., None] * 255, 3, axis=2)
    augment = Augment([150, 192, 300], (128, 128), photometric=False)
    for seed in range(8):
        seen, ids = augment(image, label, np.random.default_rng(seed))
        assert np.mean((seen[..., 0] > 127) == (ids == 1)) > 0.97


def test_same_generator_same_pixels(image):
    label = np.zeros(image.shape[:2], dtype=np.uint8)
    augment = Augment([80, 120], (64, 64))
    first, second, other = (augment(image, label, np.random.default_rng(seed))[0] for seed in (5, 5, 6))
    assert np.array_equal(first, second) and not np.array_equal(first, other)
