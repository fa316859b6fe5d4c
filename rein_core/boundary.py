"""How well outlines are met: boundary IoU, which large objects' insides don't hide."""

import cv2
import numpy as np

from rein_core.metrics import IGNORE


class BoundaryMeter:
    """Boundary IoU (Cheng et al., CVPR 2021, eq. 2) of each class, over all of its pixels in an image.

    A class's boundary are those of its pixels that are nearer than `width` to others. Where the truth is 255, the
    prediction counts as 255 too: both end there, and what was predicted there makes no difference.

    Args:
        num_classes: classes of the label space.
        width: share of the image's diagonal.

    Attributes:
        counts: int64 [num_classes, 3], pixels in both boundaries, in either, and in the true one. May be summed.
    """

    def __init__(self, num_classes: int, width: float = 0.02):
        self.counts, self.width = np.zeros((num_classes, 3), np.int64), width

    def update(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Adds one image: class ids [h, w] of both."""
        prediction = np.where(truth == IGNORE, IGNORE, prediction)
        steps = max(1, round(self.width * float(np.hypot(*truth.shape))))
        for index in np.intersect1d(np.union1d(truth, prediction), np.arange(len(self.counts))):
            true, predicted = (_boundary(labels == index, steps) for labels in (truth, prediction))
            self.counts[index] += (true & predicted).sum(), (true | predicted).sum(), true.sum()

    def compute(self) -> list[float]:
        """Boundary IoU of each class in percent; nan where it is not in the truth."""
        both, either, true = self.counts.T
        return np.where(true > 0, 100 * both / np.maximum(either, 1), np.nan).tolist()


def _boundary(mask: np.ndarray, steps: int) -> np.ndarray:
    """Pixels of the mask that are within so many of its outside; the image's edge is outside too, as in the paper."""
    padded = np.pad(mask.astype(np.uint8), 1)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=steps)
    return mask & (inner[1:-1, 1:-1] == 0)
