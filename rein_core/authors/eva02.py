"""The authors' EVA02 (`ReinsEVA2`): positions both added and rotary, SwiGLU with a norm, no bias on keys."""

import timm
from torch import Tensor, nn

from rein_core.authors.reader import Reader
from rein_core.vfms import timm_keys


class Eva02(Reader):
    """Of the large kind (`subln`, `naiveswiglu`)."""

    vfms = {1024: "eva02_large"}
    defaults = {"patch_size": 16, "init_values": None, "pt_hw_seq_len": 16}
    not_needed = ("mask_token", "lm_head.", "norm.")

    def build(self, settings: dict) -> nn.Module:
        """As `Reader.build`."""
        return timm.models.Eva(
            img_size=settings["img_size"],
            patch_size=settings["patch_size"],
            embed_dim=settings["embed_dim"],
            depth=settings["depth"],
            num_heads=settings["num_heads"],
            mlp_ratio=settings["mlp_ratio"],
            qkv_bias=settings["qkv_bias"],
            init_values=settings["init_values"],
            use_abs_pos_emb=settings["use_abs_pos_emb"],
            use_rot_pos_emb=settings["rope"],
            ref_feat_shape=settings["pt_hw_seq_len"],
            qkv_fused=False,
            swiglu_mlp=True,
            scale_mlp=True,
            num_classes=0,
            use_fc_norm=False,
            use_post_transformer_norm=False,
            dynamic_img_size=True,
        )

    def timm_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """As `Reader.timm_names`. Rotary angles follow from the config: their buffers are left out."""
        return timm_keys(state, "eva02_large")
