"""VFM + adapter → four feature levels and the queries for the head."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from rein_core.adapters import build_adapter
from rein_core.anatomy import blocks_of, patch_size_of, through_patches, widths_of
from rein_core.building import naming
from rein_core.mask2former.pixel_decoder import LEVEL_SCALES
from rein_core.vfms import LoadReport, load_vfm


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
        self._compiled: Callable[[VFMBackbone, Tensor], list[Tensor]] | None = None
        self.out_indices = list(out_indices or _default_levels(self.vfm, len(widths)))
        with naming("model.adapter"):
            self.reins = build_adapter(adapter, widths, query_dims=query_dims, patch_size=patch_size_of(self.vfm))
            self.reins.attach(self.vfm)
        for layer, block in enumerate(blocks_of(self.vfm)):
            block.register_forward_hook(partial(self._refine, layer))  # a copied model's is its own, unlike a lambda

    def _refine(self, layer: int, _block: nn.Module, _inputs: tuple, features: Tensor) -> Tensor:
        return through_patches(features, self.vfm, lambda feat_bnc: self.reins.refine(feat_bnc, layer))

    def train(self, mode: bool = True) -> "VFMBackbone":
        """The VFM stays in eval mode: no dropout, no new batch statistics."""
        super().train(mode)
        self.vfm.eval()
        return self

    def init_weights(self) -> None:
        """Leaves the VFM and the adapter as they were loaded and built: timm's models would draw theirs anew."""

    def merge(self) -> "VFMBackbone":
        """Folds the adapter into the VFM's weights. Raises ValueError if its kind can't be folded."""
        if not callable(getattr(type(self.reins), "merge", None)):
            raise ValueError(f"model.adapter: {type(self.reins).__name__} is no change of weights: it can't be merged")
        self.reins.merge(self.vfm)
        return self

    def recompute_blocks(self) -> None:
        """From now on the backward pass runs each block again, and the forward pass keeps nothing inside of blocks."""
        self.vfm.set_grad_checkpointing(True)

    @property
    def divisor(self) -> int:
        """What an image's sides must divide by: a ViT takes whole patches."""
        return 1 if self.has_stages else patch_size_of(self.vfm)

    @property
    def smallest_side(self) -> int:
        """Pixels of an image's side that give the coarsest level two places, which norms over places need."""
        return patch_size_of(self.vfm) * (2 if self.has_stages else round(2 / LEVEL_SCALES[-1]))

    @property
    def _recomputes(self) -> bool:
        """By timm's own flag, which a model or its stages have."""
        return any(vars(part).get("grad_checkpointing") for part in self.vfm.modules())

    def compile_vfm(self, backend: str | Callable = "inductor") -> None:
        """From now on `torch.compile` runs VFM and adapter in training; not in validation, whose windows vary in size.

        Parameters keep their names.

        Raises:
            ValueError: blocks are recomputed, and the adapter is one that can't be compiled then.
        """
        if self._recomputes and self.reins.changes_objects:
            raise ValueError(
                f"train.compile: torch can't compile {type(self.reins).__name__}'s hooks in recomputed blocks: "
                "turn off train.activation_checkpointing, or this"
            )
        self._compiled = torch.compile(VFMBackbone._levels, backend=backend)  # of a copied model too

    def _levels_of(self, images: Tensor) -> list[Tensor]:
        if self._compiled and self.training:
            return self._compiled_levels(images)
        if self._recomputes:  # a block that runs again must find what it found
            return self._levels(images)
        with self.reins.folded():
            return self._levels(images)

    def _compiled_levels(self, images: Tensor) -> list[Tensor]:
        try:
            return self._compiled(self, images)
        except torch._dynamo.exc.BackendCompilerFailed as error:  # at its first call
            reason = " ".join(str(error).split("\n\n")[0].split())
            raise ValueError(f"train.compile: torch can't compile on this machine ({reason}): turn it off") from error

    def _levels(self, images: Tensor) -> list[Tensor]:
        levels = self.vfm.forward_intermediates(
            images, indices=self.out_indices, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        return [level.contiguous(memory_format=torch.channels_last) for level in levels]

    def forward(self, images: Tensor, resize: bool = True) -> tuple[list[Tensor], Tensor | None]:
        """Normalised images [b, 3, h, w] → four levels [b, c, h/4, w/4] … [b, c, h/32, w/32], queries [m, d] or None.

        Args:
            resize: False leaves all levels of a plain ViT as they are, [b, c, h/patch, w/patch].
        """
        levels = self._levels_of(images)
        if resize and not self.has_stages:
            levels = [_rescale(level, scale) for level, scale in zip(levels, LEVEL_SCALES, strict=True)]
        return levels, self.reins.queries()


def _default_levels(vfm: nn.Module, depth: int) -> list[int]:
    if not hasattr(vfm, "blocks"):
        return list(range(len(vfm.feature_info)))[-4:]
    return [7, 11, 15, 23] if depth == 24 else [depth * i // 4 - 1 for i in range(1, 5)]


def _rescale(level: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return level
    return F.interpolate(level, scale_factor=scale, mode="bilinear", align_corners=False)
