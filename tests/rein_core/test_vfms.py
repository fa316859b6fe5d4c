"""VFMs: every key of a weight file is accounted for, and timm's model computes what DINOv2 defines."""

import cv2
import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from rein_core import vfms
from rein_core.backbone import VFMBackbone
from rein_core.vfms import VFMS, load_vfm
from rein_core.weights import read_weights


@pytest.fixture(scope="module")
def weights(shared) -> str:
    return str(shared("weights") / "dinov2_vits14_fp16.pth")


def literal_dinov2(state: dict, image: torch.Tensor, depth: int) -> torch.Tensor:
    """DINOv2-S/14 (Oquab et al., 2023) from its raw weights, block by block, with 6 heads."""
    x = F.conv2d(image, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14)
    side = x.shape[-1]
    grids = state["pos_embed"][0, 1:].T.reshape(-1, 37, 37).numpy()
    resized = [cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC) for grid in grids]
    positions = torch.from_numpy(np.stack(resized, axis=-1)).flatten(0, 1)
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
            found = model.eval().forward_intermediates(resized, indices=[11], output_fmt="NLC")[1][0]
        features.append(found - found.mean(dim=1, keepdim=True))  # all patches of so plain an image are alike
    assert report.resized == ["patch_embed.proj.weight", "pos_embed"]
    alike = F.cosine_similarity(*features, dim=-1).mean()
    elsewhere = F.cosine_similarity(features[0], features[1].flip(1), dim=-1).mean()
    assert alike > 0.8 and elsewhere < 0.6, (alike, elsewhere)


def test_timms_way_of_resizing(weights):
    """An enlarged patch gets from the enlarged kernel what it got from the file's (FlexiViT, eq. 4; plain bicubic
    interpolation gives it more), and positions that are shrunk are smoothed."""
    state, patch = read_weights(weights), torch.randn(1, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    larger = F.interpolate(patch, size=16, mode="bicubic", antialias=True)
    expected = F.conv2d(patch, state["patch_embed.proj.weight"]).flatten()
    found = {}
    for how in ("timm", "bicubic"):
        model, report = load_vfm("dinov2_small", weights, patch_size=16, img_size=160, resample=how)
        assert report.resized == ["patch_embed.proj.weight", "pos_embed"]
        found[how] = F.conv2d(larger, model.patch_embed.proj.weight.detach()).flatten(), model.pos_embed.detach()
    torch.testing.assert_close(found["timm"][0], expected, atol=1e-4, rtol=1e-3)
    assert (found["bicubic"][0] - expected).abs().mean() > 0.05 * expected.abs().mean()
    grid = state["pos_embed"][:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    for how, smoothed in (("timm", True), ("bicubic", False)):
        positions = F.interpolate(grid, size=10, mode="bicubic", antialias=smoothed).flatten(2).transpose(1, 2)
        torch.testing.assert_close(found[how][1][:, -100:], positions)


def test_weights_of_another_model_are_refused(weights, tmp_path):
    with pytest.raises(ValueError, match="is not dinov2_base: .* of another shape"):
        load_vfm("dinov2_base", weights, img_size=64)
    file = tmp_path / "w.safetensors"
    save_file({"head.weight": torch.zeros(1), "cls_tokem": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match=r"148 missing .*1 unexpected or of another shape \(cls_tokem\)"):
        load_vfm("vit_tiny", str(file), img_size=64)


@pytest.mark.parametrize("name", ["dinov2_small_reg", "dinov3_small", "siglip2_large", "convnext_large", "resnet50"])
def test_weights_of_a_neighbour_are_refused(name, weights, monkeypatch):
    """Those that timm's rules choke on too."""
    create = vfms._create

    def without_memory(*settings):
        with torch.device("meta"):
            return create(*settings)

    monkeypatch.setattr(vfms, "_create", without_memory)
    with pytest.raises(ValueError, match=f"^model.vfm.weights: .*vits14_fp16.pth is not {name}: "):
        load_vfm(name, weights, img_size=64)


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="--set model.vfm.weights=PATH"):
        load_vfm("vit_tiny", str(tmp_path / "none.pth"), img_size=64)
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="can't be read as weights"):
        load_vfm("vit_tiny", str(tmp_path / "bad.pth"), img_size=64)


def test_a_report_in_words(weights, tmp_path):
    save_file(read_weights(weights) | {"mask_token": torch.zeros(1, 384)}, tmp_path / "whole.safetensors")
    _, report = load_vfm("dinov2_small", str(tmp_path / "whole.safetensors"))
    counts = "172 matched, 2 resized, 3 unused (mask_token, norm.bias, norm.weight)"
    assert str(report) == f"dinov2_small (sha256 {report.digest[:12]}): {counts}"
    assert str(load_vfm("vit_tiny", None, img_size=64)[1]) == "vit_tiny (random:0)"


@pytest.mark.parametrize(
    ("weights", "asked"),
    [
        ("hub", "vit_tiny_patch16_224"),
        ("hf-hub:someone/vit", "hf-hub:someone/vit"),
        ("vit_tiny_patch16_224.augreg_in21k", "vit_tiny_patch16_224.augreg_in21k"),
    ],
)
def test_hub_names_are_timms(weights, asked, monkeypatch):
    released = load_vfm("vit_tiny", None, img_size=224, seed=3)[0]
    create = timm.create_model

    def hub(name: str, pretrained: bool = False, **settings):
        if not pretrained:
            return create(name, **settings)
        assert name == asked
        return released

    monkeypatch.setattr(timm, "create_model", hub)
    loaded, report = load_vfm("vit_tiny", weights, img_size=224)
    assert torch.equal(loaded.pos_embed, released.pos_embed) and report.digest == vfms.digest(released.state_dict())


def test_a_hub_that_is_away_is_named(monkeypatch):
    def away(*_, pretrained: bool = False, **__):
        raise OSError("no network")

    model = load_vfm("vit_tiny", None, img_size=64)[0]
    monkeypatch.setattr(timm, "create_model", lambda *_, pretrained=False, **__: away() if pretrained else model)
    with pytest.raises(ValueError, match="weights='hf-hub:a/b': hf-hub:a/b could not be downloaded .* --set"):
        load_vfm("vit_tiny", "hf-hub:a/b", img_size=64)


def test_random_weights_follow_their_seed():
    first, second, other = (load_vfm("vit_tiny", None, img_size=64, seed=seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["patch_embed.proj.weight"], other["patch_embed.proj.weight"])
    assert load_vfm("vit_tiny", None, img_size=64, seed=2)[1].digest == "random:2"


@pytest.mark.parametrize(
    ("name", "width", "depth"), [("dinov2_giant", 128, 40), ("eva02_large", 128, 24), ("sam_huge", 160, 32)]
)
def test_a_narrow_twin_has_all_blocks(name, width, depth):
    vfm, report = load_vfm(name, None, img_size=64, heads=2)
    whole = vfms.bare_vfm(name)
    assert len(vfm.blocks) == depth and vfm.embed_dim == vfms.bare_vfm(name, heads=2).embed_dim == width
    kinds = [[type(module) for module in model.blocks.modules()] for model in (vfm, whole)]
    assert kinds[0] == kinds[1] and str(report) == f"{name} (random:0)"


def test_a_narrow_twin_that_can_not_be():
    with pytest.raises(ValueError, match=r"model\.vfm\.heads=1: no weights fit a narrow twin: set .* to None"):
        load_vfm("dinov2_small", "hub", heads=1)
    with pytest.raises(ValueError, match=r"model\.vfm\.heads=1: resnet50 is no ViT"):
        load_vfm("resnet50", None, heads=1)


@pytest.mark.parametrize("name", VFMS)
def test_every_vfm_gives_four_levels(name):
    """Built and run without memory; sizes that differ from the one it is made for."""
    with torch.device("meta"):
        backbone = VFMBackbone({"name": name, "img_size": 128}, {"type": "rein"})
        levels, queries = backbone(torch.empty(2, 3, 64, 96))
    assert [tuple(level.shape[2:]) for level in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert queries.shape == (100, 256)


@pytest.mark.parametrize("name", ["dinov2_small_reg", "dinov3_small", "sam_base", "resnet50"])
def test_other_sizes_run(name):
    backbone = VFMBackbone({"name": name, "img_size": 128}, {"type": "rein", "token_length": 4, "rank": 2})
    with torch.no_grad():
        levels, _ = backbone(torch.randn(1, 3, 64, 96))
    assert all(level.isfinite().all() for level in levels)


def openai_clip(key: str) -> str:
    for ours, theirs in (("patch_embed.proj", "conv1"), ("pos_embed", "positional_embedding"), ("norm_pre", "ln_pre"),
                         ("blocks.", "transformer.resblocks."), ("norm1", "ln_1"), ("norm2", "ln_2"),
                         ("attn.qkv.", "attn.in_proj_"), ("attn.proj", "attn.out_proj"), ("mlp.fc1", "mlp.c_fc"),
                         ("mlp.fc2", "mlp.c_proj"), ("cls_token", "class_embedding")):  # fmt: skip
        key = key.replace(ours, theirs)
    return f"visual.{key}"


def segment_anything(key: str) -> str:
    return f"image_encoder.{key.replace('mlp.fc', 'mlp.lin')}"


def eva02(key: str) -> str:
    for ours, theirs in (("mlp.norm", "mlp.ffn_ln"), ("mlp.fc1_g", "mlp.w1"), ("mlp.fc1_x", "mlp.w2"),
                         ("mlp.fc2", "mlp.w3"), ("q_proj.bias", "q_bias"), ("v_proj.bias", "v_bias")):  # fmt: skip
        key = key.replace(ours, theirs)
    return key


def dinov2_with_registers(key: str) -> str:
    return key.replace("reg_token", "register_tokens")


def dinov3(key: str) -> str:
    return key.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma").replace("reg_token", "storage_tokens")


RELEASES = [
    ("vit_xsmall_patch16_clip_224", openai_clip,
     ["visual.ln_post.weight", "visual.proj", "text_projection", "transformer.resblocks.0.ln_1.weight",
      "token_embedding.weight", "positional_embedding", "ln_final.weight", "logit_scale", "vocab_size"]),
    ("samvit_base_patch16_224", segment_anything,
     ["image_encoder.neck.0.weight", "prompt_encoder.x", "mask_decoder.x"]),
    ("eva02_tiny_patch14_224", eva02, ["mask_token", "lm_head.weight", "norm.weight", "rope.freqs_cos"]),
    ("vit_small_patch16_dinov3", dinov3,
     ["mask_token", "rope_embed.periods", "norm.weight", "blocks.0.attn.qkv.bias", "blocks.0.attn.qkv.bias_mask"]),
    ("vit_tiny_patch16_224", str, ["mask_token", "decoder_embed.weight", "norm.weight"]),
    ("vit_small_patch14_reg4_dinov2", dinov2_with_registers, ["mask_token", "norm.weight"]),
]  # fmt: skip
"""A small architecture of each, from timm's names to the release's, and what else the release holds."""


def release(architecture: str, rename, extra: list[str], monkeypatch) -> tuple[torch.nn.Module, dict, int, int]:
    """A random model, its weights as they would be released, its patch size and its image size."""
    monkeypatch.setitem(VFMS, "small", architecture)
    patch, size = 14 if "patch14" in architecture else 16, timm.get_pretrained_cfg(architecture).input_size[-1]
    model = vfms._create("small", patch, size, seed=1)
    original = {rename(key): value.clone().contiguous() for key, value in model.state_dict().items()}
    for key, shape in (("visual.class_embedding", (-1,)), ("visual.positional_embedding", (197, -1))):
        if key in original:
            original[key] = original[key].reshape(shape).clone()
    if "register_tokens" in original:  # whose class token has a position, which timm adds to it
        first = torch.randn(1, 1, 384)
        original["pos_embed"] = torch.cat([first, original["pos_embed"]], dim=1)
        original["cls_token"] = original["cls_token"] - first
    return model, original | {key: torch.zeros(2, 2) for key in extra}, patch, size


@pytest.mark.parametrize(("architecture", "rename", "extra"), RELEASES)
def test_original_releases_load(architecture, rename, extra, tmp_path, monkeypatch):
    """Weights under each release's own names arrive unchanged where sizes agree, and the others are reported."""
    model, original, patch, size = release(architecture, rename, extra, monkeypatch)
    file = tmp_path / "release.safetensors"
    save_file(original, file)
    loaded, report = load_vfm("small", str(file), patch, size)
    assert report.missing == report.unexpected == report.resized == [] and report.unused == sorted(extra)
    assert len(report.matched) + len(report.unused) == len(original)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, atol=1e-6 if key == "cls_token" else 0, rtol=0)
    larger, report = load_vfm("small", str(file), 16, 128)
    assert not report.missing and not report.unexpected


@pytest.mark.parametrize(("architecture", "rename", "extra"), RELEASES)
def test_a_key_of_nothing_known_is_refused(architecture, rename, extra, tmp_path, monkeypatch):
    """Also where timm's rules would drop it."""
    _, original, patch, size = release(architecture, rename, [*extra, "garbage.weight"], monkeypatch)
    save_file(original, tmp_path / "release.safetensors")
    with pytest.raises(ValueError, match=r"is not small: 1 unexpected or of another shape \(garbage\.weight\)"):
        load_vfm("small", str(tmp_path / "release.safetensors"), patch, size)


@pytest.mark.parametrize(("patch_size", "img_size"), [(14, 70), (16, 96), (16, 512)])
def test_a_file_of_the_right_size_arrives_unchanged(patch_size, img_size, tmp_path):
    """The authors' converted DINOv2 is at patch 16 and 512 pixels already."""
    model = load_vfm("dinov2_small", None, patch_size, img_size, seed=1)[0]
    save_file(model.state_dict(), tmp_path / "converted.safetensors")
    loaded, report = load_vfm("dinov2_small", str(tmp_path / "converted.safetensors"), patch_size, img_size)
    assert report.resized == [] and len(report.matched) == len(model.state_dict())
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())
