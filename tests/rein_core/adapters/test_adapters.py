"""Every adapter on every kind of VFM it fits: it starts harmless, learns, is counted as in the paper, and may merge."""

import copy

import pytest
import torch

from rein_core import build_segmentor
from rein_core.adapters.soma import SplitQkv
from rein_core.backbone import VFMBackbone
from rein_core.vfms import VFMS

SETTINGS = {
    "none": {},
    "full": {},
    "rein": {"token_length": 5, "rank": 2},
    "lora": {"rank": 2},
    "dora": {"rank": 2},
    "vpt": {"token_length": 5},
    "adaptformer": {"bottleneck": 4},
    "soma": {"rank": 2},
    "fada": {"token_length": 5, "rank": 2},
}
TINY = {"name": "vit_tiny", "img_size": 64}


def backbone(kind: str, **vfm) -> VFMBackbone:
    torch.manual_seed(0)
    return VFMBackbone(TINY | vfm, {"type": kind} | SETTINGS[kind], query_dims=32)


def randomised(model: VFMBackbone) -> VFMBackbone:
    """As after some training: nothing that is trained is zero any more."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    return model


IMAGE = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["lora", "dora", "adaptformer", "soma", "full"])
def test_before_training_features_are_the_vfms(kind):
    with torch.no_grad():
        plain, adapted = backbone("none")(IMAGE)[0], backbone(kind)(IMAGE)[0]
    for before, after in zip(plain, adapted, strict=True):
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in SETTINGS if kind != "none"])
def test_what_is_trained_learns_and_the_rest_is_frozen(kind):
    model = randomised(backbone(kind)).train()
    features, queries = model(IMAGE)
    loss = sum(level.square().mean() for level in features)
    (loss if queries is None else loss + queries.square().mean()).backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and all(model.get_parameter(name).grad.abs().sum() > 0 for name in trained if "bias" not in name)
    inside = any(name.startswith("vfm.") for name in trained)
    assert inside == (kind in ("full", "lora", "dora", "soma"))
    with torch.no_grad():
        assert not torch.allclose(model.eval()(IMAGE)[0][3], backbone("none")(IMAGE)[0][3], atol=1e-3)


@pytest.mark.parametrize("kind", [kind for kind in SETTINGS if kind != "none"])
def test_a_copy_has_an_adapter_of_its_own(kind):
    """As mmengine's and torch's averaged models are copies."""
    model = backbone(kind).eval()
    copied = randomised(copy.deepcopy(model))
    with torch.no_grad():
        before = model(IMAGE)[0][3]
        assert not torch.allclose(copied(IMAGE)[0][3], before, atol=1e-3)
        torch.testing.assert_close(copied(IMAGE)[0][3], randomised(model)(IMAGE)[0][3], atol=0, rtol=0)


@pytest.mark.parametrize(
    ("kind", "settings", "millions"),
    [
        ("full", {}, 304.2),
        ("lora", {}, 0.79),
        ("vpt", {}, 3.69),
        ("adaptformer", {}, 3.17),
        ("rein", {}, 2.99),
        ("none", {}, 0.0),
        ("soma", {}, 4.87),
    ],
)
def test_parameters_of_the_papers_table(kind, settings, millions):
    """Wei et al., CVPR 2024, table 2, on DINOv2-L; SoMA's by its authors' settings, 4.9 in theirs."""
    with torch.device("meta"):
        model = VFMBackbone({"name": "dinov2_large", "img_size": 512}, {"type": kind} | settings)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert round(trained / 1e6, 2) == millions


@pytest.mark.parametrize("kind", ["lora", "dora", "soma"])
def test_merged_weights_give_the_same_features(kind):
    model = randomised(backbone(kind)).eval()
    with torch.no_grad():
        before = model(IMAGE)[0]
        after = model.merge()(IMAGE)[0]
    assert not any("lora" in name for name, _ in model.named_parameters())
    for first, second in zip(before, after, strict=True):
        torch.testing.assert_close(second, first, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["lora", "dora", "soma"])
def test_merged_weights_give_the_same_logits(kind):
    torch.manual_seed(0)
    section = {"vfm": TINY, "adapter": {"type": kind} | SETTINGS[kind], "decode_head": {"type": "linear"}}
    segmentor = build_segmentor(section).eval()
    randomised(segmentor.backbone)
    metas = [{"img_shape": (64, 96), "ori_shape": (64, 96)}] * len(IMAGE)
    with torch.no_grad():
        before = segmentor.inference(IMAGE, metas)
        segmentor.backbone.merge()
        after = segmentor.inference(IMAGE, metas)
    assert before.std() > 0.1
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["none", "rein", "fada", "vpt", "adaptformer", "full"])
def test_what_is_no_change_of_weights_does_not_merge(kind):
    with pytest.raises(ValueError, match="can't be merged"):
        backbone(kind).merge()


def test_soma_trains_the_smallest_singular_components_of_the_later_blocks():
    plain, model = backbone("none"), backbone("soma")
    whole = plain.vfm.blocks[11].mlp.fc1.weight
    layer = model.vfm.blocks[11].mlp.fc1
    minor = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    values = torch.linalg.svdvals(whole)
    torch.testing.assert_close(torch.linalg.svdvals(minor)[:2], values[-2:], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(torch.linalg.svdvals(layer.base_layer.weight)[:190], values[:-2], atol=1e-4, rtol=1e-3)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[2] for name in trained} == {str(block) for block in range(4, 12)}
    biases = {name.removesuffix(".base_layer.bias") for name in trained if name.endswith("bias")}
    assert len(biases) == 8 * 6 and biases == {name.partition(".lora_")[0] for name in trained if ".lora_" in name}


def test_soma_decomposes_queries_keys_and_values_by_themselves():
    whole = backbone("none").vfm.blocks[11].attn.qkv
    split = backbone("soma").vfm.blocks[11].attn.qkv
    for part, weight, bias in zip("qkv", whole.weight.chunk(3), whole.bias.chunk(3), strict=True):
        layer = split.get_submodule(part)
        u, s, vh = torch.linalg.svd(weight)
        minor = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        torch.testing.assert_close(minor, u[:, -2:] @ s[-2:].diag() @ vh[-2:], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(layer.base_layer.weight + minor, weight, atol=1e-6, rtol=1e-5)
        assert torch.equal(layer.bias, bias)


@pytest.mark.parametrize(
    "architecture",
    ["samvit_base_patch16", "eva02_tiny_patch14_224", "eva02_base_patch14_224", "vit_small_patch16_dinov3"],
)
def test_soma_and_its_merge_in_other_attentions(architecture, monkeypatch):
    """SAM's; EVA's with biases of q and v beside the fused weight, and with three layers; and fused without biases. The
    last two blocks show it: each layer is decomposed alike."""
    monkeypatch.setitem(VFMS, "any", architecture)
    vfm = VFMBackbone({"name": "any", "img_size": 64, "heads": 3}, {"type": "none"}).vfm
    with torch.no_grad():
        for name, parameter in vfm.named_parameters():
            if "bias" in name or "gamma" in name:
                parameter.normal_(std=0.5)
    plain = VFMBackbone(copy.deepcopy(vfm), {"type": "none"}).eval()
    model = VFMBackbone(vfm, {"type": "soma", "rank": 2, "first_block": 10}, query_dims=32).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(IMAGE)[0][3], plain(IMAGE)[0][3], atol=1e-4, rtol=1e-3)
    model(IMAGE)[0][3].square().mean().backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(gradient is not None for gradient in trained.values())
    assert all(gradient.abs().sum() > 0 for name, gradient in trained.items() if "lora_" in name)
    with torch.no_grad():
        before = randomised(model)(IMAGE)[0][3]
        after = model.merge()(IMAGE)[0][3]
    assert not torch.allclose(before, plain(IMAGE)[0][3], atol=1e-2)
    torch.testing.assert_close(after, before, atol=1e-4 * before.abs().max().item(), rtol=1e-3)
    assert not any(isinstance(module, SplitQkv) for module in model.modules())


def test_prompts_are_seen_but_do_not_come_out():
    model = randomised(backbone("vpt")).eval()
    assert model(IMAGE)[0][2].shape == (2, 192, 4, 6)


@pytest.mark.parametrize("layers", [[0, 1], [5], [2, 5, 11], None])
def test_layers_are_blocks_of_all_stages_together(monkeypatch, layers):
    """ConvNeXt's atto has 2, 2, 6 and 2 of them; a stage whose blocks are left out has no Rein."""
    monkeypatch.setitem(VFMS, "any", "convnext_atto")
    settings = {"type": "rein", "layers": layers} | SETTINGS["rein"]
    model = VFMBackbone({"name": "any"}, settings, query_dims=32)
    changed, refine = [], model.reins.refine

    def noted(feat_bnc: torch.Tensor, layer: int) -> torch.Tensor:
        refined = refine(feat_bnc, layer)
        changed.extend([] if torch.equal(refined, feat_bnc) else [layer])
        return refined

    monkeypatch.setattr(model.reins, "refine", noted)
    levels, queries = model(IMAGE)
    assert changed == (layers or list(range(12))) and queries.shape == (5, 32)
    (sum(level.square().mean() for level in levels) + queries.square().mean()).backward()
    assert all(parameter.grad is not None for parameter in model.reins.parameters())


def test_each_stage_has_a_whole_rein_and_queries_are_their_sum(monkeypatch):
    """By the authors' config of ConvNeXt-L; what tokens are drawn from is the range for patches of 16."""
    with torch.device("meta"):
        large = VFMBackbone({"name": "convnext_large"}, {"type": "rein"})
    stages = ((192, 3), (384, 3), (768, 27), (1536, 3))
    low_rank = sum(16 * blocks * (100 + width) + 1 for width, blocks in stages)
    linear = sum(2 * width * (width + 1) + 256 * (width + 1) + 256 * (3 * 256 + 1) for width, _ in stages)
    assert sum(p.numel() for p in large.reins.parameters()) == low_rank + linear == 8_289_156
    monkeypatch.setitem(VFMS, "any", "convnext_atto")
    reins = VFMBackbone({"name": "any"}, {"type": "rein", "rank": None, "token_length": 50}, query_dims=32).reins
    torch.testing.assert_close(reins.queries(), torch.stack([stage.queries() for stage in reins.stages]).sum(dim=0))
    for stage in reins.stages:
        tokens = stage.learnable_tokens
        bound = (6 / (3 * 16**2 + tokens.shape[-1])) ** 0.5
        assert 0.95 * bound < tokens.abs().max() < bound
    unlinked = {"type": "rein", "link_queries": False}
    assert VFMBackbone({"name": "any"}, unlinked, query_dims=32).reins.queries() is None


def test_layers_that_no_stage_has_are_named(monkeypatch):
    monkeypatch.setitem(VFMS, "any", "convnext_atto")
    with pytest.raises(ValueError, match=r"model\.adapter\.layers=\[3, 12\]: .* from 0 to 11"):
        VFMBackbone({"name": "any"}, {"type": "rein", "layers": [3, 12]})


@pytest.mark.parametrize("kind", ["vpt", "adaptformer", "lora", "soma", "fada"])
def test_adapters_for_vits_refuse_a_convolutional_model(kind):
    with pytest.raises(ValueError, match="model.adapter"), torch.device("meta"):
        VFMBackbone({"name": "resnet50"}, {"type": kind})


@pytest.mark.parametrize(
    ("kind", "name"),
    [("vpt", "dinov3_small"), ("vpt", "dinov2_small_reg"), ("adaptformer", "sam_base"), ("lora", "sam_base"),
     ("lora", "eva02_large"), ("adaptformer", "eva02_large"), ("rein", "convnext_large"), ("full", "resnet50"),
     ("fada", "sam_base"), ("fada", "eva02_large"), ("soma", "sam_base"), ("soma", "dinov3_small")],
)  # fmt: skip
def test_other_kinds_of_vfm(kind, name):
    with torch.device("meta"):
        model = VFMBackbone({"name": name, "img_size": 128}, {"type": kind} | SETTINGS[kind])
        levels, _ = model(torch.empty(2, 3, 64, 96))
    assert [tuple(level.shape[2:]) for level in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert any(parameter.requires_grad for parameter in model.parameters())
