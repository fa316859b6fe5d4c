"""Small models as the authors' configs and parameter names describe them, with Rein and levels written out."""

import argparse

import pytest
import torch
import torch.nn.functional as F

from rein_core.mask2former import head_from_authors
from rein_core.segmentor import build

SIZE, PATCH, WIDTH, HEADS, DEPTH, TOKENS, RANK, QUERY_DIMS = 64, 16, 32, 2, 4, 10, 3, 32


def config(backbone: dict, refined: int = DEPTH) -> dict:
    """`model` of an mmseg config, with the small head that all share; Rein in `refined` blocks."""
    attention, ffn = {"embed_dims": QUERY_DIMS, "num_heads": 4}, {"feedforward_channels": 32}
    reins = {
        "type": "LoRAReins", "token_length": TOKENS, "embed_dims": WIDTH, "num_layers": refined, "patch_size": PATCH,
        "query_dims": QUERY_DIMS, "link_token_to_query": True, "lora_dim": RANK,
    }  # fmt: skip
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": {"type": "SegDataPreProcessor", "mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]},
        "backbone": backbone | {"out_indices": [0, 1, 2, 3], "reins_config": reins},
        "decode_head": {
            "type": "ReinMask2FormerHead", "replace_query_feat": True, "in_channels": [WIDTH] * 4,
            "feat_channels": QUERY_DIMS, "num_classes": 19, "num_queries": TOKENS,
            "pixel_decoder": {"encoder": {"num_layers": 1, "layer_cfg": {"ffn_cfg": ffn}}},
            "transformer_decoder": {"num_layers": 1, "layer_cfg": {"self_attn_cfg": attention, "ffn_cfg": ffn}},
            "loss_cls": {"loss_weight": 2.0, "class_weight": [1.0] * 19 + [0.1]},
            "loss_mask": {"loss_weight": 5.0}, "loss_dice": {"loss_weight": 5.0},
            "train_cfg": {"num_points": 64, "oversample_ratio": 3.0, "importance_sample_ratio": 0.75},
        },
        "test_cfg": {"mode": "slide", "crop_size": (SIZE, SIZE), "stride": (42, 42)},
    }  # fmt: skip


def weights(model: dict, vfm: dict[str, tuple]) -> dict[str, torch.Tensor]:
    """Random values under the authors' names; `vfm` has the shapes of the VFM's, without `backbone.`."""
    refined = model["backbone"]["reins_config"]["num_layers"]
    reins = {
        "learnable_tokens_a": (refined, TOKENS, RANK), "learnable_tokens_b": (refined, RANK, WIDTH), "scale": (),
        "mlp_token2feat.weight": (WIDTH, WIDTH), "mlp_token2feat.bias": (WIDTH,),
        "mlp_delta_f.weight": (WIDTH, WIDTH), "mlp_delta_f.bias": (WIDTH,),
        "transform.weight": (QUERY_DIMS, WIDTH), "transform.bias": (QUERY_DIMS,),
        "merge.weight": (QUERY_DIMS, 3 * QUERY_DIMS), "merge.bias": (QUERY_DIMS,),
    }  # fmt: skip
    random = torch.Generator().manual_seed(0)
    shapes = vfm | {f"reins.{name}": shape for name, shape in reins.items()}
    state = {f"backbone.{name}": torch.randn(shape, generator=random) * 0.3 for name, shape in shapes.items()}
    state["backbone.reins.scale"] = torch.tensor(0.7)
    head = build({"type": "ReinMask2FormerHead"} | head_from_authors(model["decode_head"])).state_dict()
    return state | {f"decode_head.{name}": value for name, value in head.items()}


def refine(state: dict, f: torch.Tensor, i: int) -> torch.Tensor:
    """Rein's equations 1 to 4 for the i-th of the refined blocks, word by word; f is [b, n, c]."""
    w = {name.removeprefix("backbone.reins."): value for name, value in state.items()}
    tokens = w["learnable_tokens_a"][i] @ w["learnable_tokens_b"][i]
    similarity = torch.softmax(f @ tokens.T / WIDTH**0.5, dim=-1)
    delta = similarity[..., 1:] @ (tokens[1:] @ w["mlp_token2feat.weight"].T + w["mlp_token2feat.bias"])
    return f + w["scale"] * ((delta + f) @ w["mlp_delta_f.weight"].T + w["mlp_delta_f.bias"])


def queries(state: dict) -> torch.Tensor:
    """Rein's equation 5; max, mean and last are side by side for each channel."""
    w = {name.removeprefix("backbone.reins."): value for name, value in state.items()}
    tokens = w["learnable_tokens_a"] @ w["learnable_tokens_b"]
    each = tokens @ w["transform.weight"].T + w["transform.bias"]
    three = torch.stack([each.max(dim=0).values, each.mean(dim=0), each[-1]], dim=-1).reshape(TOKENS, 3 * QUERY_DIMS)
    return three @ w["merge.weight"].T + w["merge.bias"]


def levels(blocks: list[torch.Tensor]) -> list[torch.Tensor]:
    """Patches [b, n, c] after each of four blocks → the head's levels."""
    side = SIZE // PATCH
    maps = [f.transpose(1, 2).reshape(len(f), WIDTH, side, side) for f in blocks]
    return [F.interpolate(m, scale_factor=s, mode="bilinear") for m, s in zip(maps, (4, 2, 1, 0.5), strict=True)]


def of_block(state: dict, prefix: str) -> dict[str, torch.Tensor]:
    """What is named under `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | float = 0.0) -> torch.Tensor:
    """Attention over heads: q, k, v [b, heads, n, d] and what is added to the logits → [b, n, heads d]."""
    logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias
    return (logits.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


def assert_same(segmentor: torch.nn.Module, state: dict, forward) -> None:
    """Levels and queries equal the literal ones, and would not without the adapter; `forward(state, images)`."""
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features, linked = segmentor.extract_feat(images)
        expected = levels(forward(state, images))
        frozen = levels(forward(state | {"backbone.reins.scale": torch.tensor(0.0)}, images))
    for actual, wanted in zip(features, expected, strict=True):
        torch.testing.assert_close(actual, wanted, atol=1e-4, rtol=1e-4)
    assert (expected[-1] - frozen[-1]).abs().mean() > 0.1 * expected[-1].abs().mean()
    torch.testing.assert_close(linked, queries(state), atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="session")
def literal() -> argparse.Namespace:
    """The functions and sizes above."""
    sizes = {"size": SIZE, "patch": PATCH, "width": WIDTH, "heads": HEADS, "depth": DEPTH}
    functions = (config, weights, refine, of_block, attend, assert_same)
    return argparse.Namespace(**sizes, **{function.__name__: function for function in functions})
