"""What comes to the segmentor is what mmseg's preprocessor gives, to the bit."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample

from rein_core.preprocessor import VFMPreProcessor, _pinned


def test_settings_are_mmsegs():
    assert VFMPreProcessor([1.0], [2.0]).mean.item() == SegDataPreProcessor([1.0], [2.0]).mean.item() == 1.0
    with pytest.raises(ValueError, match="would undo one another"):
        VFMPreProcessor([1.0], [2.0], bgr_to_rgb=True, rgb_to_bgr=True)


def test_only_dense_tensors_are_pinned(monkeypatch):
    """Here without a GPU, so pinning is noted only."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda data: "pinned")
    image = torch.zeros(24, 40, 3, dtype=torch.uint8).permute(2, 0, 1)
    assert _pinned(image) == "pinned"
    for other in (torch.zeros(1, 8, 8).expand(3, 8, 8), image[:, :8, :8]):
        assert _pinned(other) is other


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
