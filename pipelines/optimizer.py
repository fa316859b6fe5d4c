"""AdamW with the paper's parameter groups, its polynomial schedule, and SoMA's of the weight decay."""

import math
import re

import torch
from torch import nn
from torch.optim.lr_scheduler import LinearLR, LRScheduler, PolynomialLR, SequentialLR

from pipelines.settings import Optimizer

_ADAPTERS = r"^backbone\.(reins\.|vfm\..*\.(lora_|base_layer\.))"
"""Parameters of adapters: beside the VFM, inside of its layers, and the biases that SoMA trains there."""
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)


def parameter_groups(model: nn.Module, settings: Optimizer) -> list[dict]:
    """Trained parameters by learning rate and decay (Wei et al., CVPR 2024, section 4: none on norms, query and level
    embeddings, tokens and scale). Groups are in a fixed order, so that an optimizer's saved state fits again."""
    in_norms = {id(p) for module in model.modules() if isinstance(module, _NORMS) for p in module.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kept = id(parameter) in in_norms or any(re.search(part, name) for part in settings.no_decay)
            decay = 0.0 if kept else settings.weight_decay
            groups.setdefault((settings.lr * _factor(name, settings), decay), []).append(parameter)
    return [{"params": groups[key], "lr": key[0], "weight_decay": key[1]} for key in sorted(groups)]


def _factor(name: str, settings: Optimizer) -> float:
    if re.search(_ADAPTERS, name):
        return settings.adapter_lr_factor
    return settings.backbone_lr_factor if name.startswith("backbone.vfm.") else 1.0


def build_optimizer(model: nn.Module, settings: Optimizer, steps: int) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """The optimizer, and the schedule that is stepped once after each of `steps` iterations.

    Raises:
        ValueError: the model has no trained parameter, or the warm-up fills the whole run.
    """
    groups = parameter_groups(model, settings)
    if not groups:
        raise ValueError("model: nothing to train: choose an adapter or a head with parameters")
    if settings.warmup_steps >= steps:
        raise ValueError(f"optimizer.warmup_steps={settings.warmup_steps} must be below train.steps={steps}")
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)
    poly = PolynomialLR(optimizer, steps - settings.warmup_steps, settings.poly_power)
    if not settings.warmup_steps:
        return optimizer, poly
    warmup = LinearLR(optimizer, 1e-6, total_iters=settings.warmup_steps)
    return optimizer, SequentialLR(optimizer, [warmup, poly], [settings.warmup_steps])


def anneal_decay(optimizer: torch.optim.Optimizer, settings: Optimizer, done: float) -> None:
    """Sets the weight decay where a share of the run is done: a cosine from `weight_decay` to `weight_decay_end`
    (Yun et al., CVPR 2025, annealing weight decay). What is not decayed stays so."""
    if settings.weight_decay_end is None:
        return
    fallen = (settings.weight_decay - settings.weight_decay_end) * (1 - math.cos(math.pi * done)) / 2
    for group in optimizer.param_groups:
        if group["weight_decay"]:
            group["weight_decay"] = settings.weight_decay - fallen
