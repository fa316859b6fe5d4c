"""Scores of segmentations from one confusion matrix, summed over images."""

import numpy as np
import torch

IGNORE = 255


class ConfusionMeter:
    """Counts pixels by true and predicted class; scores in percent.

    Args:
        num_classes: classes of the label space.

    Attributes:
        counts: int64 [num_classes, num_classes], true by predicted. May be summed over ranks, images and machines.
    """

    def __init__(self, num_classes: int):
        self.counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    def update(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Adds one image: class ids [h, w] of both, 255 in the truth is not counted.

        Raises:
            ValueError: the sizes differ, or an id is no class.
        """
        if prediction.shape != truth.shape:
            raise ValueError(f"a prediction of {prediction.shape} for a truth of {truth.shape}")
        classes = len(self.counts)
        seen = truth != IGNORE
        true, predicted = truth[seen].astype(np.int64), prediction[seen].astype(np.int64)
        if true.size and not (0 <= min(true.min(), predicted.min()) <= max(true.max(), predicted.max()) < classes):
            raise ValueError(f"ids up to {max(true.max(), predicted.max())} where there are {classes} classes")
        pairs = np.bincount(true * classes + predicted, minlength=classes**2)
        self.counts += torch.from_numpy(pairs).view(classes, classes)

    def compute(self) -> dict:
        """Scores as in Long et al. (CVPR 2015, section 5), in percent.

        A class that the truth never shows has no score; where it is predicted, that counts against the true class.

        Returns:
            `IoU` and `Acc` a class (nan where it is not in the truth), their means `mIoU` and `mAcc`, pixel accuracy
            `aAcc`, and `fwIoU`, the IoU weighted by how frequent a class is.
        """
        counts = self.counts.double()
        hit, true, predicted = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
        iou = torch.where(true > 0, 100 * hit / (true + predicted - hit), torch.nan)
        accuracy = torch.where(true > 0, 100 * hit / true, torch.nan)
        return {
            "mIoU": iou.nanmean().item(),
            "IoU": iou.tolist(),
            "mAcc": accuracy.nanmean().item(),
            "Acc": accuracy.tolist(),
            "aAcc": (100 * hit.sum() / true.sum()).item(),
            "fwIoU": (iou.nan_to_num() * true / true.sum()).sum().item(),
        }
