"""One image's probabilities: they sum to one, and test-time augmentation is the mean of its views."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.structures import SegDataSample

from rein_core import build_segmentor, predict_labels, predict_probabilities
from rein_core.inference import _padded, labels_of
from rein_core.vfms import VFMS

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


@pytest.fixture(params=["ReinMask2FormerHead", "linear"])
def segmentor(request, tiny):
    torch.manual_seed(0)
    head = tiny()["decode_head"] if request.param == "ReinMask2FormerHead" else {"type": request.param}
    return build_segmentor(tiny(decode_head=head)).eval()


def test_probabilities_sum_to_one_and_agree_with_the_labels(segmentor):
    probabilities = predict_probabilities(segmentor, IMAGE, short_edge=64)
    assert probabilities.shape == (19, 48, 80) and probabilities.min() >= 0
    assert torch.allclose(probabilities.sum(dim=0), torch.ones(48, 80), atol=1e-5)
    assert np.array_equal(labels_of(probabilities), predict_labels(segmentor, IMAGE, 64))


def test_views_are_averaged(segmentor):
    """By hand: each view resized and mirrored before, and mirrored back after."""
    parts = []
    for scale in (1.0, 1.5):
        resized = cv2.resize(IMAGE, (int(80 * scale), int(48 * scale)), interpolation=cv2.INTER_LINEAR)
        for mirrored in (False, True):
            view = np.ascontiguousarray(resized[:, ::-1]) if mirrored else resized
            seen = predict_probabilities(segmentor, view)
            seen = seen.flip(dims=[-1]) if mirrored else seen
            parts.append(torch.nn.functional.interpolate(seen[None], (48, 80), mode="bilinear")[0])
    found = predict_probabilities(segmentor, IMAGE, scales=(1.0, 1.5), flip=True)
    assert torch.allclose(found, torch.stack(parts).mean(dim=0), atol=0.02)
    assert not torch.allclose(found, parts[0], atol=1e-4)


def test_flips_are_averaged_as_in_mmseg(tiny):
    """mmseg's SegTTAModel on the same two views gives the same labels."""
    torch.manual_seed(0)
    segmentor = build_segmentor(tiny(decode_head={"type": "linear"})).eval()
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    samples = []
    for mirrored in (False, True):
        view = torch.from_numpy(np.ascontiguousarray(image[:, ::-1] if mirrored else image)).permute(2, 0, 1)
        inputs = segmentor.data_preprocessor({"inputs": [view]}, training=False)["inputs"]
        meta = {"img_shape": (64, 64), "ori_shape": (64, 64), "pad_shape": (64, 64)}
        with torch.inference_mode():
            logits = segmentor.inference(inputs, [meta])[0]
        sample = SegDataSample(metainfo=meta | {"flip": mirrored, "flip_direction": "horizontal", "img_path": None})
        sample.seg_logits = PixelData(data=logits.flip(dims=[-1]) if mirrored else logits)
        samples.append(sample)
    merged = SegTTAModel(module=segmentor).merge_preds([samples])
    assert np.array_equal(merged[0].pred_sem_seg.data[0].numpy(), predict_labels(segmentor, image, flip=True))


@pytest.mark.parametrize("head", ["ReinMask2FormerHead", "linear", "semantic_fpn"])
@pytest.mark.parametrize(
    ("adapter", "architecture"),
    [("rein", "vit_tiny_patch16_224"), ("fada", "vit_tiny_patch16_224"), ("rein", "convnext_atto"),
     ("rein", "samvit_base_patch16_224")],
)  # fmt: skip
def test_thumbnails_are_predicted_too(tiny, monkeypatch, adapter, architecture, head):
    """Whole: they are padded until norms over places have more than one; what is larger is only made of patches."""
    monkeypatch.setitem(VFMS, "any", architecture)
    parts = {} if head == "ReinMask2FormerHead" else {"decode_head": {"type": head}}
    small = {"type": adapter, "token_length": 5, "rank": 2}
    model = build_segmentor(tiny(vfm={"name": "any", "img_size": 224}, adapter=small, **parts)).eval()
    for size in ((1, 1), (10, 40), (20, 20), (1, 90)):
        probabilities = predict_probabilities(model, IMAGE[: size[0], : size[1]])
        assert probabilities.shape[1:] == IMAGE[: size[0], : size[1]].shape[:2] and probabilities.isfinite().all()
    patch = 32 if architecture == "convnext_atto" else 16
    assert _padded(model, (65, 130)) == (-(-65 // patch) * patch, -(-130 // patch) * patch)
    assert _padded(model, (64, 20)) == (64, 64)


@pytest.mark.parametrize("patch", [8, 14])
def test_thumbnails_with_any_patch(tiny, patch):
    model = build_segmentor(tiny(vfm={"patch_size": patch, "img_size": 5 * patch})).eval()
    assert _padded(model, (1, 5 * patch)) == (4 * patch, 5 * patch)
    assert predict_labels(model, IMAGE[:1, :3]).shape == (1, 3)
