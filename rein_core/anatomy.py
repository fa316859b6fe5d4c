"""Where a timm model's blocks are, how wide their outputs, and how these are laid out: ViTs, SAM, ConvNeXt, ResNet."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def blocks_of(vfm: nn.Module) -> list[nn.Module]:
    """All blocks, in the order in which they run."""
    return [block for stage in _stages(vfm) for block in stage]


def widths_of(vfm: nn.Module) -> list[int]:
    """Channels of each block's output."""
    if hasattr(vfm, "blocks"):
        return [vfm.embed_dim] * len(vfm.blocks)
    stages = _stages(vfm)
    channels = [info["num_chs"] for info in vfm.feature_info][-len(stages) :]
    return [width for stage, width in zip(stages, channels, strict=True) for _ in stage]


def patch_size_of(vfm: nn.Module) -> int:
    """Side of a patch in pixels; for models without patches the stride of their last stage."""
    return vfm.patch_embed.patch_size[0] if hasattr(vfm, "patch_embed") else vfm.feature_info[-1]["reduction"]


def through_patches(features: Tensor, vfm: nn.Module, change: Callable[[Tensor], Tensor]) -> Tensor:
    """A block's output with its patches changed.

    Args:
        features: [b, prefix + n, c] of a ViT, [b, h, w, c] of SAM's, [b, c, h, w] of a convolutional model.
        change: patches [b, n, c] → the same shape.
    """
    if features.dim() == 3:
        prefix = getattr(vfm, "num_prefix_tokens", 0)
        patches = change(features[:, prefix:])
        return torch.cat([features[:, :prefix], patches], dim=1) if prefix else patches
    if hasattr(vfm, "blocks"):
        return change(features.flatten(1, 2)).view_as(features)
    return change(features.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(features.shape)


def _stages(vfm: nn.Module) -> list[list[nn.Module]]:
    if hasattr(vfm, "blocks"):
        return [list(vfm.blocks)]
    if hasattr(vfm, "stages"):
        return [list(stage.blocks) for stage in vfm.stages]
    return [list(getattr(vfm, f"layer{i}")) for i in range(1, 5)]
