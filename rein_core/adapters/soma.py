"""SoMA: low-rank tuning of the minor singular components only, in the later blocks.

Yun et al., "SoMA: Singular Value Decomposed Minor Components Adaptation for Domain Generalizable Representation
Learning", CVPR 2025.
"""

import torch
from torch import nn

from rein_core.adapters.lora import ALL_LINEAR, Lora, lora_layers


class Soma(Lora):
    """W = W_frozen + B A, where B A starts as the part of W with the smallest singular values.

    What generalises, the large components, stays as it was pretrained. W_frozen follows from W, so a checkpoint holds
    only A and B.

    Args:
        rank: singular components that are trained.
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
        self.inject(vfm, self.find(vfm, first))
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
