"""mmseg's training augmentation on numpy arrays, with every random draw taken from one generator.

The operations and their order are those of mmsegmentation's `RandomChoiceResize`, `RandomCrop`, `RandomFlip` and
`PhotoMetricDistortion`; tests hold them against mmseg's own for the same draws.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from datasets.labels import IGNORE

_CROP_TRIES = 10
_PAD_BGR = (104, 116, 124)  # the ImageNet mean: what mmseg's padding with 0 after normalisation comes to

Pixels = Callable[[slice, slice], np.ndarray]
"""(rows, columns) → the image, BGR uint8 [h, w, 3], of which at least these are decoded."""


@dataclass(frozen=True)
class Augment:
    """Resize to a drawn short edge, crop, flip, distort the colours.

    Args:
        short_edges: candidates for the short edge, pixels.
        max_size: bound on the long edge, pixels.
        crop_size: height and width of the result, pixels; smaller images are padded at the right and bottom.
        cat_max_ratio: a crop is drawn anew (up to 10 times) while one class fills this share of it or more.
        flip: probability of a horizontal flip.
        photometric: whether colours are distorted.
        wanted_pixels: a crop is drawn anew, too, while it has no more of the class that it should show.
    """

    short_edges: Sequence[int]
    crop_size: tuple[int, int]
    max_size: int = 2048
    cat_max_ratio: float = 0.75
    flip: float = 0.5
    photometric: bool = True
    wanted_pixels: int = 1500

    def __call__(
        self, image: np.ndarray | Pixels, label: np.ndarray, rng: np.random.Generator, wanted: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """BGR uint8 [h, w, 3] and train ids uint8 [h, w] → the same of `crop_size`.

        Scale and crop are drawn first: of an image that comes as what decodes it only what the crop needs is
        decoded, and only what lies above and left of the crop's end is resized.

        Args:
            wanted: the train id that the crop should show.
        """
        short_edge = self.short_edges[rng.integers(len(self.short_edges))]
        shape = resized_shape(label.shape, short_edge, self.max_size)
        resized_label = cv2.resize(label, shape[::-1], interpolation=cv2.INTER_NEAREST)
        least = None if wanted is None else (wanted, self.wanted_pixels)
        top, left = draw_crop(resized_label, self.crop_size, self.cat_max_ratio, rng, least)
        window = np.s_[top : top + self.crop_size[0], left : left + self.crop_size[1]]
        image, label = resized_crop(image, label.shape, shape, window), resized_label[window]
        if rng.random() < self.flip:
            image, label = cv2.flip(image, 1), cv2.flip(label, 1)  # to copy image[:, ::-1] takes far longer
        if self.photometric:
            image = distort(image, draw_distortion(rng))
        return pad(image, label, self.crop_size)


def resized_shape(shape: tuple[int, int], short_edge: int, max_size: int) -> tuple[int, int]:
    """(h, w) scaled so that the shorter is `short_edge` and the longer at most `max_size`.

    Rounded twice, as in mmseg: its `ResizeShortestEdge` rounds a box, and its `Resize` fits the image into that.
    """
    short, long = min(shape), max(shape)
    box = float(short_edge), short_edge / short * long
    if box[1] > max_size:
        shrink = max_size / box[1]
        box = box[0] * shrink, box[1] * shrink
    scale = min(int(box[0] + 0.5) / short, int(box[1] + 0.5) / long)
    return int(shape[0] * scale + 0.5), int(shape[1] * scale + 0.5)


def resized_crop(
    image: np.ndarray | Pixels, size: tuple[int, int], shape: tuple[int, int], window: tuple[slice, slice]
) -> np.ndarray:
    """A window of the bilinearly resized image, the same to the bit, without resizing what is right of or below it.

    Where that is too little for the scale to change its size, all is resized.

    Args:
        image: BGR uint8 [h, w, 3], or what decodes it.
        size: (h, w) of it.
        shape: (h, w) of the whole resized image.
        window: rows and columns of that.
    """
    factors = [new / old for new, old in zip(shape, size, strict=True)]
    ends = [min(part.stop, new) for part, new in zip(window, shape, strict=True)]
    needed = [min(int(end / f) + 2, old) for end, f, old in zip(ends, factors, size, strict=True)]
    firsts = [max(int(part.start / f) - 2, 0) for part, f in zip(window, factors, strict=True)]
    pixels = image if isinstance(image, np.ndarray) else image(*map(slice, firsts, needed))
    part = pixels[: needed[0], : needed[1]]
    resized = _resize(part, factors)
    if resized.shape == part.shape and shape != size:  # OpenCV has copied it, without interpolating
        resized = _resize(pixels, factors)
    return resized[: ends[0], : ends[1]][window]


def _resize(pixels: np.ndarray, factors: Sequence[float]) -> np.ndarray:
    return cv2.resize(pixels, None, fx=factors[1], fy=factors[0], interpolation=cv2.INTER_LINEAR)


def draw_crop(
    label: np.ndarray,
    crop_size: tuple[int, int],
    cat_max_ratio: float,
    rng: np.random.Generator,
    least: tuple[int, int] | None = None,
) -> tuple[int, int]:
    """(top, left) of a window in which no class fills `cat_max_ratio` of the labelled pixels, if 10 tries find one.

    Args:
        least: a train id, and the number of its pixels that the window should exceed.
    """
    height, width = crop_size
    margins = max(label.shape[0] - height, 0), max(label.shape[1] - width, 0)
    for _ in range(_CROP_TRIES + 1):
        top, left = (int(rng.integers(margin + 1)) for margin in margins)
        counts = _counts(label[top : top + height, left : left + width])
        varied = cat_max_ratio == 1 or np.count_nonzero(counts) > 1 and counts.max() / counts.sum() < cat_max_ratio
        if varied and (least is None or counts[least[0]] > least[1]):
            break
    return top, left


def _counts(label: np.ndarray) -> np.ndarray:
    """Pixels of each train id, int64 [255], by the lengths of runs of one id: pixel by pixel takes thrice as long."""
    ids = label.ravel()
    ends = np.append(np.flatnonzero(ids[1:] != ids[:-1]), len(ids) - 1)
    return np.bincount(ids[ends], np.diff(ends, prepend=-1), minlength=256)[:IGNORE].astype(np.int64)


@dataclass(frozen=True)
class Distortion:
    """One draw of PhotoMetricDistortion; None leaves that step out.

    Args:
        brightness: added, −32 to 32.
        contrast, saturation: factors, 0.5 to 1.5.
        hue: added to OpenCV's hue of 0 to 179, −18 to 17.
        contrast_first: contrast before saturation and hue, or after.
    """

    brightness: float | None
    contrast: float | None
    saturation: float | None
    hue: int | None
    contrast_first: bool


def draw_distortion(rng: np.random.Generator) -> Distortion:
    """Each step is taken with probability one half."""

    def maybe(value: float) -> float | None:
        return value if rng.random() < 0.5 else None

    return Distortion(
        brightness=maybe(rng.uniform(-32, 32)),
        contrast=maybe(rng.uniform(0.5, 1.5)),
        saturation=maybe(rng.uniform(0.5, 1.5)),
        hue=maybe(int(rng.integers(-18, 18))),
        contrast_first=bool(rng.random() < 0.5),
    )


def distort(image: np.ndarray, draw: Distortion) -> np.ndarray:
    """BGR uint8 [h, w, 3] → distorted, rounding to uint8 after every step as mmseg does."""
    if draw.brightness is not None:
        image = _shifted(image, draw.brightness)
    if draw.contrast is not None and draw.contrast_first:
        image = cv2.LUT(image, _scaled(draw.contrast))
    if draw.saturation is not None or draw.hue is not None:
        image = _distort_hsv(image, draw)
    if draw.contrast is not None and not draw.contrast_first:
        image = cv2.LUT(image, _scaled(draw.contrast))
    return image


def _shifted(image: np.ndarray, offset: float) -> np.ndarray:
    """As mmseg's sums in float32, in a fifth of a table's time; some levels differ by one where the offset is within
    1e-5 of a whole number, as three of 200,000 were."""
    shift = math.floor(offset)
    return (cv2.add if shift > 0 else cv2.subtract)(image, (abs(shift),) * 4)


def _scaled(factor: float) -> np.ndarray:
    """Each of the 256 levels times a factor, rounded down, at most 255."""
    return np.clip(np.arange(256, dtype=np.float32) * factor, 0, 255).astype(np.uint8)


def _distort_hsv(image: np.ndarray, draw: Distortion) -> np.ndarray:
    if draw.saturation is not None:
        image = _through_hsv(image, 1, _scaled(draw.saturation))
    if draw.hue is not None:
        image = _through_hsv(image, 0, ((np.arange(256) + draw.hue) % 180).astype(np.uint8))
    return image


def _through_hsv(image: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, channel), table), hsv, channel)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def pad(image: np.ndarray, label: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Fills up to (h, w) at the right and bottom: the image with the mean colour, the label with 255."""
    bottom, right = shape[0] - label.shape[0], shape[1] - label.shape[1]
    if not bottom and not right:
        return np.ascontiguousarray(image), np.ascontiguousarray(label)
    border = (0, bottom, 0, right, cv2.BORDER_CONSTANT)
    return cv2.copyMakeBorder(image, *border, value=_PAD_BGR), cv2.copyMakeBorder(label, *border, value=IGNORE)
