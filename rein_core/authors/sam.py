"""The authors' SAM (`ReinsSAMViT`), whose blocks attend in windows; Rein refines the few that attend globally."""

from functools import partial

import timm
from torch import Tensor, nn

from rein_core.authors.reader import Reader
from rein_core.vfms import timm_keys


class Sam(Reader):
    """Under the names of Meta's image encoder."""

    vfms = {768: "sam_base", 1024: "sam_large", 1280: "sam_huge"}
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

    def layers(self, settings: dict) -> list[int]:
        """As `Reader.layers`."""
        return list(settings["global_attn_indexes"])
