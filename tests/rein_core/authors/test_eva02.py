"""The authors' EVA02 against its forward pass written out."""

import pytest
import torch
import torch.nn.functional as F

from rein_core import load_authors

HIDDEN = int(32 * 4 * 2 / 3)


@pytest.fixture(scope="module")
def config(literal):
    return literal.config({
        "type": "ReinsEVA2", "img_size": literal.size, "patch_size": literal.patch, "embed_dim": literal.width,
        "depth": literal.depth, "num_heads": literal.heads, "mlp_ratio": 4 * 2 / 3, "qkv_bias": True,
        "init_values": None, "use_abs_pos_emb": True, "use_rel_pos_bias": False, "rope": True, "pt_hw_seq_len": 16,
        "intp_freq": True, "subln": True, "naiveswiglu": True, "norm_layer": {"type": "LN", "eps": 1e-6},
    })  # fmt: skip


@pytest.fixture(scope="module")
def state(literal, config):
    c, patches, half = literal.width, (literal.size // literal.patch) ** 2, literal.width // literal.heads
    shapes = {
        "cls_token": (1, 1, c), "pos_embed": (1, 1 + patches, c), "rope.freqs_cos": (patches, half),
        "rope.freqs_sin": (patches, half), "patch_embed.proj.weight": (c, 3, literal.patch, literal.patch),
        "patch_embed.proj.bias": (c,),
    }  # fmt: skip
    block = {
        "norm1.weight": (c,), "norm1.bias": (c,), "norm2.weight": (c,), "norm2.bias": (c,),
        "attn.q_proj.weight": (c, c), "attn.k_proj.weight": (c, c), "attn.v_proj.weight": (c, c),
        "attn.q_bias": (c,), "attn.v_bias": (c,), "attn.proj.weight": (c, c), "attn.proj.bias": (c,),
        "attn.rope.freqs_cos": (patches, half), "attn.rope.freqs_sin": (patches, half),
        "mlp.w1.weight": (HIDDEN, c), "mlp.w1.bias": (HIDDEN,), "mlp.w2.weight": (HIDDEN, c), "mlp.w2.bias": (HIDDEN,),
        "mlp.ffn_ln.weight": (HIDDEN,), "mlp.ffn_ln.bias": (HIDDEN,),
        "mlp.w3.weight": (c, HIDDEN), "mlp.w3.bias": (c,),
    }  # fmt: skip
    for i in range(literal.depth):
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in block.items()}
    return literal.weights(config, shapes)


def rotate(x, side, reference=16):
    """Rotary positions [b, heads, side², d]: half of the channels turn with the row, half with the column."""
    frequencies = 10000 ** -(torch.arange(0, x.shape[-1] // 2, 2) / (x.shape[-1] // 2))
    places = torch.arange(side) / side * reference
    turns = (places[:, None] * frequencies).repeat_interleave(2, dim=-1)
    rows, columns = turns[:, None].expand(-1, side, -1), turns[None].expand(side, -1, -1)
    angles = torch.cat([rows, columns], dim=-1).flatten(0, 1)
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return x * angles.cos() + turned * angles.sin()


def test_features_and_queries(literal, config, state):
    def forward(state, images):
        vfm = literal.of_block(state, "backbone.")
        x = F.conv2d(images, vfm["patch_embed.proj.weight"], vfm["patch_embed.proj.bias"], stride=literal.patch)
        side = x.shape[-1]
        x = torch.cat([vfm["cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        x = x + vfm["pos_embed"]
        out = []
        for i in range(literal.depth):
            w = literal.of_block(vfm, f"blocks.{i}.")
            y = F.layer_norm(x, x.shape[-1:], w["norm1.weight"], w["norm1.bias"], 1e-6)
            q = F.linear(y, w["attn.q_proj.weight"], w["attn.q_bias"])
            k = F.linear(y, w["attn.k_proj.weight"])
            v = F.linear(y, w["attn.v_proj.weight"], w["attn.v_bias"])
            q, k, v = (part.unflatten(-1, (literal.heads, -1)).transpose(1, 2) for part in (q, k, v))
            q, k = (torch.cat([part[:, :, :1], rotate(part[:, :, 1:], side)], dim=2) for part in (q, k))
            x = x + F.linear(literal.attend(q, k, v), w["attn.proj.weight"], w["attn.proj.bias"])
            y = F.layer_norm(x, x.shape[-1:], w["norm2.weight"], w["norm2.bias"], 1e-6)
            gate, value = (F.linear(y, w[f"mlp.{n}.weight"], w[f"mlp.{n}.bias"]) for n in ("w1", "w2"))
            y = F.layer_norm(F.silu(gate) * value, (HIDDEN,), w["mlp.ffn_ln.weight"], w["mlp.ffn_ln.bias"], 1e-6)
            x = x + F.linear(y, w["mlp.w3.weight"], w["mlp.w3.bias"])
            x = torch.cat([x[:, :1], literal.refine(state, x[:, 1:], i)], dim=1)
            out.append(x[:, 1:])
        return out

    literal.assert_same(load_authors(config, state), state, forward)


def test_what_does_not_fit_is_listed(config, state):
    broken = {name: value for name, value in state.items() if name != "backbone.blocks.2.attn.q_bias"}
    broken |= {"backbone.surplus": torch.zeros(1), "backbone.pos_embed": torch.zeros(1, 10, 32)}
    with pytest.raises(ValueError) as caught:
        load_authors(config, broken)
    for part in ("1 missing: backbone.vfm.blocks.2.attn.q_proj.bias", "1 left over: backbone.vfm.surplus",
                 "1 of another shape: backbone.vfm.pos_embed (1, 10, 32) for (1, 17, 32)"):  # fmt: skip
        assert part in str(caught.value)
