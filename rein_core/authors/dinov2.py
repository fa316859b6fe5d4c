"""The authors' DINOv2 (`ReinsDinoVisionTransformer`), whose names are timm's."""

import timm
from torch import nn

from rein_core.authors.reader import Reader


class DinoV2(Reader):
    """Only DINOv2's own training uses the mask token."""

    vfms = {384: "dinov2_small", 768: "dinov2_base", 1024: "dinov2_large"}
    defaults = {"img_size": 224, "patch_size": 16, "mlp_ratio": 4.0, "init_values": None}
    not_needed = ("mask_token", "norm.")

    def build(self, settings: dict) -> nn.Module:
        """As `Reader.build`."""
        return timm.models.VisionTransformer(
            img_size=settings["img_size"],
            patch_size=settings["patch_size"],
            embed_dim=settings["embed_dim"],
            depth=settings["depth"],
            num_heads=settings["num_heads"],
            mlp_ratio=settings["mlp_ratio"],
            init_values=settings["init_values"],
            num_classes=0,
            final_norm=False,
            dynamic_img_size=True,
        )
