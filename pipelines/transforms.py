"""mmseg's transforms, by name, as a part of the training stream's augmentation."""

import difflib
import random
from collections.abc import Callable
from functools import cached_property

import numpy as np

import rein_core  # noqa: F401  (its stub lets mmseg be imported)
from datasets.augment import Augment, Columns

_MAX_SEED = 2**32


class MMSegTransforms:
    """May be sent to Ray's tasks; the transforms are built where they first run.

    Args:
        before: runs first; None: samples arrive as they are stored.
        transforms: settings of mmseg's transforms, such as `{"type": "RandomCutOut", …}`; loading and packing are done.
    """

    def __init__(self, before: Augment | None, transforms: list[dict]):
        self.before, self.transforms = before, transforms

    @cached_property
    def _built(self) -> list:
        return [_build(settings) for settings in self.transforms]

    def __call__(
        self, image: Columns, label: np.ndarray, rng: np.random.Generator, wanted: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """BGR uint8 [h, w, 3] and train ids uint8 [h, w]. Raises ValueError if a transform fails."""
        if self.before:
            pixels, label = self.before(image, label, rng, wanted)
        else:
            pixels = image(0, label.shape[1])
        sample = _sample(pixels, label)
        seed = int(rng.integers(_MAX_SEED))
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  (mmseg draws from numpy's global generator)
        for settings, transform in zip(self.transforms, self._built, strict=True):
            try:
                sample = transform(sample)
            except Exception as error:  # any code of mmseg's or a user's own
                raise ValueError(f"data.transforms: {settings['type']} failed: {error!r}") from error
            _check(settings, sample)
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
            transform = TRANSFORMS.build(dict(settings))
        except (TypeError, ValueError, AssertionError, ImportError) as error:
            raise ValueError(f"data.transforms: {kind}: {error}") from error
    if hasattr(transform, "get_indices"):
        raise ValueError(f"data.transforms: {kind} mixes several images, and each comes alone here: leave it out")
    return transform


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
