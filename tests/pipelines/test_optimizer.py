"""The paper's parameter groups and schedule."""

from collections import OrderedDict

import pytest
import torch
from mmengine.optim import CosineAnnealingParamScheduler
from torch import nn

from pipelines.optimizer import anneal_decay, build_optimizer, parameter_groups
from pipelines.settings import Optimizer
from rein_core import Rein, build_segmentor
from rein_core.adapters import build_adapter


class Model(nn.Module):
    """Has one parameter of each kind that the groups tell apart."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.vfm = nn.Linear(2, 2)
        self.backbone.reins = Rein(2, 8, token_length=4, rank=2, query_dims=6)
        self.decode_head = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        self.decode_head.level_embed = nn.Embedding(3, 2)


def test_groups_of_the_paper():
    model = Model()
    model.backbone.vfm.bias.requires_grad_(False)
    settings = Optimizer(lr=1.0, weight_decay=0.05, backbone_lr_factor=0.1)
    groups = parameter_groups(model, settings)
    kind = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    kinds = {name: kind.get(id(p)) for name, p in model.named_parameters()}
    assert kinds["backbone.vfm.weight"] == (0.1, 0.05) and kinds["backbone.vfm.bias"] is None
    for name in ("reins.learnable_tokens_a", "reins.learnable_tokens_b", "reins.scale"):
        assert kinds[f"backbone.{name}"] == (1.0, 0.0)
    assert kinds["backbone.reins.mlp_delta_f.weight"] == (1.0, 0.05)
    assert kinds["decode_head.1.weight"] == kinds["decode_head.level_embed.weight"] == (1.0, 0.0)
    assert kinds["decode_head.0.bias"] == (1.0, 0.05)


@pytest.mark.parametrize(("kind", "parameters"), [("lora", 2), ("dora", 3), ("soma", 9)])
def test_what_is_beside_the_vfms_weights_has_the_whole_rate(kind, parameters):
    """DoRA's magnitudes begin as the norms of the weights, so they are not decayed either; SoMA's biases are."""
    model = nn.Module()
    model.backbone = nn.Module()
    model.backbone.vfm = nn.Module()
    model.backbone.vfm.blocks = nn.ModuleList([nn.Sequential(OrderedDict(qkv=nn.Linear(4, 12)))]).requires_grad_(False)
    build_adapter({"type": kind, "rank": 2}, [4], query_dims=6, patch_size=16).attach(model.backbone.vfm)
    groups = parameter_groups(model, Optimizer(lr=1.0, weight_decay=0.05, backbone_lr_factor=0.1))
    decays = {name: None for name, p in model.named_parameters() if p.requires_grad}
    for group in groups:
        assert group["lr"] == 1.0
        own = {id(p) for p in group["params"]}
        decays |= {name: group["weight_decay"] for name, p in model.named_parameters() if id(p) in own}
    assert len(decays) == parameters
    assert all(decay == (0.0 if "magnitude" in name else 0.05) for name, decay in decays.items())


@pytest.mark.parametrize("kind", ["rein", "lora", "soma", "adaptformer", "full"])
def test_adapters_may_have_a_rate_of_their_own(kind):
    """Beside the VFM or inside of it; weights of the VFM's own are no adapter."""
    vfm = {"name": "vit_tiny", "img_size": 64}
    segmentor = build_segmentor({"vfm": vfm, "adapter": {"type": kind}, "decode_head": {"type": "linear"}})
    settings = Optimizer(lr=1.0, backbone_lr_factor=0.25, adapter_lr_factor=0.5)
    rates = {id(p): group["lr"] for group in parameter_groups(segmentor, settings) for p in group["params"]}
    trained = {name: p for name, p in segmentor.named_parameters() if p.requires_grad}
    found = {name.split(".")[0]: set() for name in trained}
    for name, parameter in trained.items():
        found[name.split(".")[0]].add(rates[id(parameter)])
    assert found == {"backbone": {0.25 if kind == "full" else 0.5}, "decode_head": {1.0}}


@pytest.mark.parametrize(
    ("adapter", "widths", "scales"),
    [
        ("rein", [8, 8], {"reins.scale"}),
        ("rein", [4, 8], {"reins.stages.0.scale", "reins.stages.1.scale"}),
        ("fada", [8, 8], {"reins.low.scale", "reins.high.scale"}),
    ],
)
def test_no_scale_is_decayed(adapter, widths, scales):
    """Rein's, staged Rein's for ConvNeXt and ResNet, and both of FADA's; a scale elsewhere is."""
    model = nn.Module()
    model.reins = build_adapter({"type": adapter, "token_length": 4}, widths, query_dims=6, patch_size=16)
    model.scale = nn.Parameter(torch.ones(()))
    assert scales | {"scale"} == {name for name, _ in model.named_parameters() if name.endswith("scale")}
    kept = kept_from_decay(model, Optimizer())
    assert kept == scales | {name for name, _ in model.named_parameters() if "learnable_tokens" in name}


def test_plain_parts_of_names_are_expressions_too():
    model = Model()
    assert "backbone.reins.scale" in kept_from_decay(model, Optimizer(no_decay=["reins.scale"]))
    assert "backbone.reins.merge.bias" in kept_from_decay(model, Optimizer(no_decay=[r"^backbone\.reins.*bias$"]))
    with pytest.raises(ValueError, match=r"'\(' is no regular expression: missing \)"):
        Optimizer(no_decay=["("])


def kept_from_decay(model: nn.Module, settings: Optimizer) -> set[str]:
    groups = parameter_groups(model, settings)
    kept = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    return {name for name, p in model.named_parameters() if id(p) in kept}


def test_poly_schedule_with_and_without_warmup():
    rates = []
    optimizer, schedule = build_optimizer(nn.Linear(2, 2), Optimizer(lr=1.0, poly_power=0.9), steps=10)
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([(1 - step / 10) ** 0.9 for step in range(10)])
    optimizer, schedule = build_optimizer(nn.Linear(2, 2), Optimizer(lr=1.0, warmup_steps=4), steps=10)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-6)
    for _ in range(4):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1.0)


def test_state_loads_without_pickle(tmp_path):
    optimizer, schedule = build_optimizer(nn.Linear(2, 2), Optimizer(warmup_steps=2), steps=10)
    torch.save({"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, tmp_path / "s.pt")
    assert torch.load(tmp_path / "s.pt", weights_only=True)["schedule"]["last_epoch"] == 0


def test_nothing_to_train():
    with pytest.raises(ValueError, match="nothing to train"):
        build_optimizer(nn.Linear(2, 2).requires_grad_(False), Optimizer(), steps=10)
    with pytest.raises(ValueError, match="warmup_steps=10 must be below"):
        build_optimizer(nn.Linear(2, 2), Optimizer(warmup_steps=10), steps=10)


def test_the_weight_decay_falls_as_mmengines_does():
    """SoMA's authors use mmengine's scheduler, to 1e-5; norms stay without decay."""
    steps, settings = 10, Optimizer(weight_decay=0.05, weight_decay_end=1e-5)
    ours, _ = build_optimizer(Model(), settings, steps)
    reference = torch.optim.AdamW([nn.Parameter(torch.ones(1))], weight_decay=0.05)
    scheduler = CosineAnnealingParamScheduler(reference, "weight_decay", T_max=steps, eta_min=1e-5, by_epoch=False)
    for step in range(1, steps + 1):
        reference.step()
        scheduler.step()
        anneal_decay(ours, settings, step / steps)
        (expected,) = (group["weight_decay"] for group in reference.param_groups)
        decays = sorted({group["weight_decay"] for group in ours.param_groups})
        assert decays == [0.0, pytest.approx(expected, rel=1e-9)]
    assert expected == pytest.approx(1e-5)
    anneal_decay(ours, Optimizer(), 0.0)
    assert max(group["weight_decay"] for group in ours.param_groups) == decays[-1], "it stays, unless it should fall"
