"""Mean intersection over union, summed over images."""

import numpy as np
import torch

IGNORE = 255


class IoUMeter:
    """Sums areas over images; scores in percent.

    Args:
        num_classes: classes of the label space.

    Attributes:
        areas: float64 [4, num_classes]: intersection, union, predicted, true pixels. May be summed over ranks.
    """

    def __init__(self, num_classes: int):
        self.areas = torch.zeros(4, num_classes, dtype=torch.float64)

    def update(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Adds one image: class ids [h, w] of both, 255 in the truth is not counted."""
        from mmseg.evaluation import IoUMetric

        pair = torch.from_numpy(prediction.astype(np.int64)), torch.from_numpy(truth.astype(np.int64))
        self.areas += torch.stack(IoUMetric.intersect_and_union(*pair, self.areas.shape[1], IGNORE)).double()

    def compute(self) -> dict:
        """`IoU` a class (nan where it is not in the truth), their mean `mIoU`, and pixel accuracy `aAcc`, in percent.

        A class that the truth never shows has no IoU; where it is predicted, that counts against the true class.
        """
        intersection, union, _, true = self.areas
        iou = torch.where(true > 0, 100 * intersection / union, torch.nan)
        return {
            "mIoU": iou.nanmean().item(),
            "IoU": iou.tolist(),
            "aAcc": (100 * intersection.sum() / true.sum()).item(),
        }
