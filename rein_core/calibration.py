"""Whether a model's confidence can be believed: expected calibration error from counts that can be summed."""

import numpy as np

from rein_core.metrics import IGNORE


class CalibrationMeter:
    """Counts pixels by confidence, in equal bins (Guo et al., ICML 2017).

    Args:
        bins: of confidences from 0 to 1.

    Attributes:
        counts: float64 [bins, 3]: pixels, the sum of their confidences, and how many were right. May be summed.
    """

    def __init__(self, bins: int = 15):
        self.counts = np.zeros((bins, 3))

    def update(self, confidence: np.ndarray, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Adds one image: the likeliest class's probability, that class and the true one, [h, w]; 255 doesn't count."""
        seen = truth != IGNORE
        sure, bins = confidence[seen].astype(np.float64), len(self.counts)
        places = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
        for column, values in enumerate((None, sure, prediction[seen] == truth[seen])):
            self.counts[:, column] += np.bincount(places, values, minlength=bins)

    def compute(self) -> float:
        """The expected calibration error in percent: the mean gap of confidence and accuracy (Guo et al., eq. 3)."""
        pixels, sure, right = self.counts.T
        return float(100 * np.abs(sure - right).sum() / pixels.sum()) if pixels.sum() else float("nan")
