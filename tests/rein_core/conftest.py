"""A tiny model that every test of this folder can afford."""

from collections.abc import Callable

import pytest
import torch

import rein_core  # noqa: F401  (its stub lets mmcv.ops be imported)
from rein_core.mask2former.products import MaskProducts


@pytest.fixture(scope="session")
def tiny() -> Callable[..., dict]:
    """A recipe's model section: vit_tiny with random weights, Rein and a small head; parts can be replaced."""

    def section(**parts) -> dict:
        vfm = {"name": "vit_tiny", "weights": None, "img_size": 64, "seed": 0} | parts.pop("vfm", {})
        head = {
            "type": "ReinMask2FormerHead",
            "feat_channels": 32,
            "num_encoder_layers": 1,
            "num_decoder_layers": 2,
            "loss": {"num_points": 64},
        }
        default = {"vfm": vfm, "adapter": {"type": "rein", "token_length": 10, "rank": 2}, "decode_head": head}
        return default | {"test_cfg": {"mode": "whole"}} | parts

    return section


@pytest.fixture(scope="session")
def factors() -> Callable[[torch.Tensor], MaskProducts]:
    """Any mask logits [l, b, q, h, w] as products, with an offset of 1 that the features lack."""

    def split(masks: torch.Tensor) -> MaskProducts:
        layers, batch, queries = masks.shape[:3]
        one_hot = torch.eye(layers * queries).view(layers, 1, queries, -1).expand(-1, batch, -1, -1)
        return MaskProducts(one_hot, torch.ones(layers, batch, queries), masks.transpose(0, 1).flatten(1, 2) - 1)

    return split
