"""The authors' CLIP against its forward pass written out, and OpenAI's file resized as they do."""

import pytest
import torch
import torch.nn.functional as F

from rein_core import load_authors
from rein_core.authors import vfm_from_release


@pytest.fixture(scope="module")
def config(literal):
    return literal.config({
        "type": "ReinsCLIPVisionTransformer", "patch_size": literal.patch, "width": literal.width,
        "layers": literal.depth, "heads": literal.heads, "input_resolution": literal.size, "output_dim": 16,
        "get_embeddings": False, "style": "pytorch",
    })  # fmt: skip


def shapes(literal, patch, patches) -> dict:
    c = literal.width
    named = {
        "conv1.weight": (c, 3, patch, patch), "class_embedding": (c,), "positional_embedding": (1 + patches, c),
        "ln_pre.weight": (c,), "ln_pre.bias": (c,),
    }  # fmt: skip
    block = {
        "ln_1.weight": (c,), "ln_1.bias": (c,), "ln_2.weight": (c,), "ln_2.bias": (c,),
        "attn.in_proj_weight": (3 * c, c), "attn.in_proj_bias": (3 * c,),
        "attn.out_proj.weight": (c, c), "attn.out_proj.bias": (c,),
        "mlp.c_fc.weight": (4 * c, c), "mlp.c_fc.bias": (4 * c,),
        "mlp.c_proj.weight": (c, 4 * c), "mlp.c_proj.bias": (c,),
    }  # fmt: skip
    for i in range(literal.depth):
        named |= {f"transformer.resblocks.{i}.{name}": shape for name, shape in block.items()}
    return named


@pytest.fixture(scope="module")
def state(literal, config):
    return literal.weights(config, shapes(literal, literal.patch, (literal.size // literal.patch) ** 2))


def test_features_and_queries(literal, config, state):
    def forward(state, images):
        vfm = literal.of_block(state, "backbone.")
        x = F.conv2d(images, vfm["conv1.weight"], stride=literal.patch).flatten(2).transpose(1, 2)
        class_token = vfm["class_embedding"].expand(len(x), 1, -1)
        positions = vfm["positional_embedding"]
        positions = torch.cat([positions[:1] + vfm["class_embedding"], positions[1:]])
        x = torch.cat([class_token, x], dim=1) + positions
        x = F.layer_norm(x, x.shape[-1:], vfm["ln_pre.weight"], vfm["ln_pre.bias"], 1e-5)
        out = []
        for i in range(literal.depth):
            w = literal.of_block(vfm, f"transformer.resblocks.{i}.")
            y = F.layer_norm(x, x.shape[-1:], w["ln_1.weight"], w["ln_1.bias"], 1e-5)
            parts = F.linear(y, w["attn.in_proj_weight"], w["attn.in_proj_bias"]).chunk(3, dim=-1)
            q, k, v = (part.unflatten(-1, (literal.heads, -1)).transpose(1, 2) for part in parts)
            x = x + F.linear(literal.attend(q, k, v), w["attn.out_proj.weight"], w["attn.out_proj.bias"])
            y = F.layer_norm(x, x.shape[-1:], w["ln_2.weight"], w["ln_2.bias"], 1e-5)
            y = F.linear(y, w["mlp.c_fc.weight"], w["mlp.c_fc.bias"])
            x = x + F.linear(y * torch.sigmoid(1.702 * y), w["mlp.c_proj.weight"], w["mlp.c_proj.bias"])
            x = torch.cat([x[:, :1], literal.refine(state, x[:, 1:], i)], dim=1)
            out.append(x[:, 1:])
        return out

    literal.assert_same(load_authors(config, state), state, forward)


def test_the_original_file_is_resized_as_the_authors_do(literal, config, state):
    """Kernel 14 → 16 and position grid 3 → 4."""
    random = torch.Generator().manual_seed(2)
    release = {f"visual.{n}": torch.randn(s, generator=random) for n, s in shapes(literal, 14, 9).items()}
    text = {"transformer.resblocks.0.ln_1.weight": torch.zeros(3), "logit_scale": torch.zeros(())}
    head = {"visual.ln_post.weight": torch.zeros(3), "visual.proj": torch.zeros(3, 3)}
    ours = vfm_from_release(config, release | text | head)

    kernel = F.interpolate(release["visual.conv1.weight"], size=(16, 16), mode="bicubic")
    torch.testing.assert_close(ours["patch_embed.proj.weight"], kernel)
    positions, class_token = release["visual.positional_embedding"], release["visual.class_embedding"]
    grid = positions[1:].reshape(1, 3, 3, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(4, 4), mode="bilinear").permute(0, 2, 3, 1).flatten(1, 2)
    torch.testing.assert_close(ours["pos_embed"][:, 1:], grid)
    torch.testing.assert_close(ours["pos_embed"][0, 0], positions[0] + class_token)
    vfm = load_authors(config, state).backbone.vfm
    assert {n: v.shape for n, v in ours.items()} == {n: v.shape for n, v in vfm.state_dict().items()}


def test_another_file_is_refused(config):
    with pytest.raises(ValueError, match="not OpenAI's CLIP: no visual.class_embedding"):
        vfm_from_release(config, {"cls_token": torch.zeros(1, 1, 32)})


def test_what_does_not_fit_is_listed(config, state):
    """So is the variant with learned levels, which is not read."""
    broken = {name: value for name, value in state.items() if not name.endswith("resblocks.1.ln_2.bias")}
    broken |= {f"backbone.{name}": torch.zeros(1) for name in ("fpn1.0.weight", "fpn4.bias")}
    broken["backbone.positional_embedding"] = torch.zeros(10, 32)
    with pytest.raises(ValueError) as caught:
        load_authors(config, broken)
    for part in ("1 missing: backbone.vfm.blocks.1.norm2.bias",
                 "2 left over: backbone.vfm.fpn1.0.weight, backbone.vfm.fpn4.bias",
                 "1 of another shape: backbone.vfm.pos_embed (1, 10, 32) for (1, 17, 32)"):  # fmt: skip
        assert part in str(caught.value)
