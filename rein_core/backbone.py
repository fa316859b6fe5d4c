"""VFM + adapter → four feature levels and the queries for the head."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from rein_core.adapters import build_adapter
from rein_core.anatomy import blocks_of, patch_size_of, through_patches, widths_of
from rein_core.vfms import LoadReport, load_vfm

_LEVEL_SCALES = (4.0, 2.0, 1.0, 0.5)


@MODELS.register_module()
class VFMBackbone(BaseModule):
    """A frozen timm model whose block outputs an adapter refines.

    The adapter sits at `reins`, the VFM at `vfm`. Prefix tokens (class, registers) pass by unrefined.

    Args:
        vfm: arguments of `load_vfm`, or a model of timm's that is already built.
        adapter: `type` and settings of an adapter.
        query_dims: channels of the head's queries.
        out_indices: blocks of a ViT whose outputs are the levels; None: the paper's, 7, 11, 15, 23 of 24 and 2, 5, 8,
            11 of 12. ConvNeXt and ResNet give their four stages.
    """

    def __init__(
        self, vfm: dict | nn.Module, adapter: dict, query_dims: int = 256, out_indices: list[int] | None = None
    ):
        super().__init__()
        self.vfm, self.load_report = load_vfm(**vfm) if isinstance(vfm, dict) else (vfm, LoadReport("given", "given"))
        self.vfm.requires_grad_(False).eval()
        widths = widths_of(self.vfm)
        self.has_stages = len(set(widths)) > 1
        self.out_indices = list(out_indices or _default_levels(self.vfm, len(widths)))
        self.reins = build_adapter(adapter, widths, query_dims=query_dims, patch_size=patch_size_of(self.vfm))
        self.reins.attach(self.vfm)
        for layer, block in enumerate(blocks_of(self.vfm)):
            block.register_forward_hook(self._refine_hook(layer))

    def _refine_hook(self, layer: int):
        def refine(_block: nn.Module, _inputs: tuple, features: Tensor) -> Tensor:
            return through_patches(features, self.vfm, lambda feat_bnc: self.reins.refine(feat_bnc, layer))

        return refine

    def train(self, mode: bool = True) -> "VFMBackbone":
        """The VFM stays in eval mode: no dropout, no new batch statistics."""
        super().train(mode)
        self.vfm.eval()
        return self

    def merge(self) -> "VFMBackbone":
        """Folds the adapter into the VFM's weights. Raises ValueError if its kind can't be folded."""
        if not callable(getattr(type(self.reins), "merge", None)):
            raise ValueError(f"model.adapter: {type(self.reins).__name__} is no change of weights: it can't be merged")
        self.reins.merge(self.vfm)
        return self

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Normalised images [b, 3, h, w] → (levels [b, c, h/4, w/4] … [b, c, h/32, w/32], queries [m, d] or None)."""
        maps = self.vfm.forward_intermediates(
            images, indices=self.out_indices, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        if not self.has_stages:
            maps = [_rescale(level, scale) for level, scale in zip(maps, _LEVEL_SCALES, strict=True)]
        return maps, self.reins.queries()


def _default_levels(vfm: nn.Module, depth: int) -> list[int]:
    if not hasattr(vfm, "blocks"):
        return list(range(len(vfm.feature_info)))[-4:]
    return [7, 11, 15, 23] if depth == 24 else [depth * i // 4 - 1 for i in range(1, 5)]


def _rescale(level: Tensor, scale: float) -> Tensor:
    level = level.contiguous(memory_format=torch.channels_last)  # what interpolation and convolutions are fast in
    if scale == 1:
        return level
    return F.interpolate(level, scale_factor=scale, mode="bilinear", align_corners=False)
