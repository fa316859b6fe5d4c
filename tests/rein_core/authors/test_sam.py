"""The authors' SAM against its forward pass written out."""

import pytest
import torch
import torch.nn.functional as F

from rein_core import load_authors

WINDOW, GLOBAL = 3, [1, 3]


@pytest.fixture(scope="module")
def config(literal):
    backbone = {
        "type": "ReinsSAMViT", "img_size": literal.size, "patch_size": literal.patch, "in_chans": 3,
        "embed_dim": literal.width, "depth": literal.depth, "num_heads": literal.heads, "mlp_ratio": 4,
        "qkv_bias": True, "norm_layer": {"type": "LN", "eps": 1e-6}, "use_abs_pos": True, "use_rel_pos": True,
        "window_size": WINDOW, "global_attn_indexes": GLOBAL,
    }  # fmt: skip
    return literal.config(backbone, refined=len(GLOBAL))


@pytest.fixture(scope="module")
def state(literal, config):
    c, side = literal.width, literal.size // literal.patch
    shapes = {
        "patch_embed.proj.weight": (c, 3, literal.patch, literal.patch), "patch_embed.proj.bias": (c,),
        "pos_embed": (1, side, side, c), "neck.0.weight": (8, c, 1, 1),
    }  # fmt: skip
    block = {
        "norm1.weight": (c,), "norm1.bias": (c,), "norm2.weight": (c,), "norm2.bias": (c,),
        "attn.qkv.weight": (3 * c, c), "attn.qkv.bias": (3 * c,), "attn.proj.weight": (c, c), "attn.proj.bias": (c,),
        "mlp.lin1.weight": (4 * c, c), "mlp.lin1.bias": (4 * c,),
        "mlp.lin2.weight": (c, 4 * c), "mlp.lin2.bias": (c,),
    }  # fmt: skip
    for i in range(literal.depth):
        distances = 2 * (side if i in GLOBAL else WINDOW) - 1
        relative = {f"attn.rel_pos_{axis}": (distances, c // literal.heads) for axis in "hw"}
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in (block | relative).items()}
    return literal.weights(config, shapes)


def attention(literal, w, y):
    """Over a square [b, s, s, c], with what rows and columns of the distance add."""
    side = y.shape[1]
    parts = F.linear(y.flatten(1, 2), w["attn.qkv.weight"], w["attn.qkv.bias"]).chunk(3, dim=-1)
    q, k, v = (part.unflatten(-1, (literal.heads, -1)).transpose(1, 2) for part in parts)
    rows, columns = torch.arange(side).repeat_interleave(side), torch.arange(side).repeat(side)
    bias = sum(
        (q[:, :, :, None] * w[f"attn.rel_pos_{axis}"][at[:, None] - at[None] + side - 1]).sum(dim=-1)
        for axis, at in (("h", rows), ("w", columns))
    )
    y = F.linear(literal.attend(q, k, v, bias), w["attn.proj.weight"], w["attn.proj.bias"])
    return y.unflatten(1, (side, side))


def in_windows(literal, w, y):
    """Each window alone, of a square that zeros make a whole number of windows."""
    side = y.shape[1]
    padded = F.pad(y, (0, 0, 0, -side % WINDOW, 0, -side % WINDOW))
    for top in range(0, padded.shape[1], WINDOW):
        for left in range(0, padded.shape[2], WINDOW):
            place = (slice(None), slice(top, top + WINDOW), slice(left, left + WINDOW))
            padded[place] = attention(literal, w, padded[place])
    return padded[:, :side, :side]


def test_features_and_queries(literal, config, state):
    def forward(state, images):
        vfm = literal.of_block(state, "backbone.")
        x = F.conv2d(images, vfm["patch_embed.proj.weight"], vfm["patch_embed.proj.bias"], stride=literal.patch)
        x = x.permute(0, 2, 3, 1) + vfm["pos_embed"]
        out = []
        for i in range(literal.depth):
            w = literal.of_block(vfm, f"blocks.{i}.")
            y = F.layer_norm(x, x.shape[-1:], w["norm1.weight"], w["norm1.bias"], 1e-6)
            x = x + (attention if i in GLOBAL else in_windows)(literal, w, y)
            y = F.layer_norm(x, x.shape[-1:], w["norm2.weight"], w["norm2.bias"], 1e-6)
            y = F.gelu(F.linear(y, w["mlp.lin1.weight"], w["mlp.lin1.bias"]))
            x = x + F.linear(y, w["mlp.lin2.weight"], w["mlp.lin2.bias"])
            if i in GLOBAL:
                x = literal.refine(state, x.flatten(1, 2), GLOBAL.index(i)).view_as(x)
            out.append(x.flatten(1, 2))
        return out

    literal.assert_same(load_authors(config, state), state, forward)


def test_relative_positions_of_larger_images_are_interpolated(literal, config, state):
    """Those of blocks that attend globally: the authors' are for 1024 pixels at every size."""
    random, larger = torch.Generator().manual_seed(3), dict(state)
    side = literal.size // literal.patch
    for i in GLOBAL:
        for axis in "hw":
            name = f"backbone.blocks.{i}.attn.rel_pos_{axis}"
            larger[name] = torch.randn(4 * side - 1, literal.width // literal.heads, generator=random)
            resized = F.interpolate(larger[name].T[None], size=2 * side - 1, mode="linear")[0].T
            state = state | {name: resized}
    images = torch.randn(1, 3, literal.size, literal.size, generator=random)
    with torch.no_grad():
        (features, _), (expected, _) = (load_authors(config, s).extract_feat(images) for s in (larger, state))
    torch.testing.assert_close(features, expected)


def test_what_does_not_fit_is_listed(config, state):
    broken = {name: value for name, value in state.items() if name != "backbone.blocks.3.mlp.lin1.bias"}
    broken |= {"backbone.surplus": torch.zeros(1), "backbone.blocks.2.attn.rel_pos_h": torch.zeros(9, 16)}
    with pytest.raises(ValueError) as caught:
        load_authors(config, broken)
    for part in ("1 missing: backbone.vfm.blocks.3.mlp.fc1.bias", "1 left over: backbone.vfm.surplus",
                 "1 of another shape: backbone.vfm.blocks.2.attn.rel_pos_h (9, 16) for (5, 16)"):  # fmt: skip
        assert part in str(caught.value)
