"""What a segmentor says of one image: class probabilities at the image's own size, over flips and scales if wanted."""

from collections.abc import Sequence
from itertools import product

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def predict_labels(
    segmentor: nn.Module,
    image: np.ndarray,
    short_edge: int | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
) -> np.ndarray:
    """Class ids, uint8 [h, w], of a BGR image, uint8 [h, w, 3], at the image's own size; as `predict_probabilities`.

    One call at a time a model: adapters keep what belongs to a pass while it lasts.
    """
    return labels_of(predict_probabilities(segmentor, image, short_edge, scales, flip))


def labels_of(probabilities: Tensor) -> np.ndarray:
    """The likeliest class of each pixel, uint8 [h, w], of probabilities [classes, h, w]."""
    return probabilities.argmax(dim=0).byte().cpu().numpy()


@torch.inference_mode()
def predict_probabilities(
    segmentor: nn.Module,
    image: np.ndarray,
    short_edge: int | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
) -> Tensor:
    """Class probabilities, float32 [classes, h, w], of a BGR image, uint8 [h, w, 3], at the image's own size.

    A head's logits become probabilities by softmax; Mask2Former's scores, which are sums of products of probabilities
    already, by their share of a pixel's sum.

    Args:
        segmentor: in eval mode.
        short_edge: the image is resized to this short edge first, in pixels; None leaves it as it is.
        scales: of that size; probabilities are the mean over all, as in mmseg's test-time augmentation.
        flip: each scale is also seen mirrored.
    """
    size, total = image.shape[:2], None
    views = list(product(scales, (False, True) if flip else (False,)))
    for scale, mirrored in views:
        view = _resized(image, short_edge, scale)
        scores = _scores(segmentor, np.ascontiguousarray(view[:, ::-1]) if mirrored else view)
        scores = scores.flip(dims=[-1]) if mirrored else scores
        scores = F.interpolate(scores, size, mode="bilinear", align_corners=False)[0]
        part = _as_probabilities(segmentor, scores)
        total = part if total is None else total.add_(part)
    return total.div_(len(views))


def _resized(image: np.ndarray, short_edge: int | None, scale: float) -> np.ndarray:
    factor = scale * (short_edge / min(image.shape[:2]) if short_edge else 1.0)
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    same = tuple(size) == image.shape[1::-1]
    return image if same else cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _scores(segmentor: nn.Module, image: np.ndarray) -> Tensor:
    """The head's scores, float32 [1, classes, h, w], of an image that is padded for the time being."""
    height, width = image.shape[:2]
    bottom, right = (
        total - side for total, side in zip(_padded(segmentor, (height, width)), (height, width), strict=True)
    )
    image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REFLECT_101 if min(height, width) > 1 else 1)
    inputs = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    inputs = segmentor.data_preprocessor({"inputs": [inputs]}, training=False)["inputs"]
    shape = tuple(inputs.shape[2:])
    logits = segmentor.inference(inputs, [{"img_shape": shape, "ori_shape": shape, "pad_shape": shape}])
    return logits[..., :height, :width].float()


def _as_probabilities(segmentor: nn.Module, scores: Tensor) -> Tensor:
    if getattr(getattr(segmentor, "decode_head", None), "scores_are_sums", False):
        return scores.div_(scores.sum(dim=0, keepdim=True).clamp_min(torch.finfo(scores.dtype).tiny))
    return scores.softmax(dim=0)


def _padded(segmentor: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """Windows are whole crops, and a single window is a whole number of patches and not too small for a VFM."""
    config = segmentor.test_cfg
    if config["mode"] == "slide":
        return max(size[0], config["crop_size"][0]), max(size[1], config["crop_size"][1])
    patch = getattr(segmentor.data_preprocessor, "size_divisor", None) or 1
    smallest = getattr(getattr(segmentor, "backbone", None), "smallest_side", 1)
    height, width = (-(-max(side, smallest) // patch) * patch for side in size)
    return height, width
