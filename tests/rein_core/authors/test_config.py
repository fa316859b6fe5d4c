"""The authors' configs leave out what is a default of theirs; switches of Rein change which parameters there are."""

import pytest
import torch

from rein_core import load_authors
from rein_core.authors import READERS, _our_config
from rein_core.segmentor import build

KINDS = {
    "ReinsDinoVisionTransformer": {"img_size": 224, "embed_dim": 32, "depth": 4, "num_heads": 2, "mlp_ratio": 4},
    "ReinsEVA2": {
        "img_size": 64, "embed_dim": 32, "depth": 4, "num_heads": 2, "mlp_ratio": 4 * 2 / 3, "qkv_bias": True,
        "use_abs_pos_emb": True, "rope": True,
    },
    "ReinsCLIPVisionTransformer": {
        "input_resolution": 64, "patch_size": 16, "width": 32, "layers": 4, "heads": 2, "drop_path_rate": 0.1,
    },
    "ReinsSAMViT": {
        "img_size": 64, "embed_dim": 32, "depth": 4, "num_heads": 2, "global_attn_indexes": [1, 3], "window_size": 3,
        "use_rel_pos": True,
    },
}  # fmt: skip
"""With the keys that their published configs have, of a small model."""
DEFAULTS = {
    "ReinsDinoVisionTransformer": {"patch_size": 16, "init_values": None},
    "ReinsEVA2": {"patch_size": 16, "init_values": None, "pt_hw_seq_len": 16},
    "ReinsCLIPVisionTransformer": {},
    "ReinsSAMViT": {"patch_size": 16, "mlp_ratio": 4.0, "qkv_bias": True, "use_abs_pos": True},
}


def published(literal, kind: str) -> dict:
    """With the queries of Rein's default width, and so the head."""
    config = literal.config(KINDS[kind] | {"type": kind}, refined=2 if kind == "ReinsSAMViT" else literal.depth)
    for name in ("query_dims", "token_length"):
        del config["backbone"]["reins_config"][name]
    config["decode_head"] |= {"feat_channels": 256, "num_queries": 100}
    return config


def shapes(config: dict) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in build(_our_config(config)).state_dict().items()}


@pytest.mark.parametrize("kind", READERS)
def test_what_is_left_out_is_as_with_the_authors(literal, kind):
    short, whole = published(literal, kind), published(literal, kind)
    whole["backbone"] |= DEFAULTS[kind]
    whole["backbone"]["reins_config"] |= {"query_dims": 256, "token_length": 100, "link_token_to_query": True}
    assert shapes(short) == shapes(whole)
    assert shapes(short)["backbone.reins.transform.weight"] == (256, 32)


@pytest.fixture
def model(literal):
    """A config and its state, as of the authors' DINOv2."""
    backbone = KINDS["ReinsDinoVisionTransformer"] | {"type": "ReinsDinoVisionTransformer", "img_size": literal.size}
    config = literal.config(backbone)
    ours = build(_our_config(config)).state_dict()
    random = torch.Generator().manual_seed(0)
    state = {name: torch.randn(value.shape, generator=random) * 0.1 for name, value in ours.items()}
    return config, {name.replace("backbone.vfm.", "backbone."): value for name, value in state.items()}


def test_a_model_whose_last_mlp_began_at_zero_has_no_scale(model):
    """It is 1 there, and no parameter."""
    config, state = model
    images, scale = torch.randn(1, 3, 64, 64), state.pop("backbone.reins.scale")
    with pytest.raises(ValueError, match="1 missing: backbone.reins.scale"):
        load_authors(config, state)
    config["backbone"]["reins_config"]["zero_mlp_delta_f"] = True
    features, _ = load_authors(config, state).extract_feat(images)
    config["backbone"]["reins_config"]["zero_mlp_delta_f"] = False
    expected, _ = load_authors(config, state | {"backbone.reins.scale": torch.ones_like(scale)}).extract_feat(images)
    torch.testing.assert_close(features, expected)


def test_a_model_that_is_not_linked_keeps_the_link_unused(model):
    config, state = model
    config["backbone"]["reins_config"]["link_token_to_query"] = False
    config["decode_head"]["type"] = "Mask2FormerHead"
    head = build(_our_config(config)).decode_head.state_dict()
    state = {name: value for name, value in state.items() if not name.startswith("decode_head.")}
    segmentor = load_authors(config, state | {f"decode_head.{name}": value for name, value in head.items()})
    assert not [name for name in segmentor.state_dict() if "reins.transform" in name or "reins.merge" in name]
