"""Images are normalised as in the pretraining that the weights come from, by constants of the releases; no download."""

import pytest
import torch

from rein_core import build_segmentor, vfms
from rein_core.checkpoint import load_checkpoint, save_checkpoint
from rein_core.normalisation import normalisation

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}
SATELLITE = {"mean": [0.430, 0.411, 0.296], "std": [0.213, 0.156, 0.143]}  # DINOv3's of SAT-493M


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        ("dinov3_large", None, IMAGENET),
        ("dinov3_large", "hub", IMAGENET),
        ("dinov3_large", "vit_large_patch16_dinov3.lvd1689m", IMAGENET),
        ("dinov3_large", "vit_large_patch16_dinov3.sat493m", SATELLITE),
        ("dinov3_large", "hf-hub:timm/vit_large_patch16_dinov3.sat493m", SATELLITE),
        ("dinov3_large", "hf-hub:timm/vit_large_patch16_dinov3.sat493m@main", SATELLITE),
        ("dinov3_large", "hf-hub:timm/vit_large_patch16_dinov3.unheard_of", IMAGENET),
        ("dinov3_large", "hf-hub:someone/vit_large_patch16_dinov3.sat493m", IMAGENET),
        ("dinov3_large", "/weights/vit_large_patch16_dinov3.sat493m.safetensors", IMAGENET),
        ("mae_large", None, IMAGENET),
        ("mae_large", "vit_large_patch16_224.augreg_in21k", HALF),
    ],
)
def test_weights_say_how_images_are_normalised(name, weights, expected):
    found = normalisation({"vfm": {"name": name, "weights": weights}})
    assert found == {key: pytest.approx([255 * share for share in shares]) for key, shares in expected.items()}


def test_a_section_that_says_its_own():
    vfm = {"name": "mae_large", "weights": "vit_large_patch16_224.augreg_in21k"}
    assert normalisation({"vfm": vfm, "mean": (1, 2, 3)}) == {"mean": [1, 2, 3], "std": [127.5] * 3}


def test_a_checkpoint_keeps_them_where_its_weights_come_from_a_file(tiny, tmp_path, monkeypatch):
    """vit_tiny's own mean is 0.5; it stands in for the weights that are asked for, whose is ImageNet's."""
    released = vfms.load_vfm("vit_tiny", None, img_size=224)[0].state_dict()
    torch.save(released, tmp_path / "vfm.pth")
    monkeypatch.setattr(vfms, "_hub_weights", lambda *_: released)
    model = tiny(vfm={"weights": "vit_small_patch14_dinov2.lvd142m"})
    segmentor = build_segmentor(model)
    save_checkpoint(tmp_path / "checkpoint", segmentor, {"model": model}, {})
    loaded, recipe, _ = load_checkpoint(tmp_path / "checkpoint", str(tmp_path / "vfm.pth"))
    for each in (segmentor, loaded, build_segmentor(recipe["model"])):
        assert each.data_preprocessor.mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
