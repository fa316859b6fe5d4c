"""mmseg's transforms, by name, as a part of the training stream's augmentation."""

import difflib
import random
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import islice

import numpy as np

import rein_core  # noqa: F401  (its stub lets mmseg be imported)
from datasets.augment import Augment, Pixels

_MAX_SEED = 2**32
_CHOICE = range(1000)  # what a transform that mixes images is asked to choose from, to see how many it takes


class MMSegTransforms:
    """May be sent to Ray's tasks; the transforms are built where they are first needed.

    Those that mix several images, such as `RandomMosaic`, get others of the sample's source as in mmseg's
    `MultiImageMixDataset`: these went through loading and `before`, but not through transforms that stand earlier in
    the list. Which others come is the stream's to say.

    Args:
        before: runs first; None: samples arrive as they are stored.
        transforms: settings of mmseg's transforms, such as `{"type": "RandomCutOut", …}`; loading and packing are done.
    """

    def __init__(self, before: Augment | None, transforms: list[dict]):
        self.before, self.transforms = before, transforms

    @cached_property
    def _built(self) -> list[tuple[Callable[[dict], dict | None], int]]:
        built = [(settings, _build(settings)) for settings in self.transforms]
        return [(transform, _others(settings, transform)) for settings, transform in built]

    @property
    def others(self) -> int:
        """How many other samples are mixed into each."""
        return sum(count for _, count in self._built)

    def __call__(
        self, image: Pixels, label: np.ndarray, rng: np.random.Generator, wanted: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """BGR uint8 [h, w, 3] and train ids uint8 [h, w]. Raises ValueError if a transform fails."""
        return self.mix(*self.alone(image, label, rng, wanted), rng, [])

    def alone(
        self, image: Pixels, label: np.ndarray, rng: np.random.Generator, wanted: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """What comes before the transforms."""
        return self.before(image, label, rng, wanted) if self.before else (image(np.s_[:], np.s_[:]), label)

    def mix(
        self,
        image: np.ndarray,
        label: np.ndarray,
        rng: np.random.Generator,
        others: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> tuple[np.ndarray, np.ndarray]:
        """The transforms; each that mixes images takes its part of the others."""
        sample, coming, built = _sample(image, label), iter(others), self._built
        seed = int(rng.integers(_MAX_SEED))
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  (mmseg draws from numpy's global generator)
        for settings, (transform, count) in zip(self.transforms, built, strict=True):
            mixed = {"mix_results": [_sample(*other) for other in islice(coming, count)]} if count else {}
            try:
                sample = transform(sample | mixed)
            except Exception as error:  # any code of mmseg's or a user's own
                raise ValueError(f"data.transforms: {settings['type']} failed: {error!r}") from error
            _check(settings, sample)
            sample.pop("mix_results", None)
        image = np.rint(sample["img"]).astype(np.uint8)  # some of mmseg's make it float
        return np.ascontiguousarray(image), np.ascontiguousarray(sample["gt_seg_map"])


def _build(settings: dict) -> Callable[[dict], dict | None]:
    from mmengine.registry import DefaultScope
    from mmseg.registry import TRANSFORMS
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    kind = str(settings.get("type"))
    with DefaultScope.overwrite_default_scope("mmseg"):
        if TRANSFORMS.get(kind) is None:
            known = [*TRANSFORMS.module_dict, *TRANSFORMS.parent.module_dict]
            nearest = ", ".join(difflib.get_close_matches(kind, known, n=3, cutoff=0))
            raise ValueError(f"data.transforms: mmseg has no transform {kind}; the nearest are {nearest}")
        try:
            return _by_settings(TRANSFORMS.build, settings)
        except (TypeError, ValueError, AssertionError, ImportError) as error:
            raise ValueError(f"data.transforms: {kind}: {error}") from error


def _by_settings(build: Callable[[dict], Callable], settings: dict) -> Callable:
    """Recipes have lists, where some of mmseg's transforms insist on tuples."""
    try:
        return build(dict(settings))
    except AssertionError:
        return build({name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()})


def _others(settings: dict, transform: Callable) -> int:
    """How many other images a transform mixes into one."""
    if not hasattr(transform, "get_indices"):
        return 0
    try:
        chosen = transform.get_indices(_CHOICE)
    except Exception as error:  # any code of a user's own
        raise ValueError(
            f"data.transforms: {settings['type']} chooses the images that it mixes by more than their number "
            f"({error!r}), and no more is known of them here: leave it out"
        ) from error
    return len(chosen) if isinstance(chosen, Sequence) else 1


def _sample(image: np.ndarray, label: np.ndarray) -> dict:
    """As mmseg's loading leaves it."""
    shape = label.shape
    return {
        "img": image,
        "gt_seg_map": label,
        "seg_fields": ["gt_seg_map"],
        "img_shape": shape,
        "ori_shape": shape,
        "reduce_zero_label": False,
    }


def _check(settings: dict, sample: dict | None) -> None:
    image, label = (sample or {}).get("img"), (sample or {}).get("gt_seg_map")
    if image is None or label is None:
        raise ValueError(
            f"data.transforms: {settings['type']} leaves no img and gt_seg_map: loading and packing are done"
        )
    if label.dtype != np.uint8 or image.shape != (*label.shape, 3):
        raise ValueError(
            f"data.transforms: {settings['type']} leaves an image {list(image.shape)} and a label {label.dtype} "
            f"{list(label.shape)}: they must be of one size, and labels uint8"
        )
    if image.dtype != np.uint8 and not (image.min() >= -0.5 and image.max() < 255.5):
        raise ValueError(
            f"data.transforms: {settings['type']} leaves values from {image.min():.3g} to {image.max():.3g}: images "
            "must stay within 0 and 255; the model normalises them"
        )
