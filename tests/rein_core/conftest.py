"""A tiny model that every test of this folder can afford."""

from collections.abc import Callable

import pytest
import torch

import rein_core  # noqa: F401  (its stub lets mmcv.ops be imported)


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
def factors() -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Any mask logits [l, b, q, h, w] as embeddings [l, b, q, c] and features [b, c, h, w] whose products they are."""

    def split(masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        layers, batch, queries = masks.shape[:3]
        one_hot = torch.eye(layers * queries).view(layers, 1, queries, -1).expand(-1, batch, -1, -1)
        return one_hot, masks.transpose(0, 1).flatten(1, 2)

    return split
