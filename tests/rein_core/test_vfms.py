"""VFMs: every key of a weight file is accounted for, and timm's model computes what DINOv2 defines."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from rein_core.vfms import bicubic, load_vfm, read_weights


@pytest.fixture(scope="module")
def weights(shared) -> str:
    return str(shared("weights") / "dinov2_vits14_fp16.pth")


def literal_dinov2(state: dict, image: torch.Tensor, depth: int) -> torch.Tensor:
    """DINOv2-S/14 (Oquab et al., 2023) from its raw weights, block by block, with 6 heads."""
    x = F.conv2d(image, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14)
    side = x.shape[-1]
    grid = state["pos_embed"][:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    positions = bicubic(grid, [side, side]).flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"] + state["pos_embed"][:, :1], x.flatten(2).transpose(1, 2) + positions], dim=1)
    for i in range(depth):
        w = {name.removeprefix(f"blocks.{i}."): v for name, v in state.items() if name.startswith(f"blocks.{i}.")}
        y = F.layer_norm(x, (384,), w["norm1.weight"], w["norm1.bias"], 1e-6)
        q, k, v = F.linear(y, w["attn.qkv.weight"], w["attn.qkv.bias"]).unflatten(-1, (3, 6, 64)).permute(2, 0, 3, 1, 4)
        y = ((q @ k.transpose(-1, -2) / 8).softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + w["ls1.gamma"] * F.linear(y, w["attn.proj.weight"], w["attn.proj.bias"])
        y = F.layer_norm(x, (384,), w["norm2.weight"], w["norm2.bias"], 1e-6)
        y = F.gelu(F.linear(y, w["mlp.fc1.weight"], w["mlp.fc1.bias"]))
        x = x + w["ls2.gamma"] * F.linear(y, w["mlp.fc2.weight"], w["mlp.fc2.bias"])
    return x[:, 1:]


def test_real_weights_compute_dinov2(weights):
    model, report = load_vfm("dinov2_small", weights, patch_size=14, img_size=70)
    assert report.matched and not report.missing and not report.unexpected and report.resized == ["pos_embed"]
    image = torch.randn(1, 3, 70, 70, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = model.eval().forward_intermediates(image, indices=[11], norm=False, output_fmt="NLC")[1][0]
        expected = literal_dinov2(read_weights(weights), image, depth=12)
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=1e-3)


def test_patch_16_features_are_like_those_of_patch_14(weights):
    image = F.interpolate(torch.randn(1, 3, 7, 7, generator=torch.Generator().manual_seed(0)), scale_factor=32)
    features = []
    for patch in (14, 16):
        model, report = load_vfm("dinov2_small", weights, patch_size=patch, img_size=14 * patch)
        resized = F.interpolate(image, size=(14 * patch, 14 * patch), mode="bilinear", align_corners=False)
        with torch.no_grad():
            features.append(model.eval().forward_intermediates(resized, indices=[11], output_fmt="NLC")[1][0])
    assert report.resized == ["patch_embed.proj.weight", "pos_embed"]
    assert F.cosine_similarity(*features, dim=-1).mean() > 0.8


def test_weights_of_another_model_are_refused(weights, tmp_path):
    with pytest.raises(ValueError, match="is not dinov2_base: .* of another shape"):
        load_vfm("dinov2_base", weights, img_size=64)
    file = tmp_path / "w.safetensors"
    save_file({"head.weight": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="missing .*unexpected"):
        load_vfm("vit_tiny", str(file), img_size=64)


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="--set model.vfm.weights=PATH"):
        load_vfm("vit_tiny", str(tmp_path / "none.pth"), img_size=64)
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="can't be read as weights"):
        load_vfm("vit_tiny", str(tmp_path / "bad.pth"), img_size=64)


def test_random_weights_follow_their_seed():
    first, second, other = (load_vfm("vit_tiny", None, img_size=64, seed=seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["patch_embed.proj.weight"], other["patch_embed.proj.weight"])
    assert load_vfm("vit_tiny", None, img_size=64, seed=2)[1].digest == "random:2"
