"""What comes to the segmentor is what mmseg's preprocessor gives, to the bit."""

import torch
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample

from rein_core.preprocessor import VFMPreProcessor


def test_images_and_labels_are_mmsegs():
    settings = {"mean": [1.5, 2.5, 3.5], "std": [4.0, 5.0, 6.0], "bgr_to_rgb": True, "size_divisor": 16}
    images = torch.randint(0, 256, (2, 24, 40, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    for training in (True, False):
        samples = [[SegDataSample(gt_sem_seg=PixelData(data=torch.full((1, 24, 40), i))) for i in range(2)]
                   for _ in range(2)]  # fmt: skip
        ours, theirs = (
            kind(**settings)({"inputs": list(images), "data_samples": given}, training=training)
            for kind, given in zip((VFMPreProcessor, SegDataPreProcessor), samples, strict=True)
        )
        assert torch.equal(ours["inputs"], theirs["inputs"])
        assert ours["inputs"].stride() == theirs["inputs"].stride()
        for one, other in zip(ours["data_samples"], theirs["data_samples"], strict=True):
            assert torch.equal(one.gt_sem_seg.data, other.gt_sem_seg.data)
