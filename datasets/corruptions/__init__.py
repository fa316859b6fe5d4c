"""Corruptions of clean images, as Cityscapes-C has them: 16 kinds in five severities, each drawn from a seed.

Kinds and severities are those of Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations", ICLR 2019 (fifteen, and speckle noise, which they hold back for validation), in the form for images
of any size of Michaelis et al., "Benchmarking Robustness in Object Detection", 2019, who made Cityscapes-C; Kamann &
Rother, CVPR 2020, use them for segmentation. The published constants are kept, the code is our own: the package
`imagecorruptions` 1.1.2 does not even import beside today's SciPy, NumPy, scikit-image and setuptools, and draws from
NumPy's global generator.

What differs from the published images:
- `frost` lays procedural frost over the image instead of one of five photographs, with their mean brightness. Its
  scores are therefore not comparable with published ones; those of the other fifteen are, as far as draws go.
- Results are rounded to uint8, where the package cuts off (half a grey level darker).
- Random numbers come from a generator of their own, so single images differ, as they do between any two seeds.
- `glass_blur` shuffles as the package does (there what should be a swap copies), but for all pixels at once.
"""

from collections.abc import Callable
from difflib import get_close_matches

import numpy as np

from datasets.corruptions import blur, digital, noise, weather

SEVERITIES = (1, 2, 3, 4, 5)

_CORRUPTIONS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": noise.speckle_noise,
}

KINDS: tuple[str, ...] = tuple(_CORRUPTIONS)
"""The kinds in the published order, the validation kind last. `frost` is procedural, so no published figure fits it."""

_SMALLEST = 32


def corrupt(image: np.ndarray, kind: str, severity: int, seed: int) -> np.ndarray:
    """A corrupted copy of an image, the same for the same seed.

    Args:
        image: BGR uint8 [h, w, 3], both sides at least 32 pixels.
        kind: one of `KINDS`.
        severity: 1 (mild) to 5.
        seed: 0 or more; kinds without chance (JPEG, contrast …) don't depend on it.

    Returns:
        BGR uint8 [h, w, 3].

    Raises:
        ValueError: no such kind or severity, with the nearest; or what is no such image.
    """
    if kind not in _CORRUPTIONS:
        nearest = get_close_matches(str(kind), KINDS, n=1, cutoff=0)[0]
        raise ValueError(f"corruption kind {kind!r}: did you mean {nearest!r}? There are {', '.join(KINDS)}")
    if severity not in SEVERITIES:
        nearest = min(max(int(severity), SEVERITIES[0]), SEVERITIES[-1])
        raise ValueError(f"corruption severity {severity}: the nearest is {nearest}; they are whole, from 1 to 5")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < _SMALLEST:
        raise ValueError(
            f"corruption {kind}: takes uint8 [h, w, 3] of at least {_SMALLEST} pixels a side, "
            f"not {image.dtype} {list(image.shape)}"
        )
    return _CORRUPTIONS[kind](image, severity, np.random.default_rng(seed))
