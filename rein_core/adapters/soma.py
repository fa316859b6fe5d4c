"""SoMA: low-rank tuning of the minor singular components only, in the later blocks.

Yun et al., "SoMA: Singular Value Decomposed Minor Components Adaptation for Domain Generalizable Representation
Learning", CVPR 2025.
"""

import torch
from torch import Tensor, nn

from rein_core.adapters.lora import ALL_LINEAR, Lora, lora_layers


class Soma(Lora):
    """W = W_frozen + B A, where B A starts as the part of W with the smallest singular values; biases are trained too.

    What generalises, the large components, stays as it was pretrained. W_frozen follows from W, so a checkpoint holds
    only A, B and biases. Queries, keys and values have a decomposition of their own each, also where the VFM computes
    them in one layer. On a ViT-L the default is the paper's 4.9 M parameters.

    Args:
        rank: singular components that are trained, of each layer.
        first_block: earlier blocks are frozen whole; None: a third of them, 8 of 24.
        targets: names of the linear layers inside of the blocks.
    """

    def __init__(self, rank: int = 16, first_block: int | None = None, targets: tuple[str, ...] = ALL_LINEAR):
        super().__init__(rank, rank, targets)
        self.first_block = first_block

    @torch.no_grad()
    def attach(self, vfm: nn.Module) -> None:
        """Splits each weight into its frozen and its trained part. Raises ValueError if one has fewer components."""
        first = len(getattr(vfm, "blocks", [])) // 3 if self.first_block is None else self.first_block
        self.inject(vfm, [part for name in self.find(vfm, first) for part in _parts(vfm, name)])
        for _, _, layer in lora_layers(vfm):
            weight = layer.get_base_layer().weight
            if self.rank > min(weight.shape):
                raise ValueError(
                    f"model.adapter.rank={self.rank}: a layer of this VFM has {min(weight.shape)} singular components: "
                    "give no more"
                )
            u, s, vh = torch.linalg.svd(weight.float(), full_matrices=False)
            u, s, vh = u[:, -self.rank :], s[-self.rank :].sqrt(), vh[-self.rank :]
            layer.lora_A["default"].weight.copy_(s[:, None] * vh)
            layer.lora_B["default"].weight.copy_(u * s)
            weight -= layer.lora_B["default"].weight @ layer.lora_A["default"].weight
            if layer.bias is not None:
                layer.bias.requires_grad_(True)

    def merge(self, vfm: nn.Module) -> None:
        """W_frozen + B A in place of W, and the VFM's own layers again."""
        super().merge(vfm)
        for module in vfm.modules():
            if isinstance(getattr(module, "qkv", None), SplitQkv):
                module.qkv = module.qkv.fused()


class SplitQkv(nn.Module):
    """The layers `q`, `k` and `v` in place of an attention's `qkv`, with the same output.

    EVA's attention keeps the biases of q and v beside `qkv`, and would take its weight but not what is added to it:
    they move into the layers here.
    """

    @torch.no_grad()
    def __init__(self, attention: nn.Module):
        super().__init__()
        fused = attention.qkv
        biases = (None,) * 3 if fused.bias is None else fused.bias.chunk(3)
        if getattr(attention, "q_bias", None) is not None:
            biases = attention.q_bias, None, attention.v_bias
            attention.q_bias = attention.v_bias = None
        self.q, self.k, self.v = map(_linear, fused.weight.chunk(3), biases)

    def forward(self, tokens_bnc: Tensor) -> Tensor:
        """Queries, keys and values side by side, [b, n, 3 c]."""
        return torch.cat([self.q(tokens_bnc), self.k(tokens_bnc), self.v(tokens_bnc)], dim=-1)

    @torch.no_grad()
    def fused(self) -> nn.Linear:
        """One layer that computes the same; a part without bias has zeros, unless none has any."""
        parts = (self.q, self.k, self.v)
        biases = [part.weight.new_zeros(len(part.weight)) if part.bias is None else part.bias for part in parts]
        has_bias = any(part.bias is not None for part in parts)
        return _linear(torch.cat([part.weight for part in parts]), torch.cat(biases) if has_bias else None)


def _parts(vfm: nn.Module, name: str) -> list[str]:
    """The layer's name, or where it is `qkv` those of the three that take its place now."""
    attention, _, own = name.rpartition(".")
    if own != "qkv":
        return [name]
    module = vfm.get_submodule(attention)
    module.qkv = SplitQkv(module)
    return [f"{name}.{part}" for part in "qkv"]


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(*reversed(weight.shape), bias=False, device="meta")
    layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias.clone(), requires_grad=False)
    return layer
