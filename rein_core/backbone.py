"""VFM + adapter → four feature levels and the queries for the head."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from rein_core.adapters import build_adapter
from rein_core.vfms import LoadReport, load_vfm

_LEVEL_SCALES = (4.0, 2.0, 1.0, 0.5)


@MODELS.register_module()
class VFMBackbone(BaseModule):
    """A frozen timm ViT whose block outputs an adapter refines.

    The adapter sits at `reins`, the VFM at `vfm`. Prefix tokens (class, registers) pass by unrefined.

    Args:
        vfm: arguments of `load_vfm`, or a ViT of timm's that is already built.
        adapter: `type` and settings of an adapter.
        query_dims: channels of the head's queries.
        out_indices: blocks whose outputs are the levels; None: the paper's, 7, 11, 15, 23 of 24 and 2, 5, 8, 11 of 12.
    """

    def __init__(
        self, vfm: dict | nn.Module, adapter: dict, query_dims: int = 256, out_indices: list[int] | None = None
    ):
        super().__init__()
        self.vfm, self.load_report = load_vfm(**vfm) if isinstance(vfm, dict) else (vfm, LoadReport("given", "given"))
        self.vfm.requires_grad_(False).eval()
        depth = len(self.vfm.blocks)
        patch_size = self.vfm.patch_embed.patch_size[0]
        self.out_indices = list(out_indices or _default_levels(depth))
        self.reins = build_adapter(
            adapter, num_layers=depth, embed_dims=self.vfm.embed_dim, query_dims=query_dims, patch_size=patch_size
        )
        for layer, block in enumerate(self.vfm.blocks):
            block.register_forward_hook(self._refine_hook(layer))

    def _refine_hook(self, layer: int):
        def refine(_block: nn.Module, _inputs: tuple, tokens_bnc: Tensor) -> Tensor:
            prefix = self.vfm.num_prefix_tokens
            patches_bnc = self.reins.refine(tokens_bnc[:, prefix:], layer)
            return torch.cat([tokens_bnc[:, :prefix], patches_bnc], dim=1) if prefix else patches_bnc

        return refine

    def train(self, mode: bool = True) -> "VFMBackbone":
        """The frozen VFM stays in eval mode."""
        super().train(mode)
        self.vfm.eval()
        return self

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Normalised images [b, 3, h, w] → (levels [b, c, h/4, w/4] … [b, c, h/32, w/32], queries [m, d] or None)."""
        maps = self.vfm.forward_intermediates(
            images, indices=self.out_indices, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        return [_rescale(level, scale) for level, scale in zip(maps, _LEVEL_SCALES, strict=True)], self.reins.queries()


def _default_levels(depth: int) -> list[int]:
    return [7, 11, 15, 23] if depth == 24 else [depth * i // 4 - 1 for i in range(1, 5)]


def _rescale(level: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return level
    return F.interpolate(level, scale_factor=scale, mode="bilinear", align_corners=False)
