"""The authors' CLIP (`ReinsCLIPVisionTransformer`), which adds its class token twice."""

import math
from functools import partial

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rein_core.authors.reader import Reader
from rein_core.vfms import bicubic, timm_keys

_PREFIX = "visual."
"""Of the image tower in OpenAI's files."""


class Clip(Reader):
    """Under the names of OpenAI's image tower."""

    vfms = {1024: "clip_large"}
    width_key = "width"
    not_needed = ("ln_post.", "proj")

    def build(self, settings: dict) -> nn.Module:
        """As `Reader.build`."""
        return timm.models.VisionTransformer(
            img_size=settings["input_resolution"],
            patch_size=settings["patch_size"],
            embed_dim=settings["width"],
            depth=settings["layers"],
            num_heads=settings["heads"],
            norm_layer=partial(nn.LayerNorm, eps=1e-5),
            act_layer="quick_gelu",
            pre_norm=True,
            num_classes=0,
            final_norm=False,
            dynamic_img_size=True,
        )

    def timm_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """As `Reader.timm_names`. The class token's second time goes into its position."""
        named = timm_keys({_PREFIX + name: value for name, value in state.items()}, "clip_large")
        if named.keys() >= {"cls_token", "pos_embed"}:
            named["pos_embed"] = named["pos_embed"].clone()
            named["pos_embed"][:, :1] += named["cls_token"]
        return named

    def from_release(self, source: dict[str, Tensor], settings: dict) -> dict[str, Tensor]:
        """As `Reader.from_release`. Never None: `load_vfm` resizes positions otherwise, and adds the token once."""
        state = {name.removeprefix(_PREFIX): value for name, value in source.items() if name.startswith(_PREFIX)}
        if "class_embedding" not in state:
            raise ValueError(f"the VFM's weights are not OpenAI's CLIP: no {_PREFIX}class_embedding among them")
        state = {name: value for name, value in state.items() if not name.startswith(self.not_needed)}
        patch_size = settings["patch_size"]
        state["conv1.weight"] = bicubic(state["conv1.weight"], [patch_size, patch_size])
        side = settings["input_resolution"] // patch_size
        state["positional_embedding"] = _resize_positions(state["positional_embedding"], side)
        return self.timm_names(state)

    def img_size(self, settings: dict) -> int:
        """As `Reader.img_size`."""
        return settings["input_resolution"]


def _resize_positions(positions: Tensor, side: int) -> Tensor:
    """[1 + n, c] → [1 + side², c], bilinear."""
    old = math.isqrt(len(positions) - 1)
    grid = positions[1:].T.reshape(1, -1, old, old)
    resized = F.interpolate(grid, size=(side, side), mode="bilinear", align_corners=False)
    return torch.cat([positions[:1], resized[0].flatten(1).T])
