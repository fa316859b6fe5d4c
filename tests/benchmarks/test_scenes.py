"""The probe of scenes: what is worked out by hand, and that it tells apart what it should."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import scenes
from benchmarks.evidence import streets
from datasets.labels import CLASSES


def test_shares_of_classes_in_patches():
    """A wall is a building; what is no class of CamVid's counts for nothing."""
    label = np.full((32, 32), 7, np.uint8)
    label[:, :8], label[16:, 16:] = 12, 1
    found = scenes.shares(label, (2, 2))
    road, building = CLASSES.index("road"), CLASSES.index("building")
    assert found.shape == (2, 2, 19)
    assert (found[0, 0, road], found[0, 0, building], found[0, 1, road]) == (0.5, 0.5, 1)
    assert found[1, 1].sum() == 0 and found.sum() == 3


@pytest.fixture(scope="module")
def work(tmp_path_factory, run_command):
    """Scenes in the place of the real domains: a probe of a random VFM still finds what is sky and what road."""
    root = tmp_path_factory.mktemp("probe")
    raw = root / "raw"
    run_command("scenes", raw, "--count", 8, "--size", "64x96", "--seed", 3)
    for name in scenes.DOMAINS:
        streets.ingest_as_camvid(root, name, raw, streets.GTAV)
    return root


def test_a_probe_for_real(work, capsys):
    argv = [
        "--work",
        str(work),
        "--vfm",
        "vit_tiny",
        "--count",
        "6",
        "--seeds",
        "1",
        "2",
        "--short-edge",
        "64",
        "--json",
    ]
    scenes.main([*argv, "--steps", "60"])
    told = json.loads(capsys.readouterr().out)
    assert told["mIoU"].keys() == set(scenes.DOMAINS) and len(told["seeds"]["idd-lite"]) == 2
    mean, deviation = told["mIoU"]["camvid-val"]
    assert mean == pytest.approx(np.mean(told["seeds"]["camvid-val"]), abs=0.01) and deviation >= 0
    assert mean > 10  # all road gives 3


def test_features_are_those_of_the_vfm():
    vfm = scenes.Probed({"name": "vit_tiny", "img_size": 64})
    image = np.random.default_rng(0).integers(0, 255, (48, 96, 3), np.uint8)
    found = scenes.features(vfm, image, 32)
    assert found.shape == (2, 4, vfm.backbone.vfm.embed_dim)
    assert torch.allclose(found.mean(dim=-1), torch.zeros(2, 4), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [("dinov2_small", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
     ("clip_large", (122.771, 116.746, 104.094), (68.5, 66.632, 70.323))],
)  # fmt: skip
def test_images_are_normalised_as_in_the_pretraining(name, mean, std, monkeypatch):
    class Seeing(nn.Module):
        def __init__(self, *_):
            super().__init__()

        def forward(self, image: torch.Tensor, resize: bool) -> tuple[list[torch.Tensor], None]:
            self.image = image
            return [image], None

    monkeypatch.setattr(scenes, "VFMBackbone", Seeing)
    vfm = scenes.Probed({"name": name})
    scenes.features(vfm, np.full((32, 32, 3), 255, np.uint8), 32)
    white = (255 - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(vfm.backbone.image, white.view(1, 3, 1, 1).expand(1, 3, 32, 32), atol=1e-4, rtol=1e-4)
