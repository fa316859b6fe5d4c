"""What a report page is made from."""

from dataclasses import dataclass, field

import numpy as np

from datasets.labels import LabelSpace


@dataclass(frozen=True)
class Picture:
    """One sample that the page shows.

    Args:
        name: the sample's name.
        why: "best", "worst" or "random": under which heading it stands.
        miou: of this image alone, in percent; NaN where no pixel counts.
        image: BGR uint8 [h, w, 3].
        truth, prediction: ids of the domain's label space, uint8 [h, w], 255 where ignored.
    """

    name: str
    why: str
    miou: float
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray


@dataclass(frozen=True)
class Domain:
    """A model's scores on one data set.

    Args:
        name: the domain's name, as in the scores' tables.
        space: the classes it is labelled in.
        scores: "mIoU", "mAcc", "aAcc", "fwIoU" in percent; "IoU" and "Acc" {class: percent}, without the classes that
            the truth never shows; "samples", "resolution", "uri", "digest" of the shards; where measured also "ECE",
            "boundary_mIoU" in percent and "boundary_IoU" {class: percent}.
        confusion: pixels, int64 [C, C], true class by predicted class.
        calibration: float64 [bins, 3]: pixels, sum of confidences and hits of each equally wide bin of confidence.
        pictures: samples to show, in the order of the page.
    """

    name: str
    space: LabelSpace
    scores: dict
    confusion: np.ndarray
    calibration: np.ndarray | None = None
    pictures: list[Picture] = field(default_factory=list)
