"""The authors' SAM (`ReinsSAMViT`), whose blocks attend in windows; Rein refines the few that attend globally."""

from functools import partial

import timm
import torch
from torch import Tensor, nn

from rein_core.authors.reader import Reader
from rein_core.vfms import timm_keys


class Sam(Reader):
    """Under the names of Meta's image encoder."""

    vfms = {768: "sam_base", 1024: "sam_large", 1280: "sam_huge"}
    defaults = {"img_size": 1024, "patch_size": 16, "mlp_ratio": 4.0, "qkv_bias": True, "use_abs_pos": True}
    not_needed = ("neck.",)

    def build(self, settings: dict) -> nn.Module:
        """As `Reader.build`."""
        vit = timm.models.VisionTransformerSAM(
            img_size=settings["img_size"],
            patch_size=settings["patch_size"],
            embed_dim=settings["embed_dim"],
            depth=settings["depth"],
            num_heads=settings["num_heads"],
            mlp_ratio=settings["mlp_ratio"],
            qkv_bias=settings["qkv_bias"],
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_abs_pos=settings["use_abs_pos"],
            use_rel_pos=settings["use_rel_pos"],
            window_size=settings["window_size"],
            global_attn_indexes=tuple(settings["global_attn_indexes"]),
            num_classes=0,
        )
        vit.neck = nn.Identity()
        return vit

    def timm_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """As `Reader.timm_names`."""
        return timm_keys({f"image_encoder.{name}": value for name, value in state.items()}, "sam_huge")

    def fit(self, vfm: nn.Module, state: dict[str, Tensor]) -> None:
        """As `Reader.fit`: relative positions of blocks that attend globally may be for larger images; attention
        interpolates them."""
        for index, block in enumerate(vfm.blocks):
            for axis in "hw" if block.window_size == 0 else "":
                given = state.get(f"blocks.{index}.attn.rel_pos_{axis}")
                ours = getattr(block.attn, f"rel_pos_{axis}", None)
                if given is not None and ours is not None and given.shape[1:] == ours.shape[1:]:
                    setattr(block.attn, f"rel_pos_{axis}", nn.Parameter(torch.empty_like(given)))

    def layers(self, settings: dict) -> list[int]:
        """As `Reader.layers`."""
        return list(settings["global_attn_indexes"])
