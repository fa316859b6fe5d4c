"""The Rein authors' released models: their mmseg model config and parameter names → our segmentor."""

import timm
from torch import Tensor, nn

from rein_core.checkpoint import check_keys
from rein_core.mask2former import head_from_authors
from rein_core.segmentor import build

_NOT_NEEDED = ("backbone.mask_token", "backbone.norm.", "data_preprocessor.")
"""Only DINOv2's own training uses the mask token; levels are block outputs; the config says mean and std too."""


def load_authors(model_config: dict, state_dict: dict[str, Tensor]) -> nn.Module:
    """The segmentor in eval mode with all of the authors' weights.

    Args:
        model_config: `model` of the authors' mmseg config, with a `ReinsDinoVisionTransformer` backbone.
        state_dict: parameters under the authors' names.

    Raises:
        ValueError: a config of another backbone, or keys that are missing, left over or of another shape, all listed.
    """
    segmentor = build(_our_config(model_config))
    given = our_names(state_dict)
    wanted = segmentor.state_dict()
    check_keys("the authors' checkpoint", given, wanted)
    for name, value in given.items():
        wanted[name].copy_(value)
    return segmentor.eval()


def our_names(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' parameter names → ours, without what is not needed."""
    return {_our_name(name): value for name, value in state_dict.items() if not name.startswith(_NOT_NEEDED)}


def section_from_authors(model_config: dict, vfm_weights: str) -> dict:
    """A recipe's `model` section for the authors' config, with a VFM of ours by name.

    Args:
        vfm_weights: file of the VFM's weights.

    Raises:
        ValueError: a backbone that is not read, or a DINOv2 of a size that was never released.
    """
    config = _our_config(model_config)
    settings = model_config["backbone"]
    names = {384: "dinov2_small", 768: "dinov2_base", 1024: "dinov2_large", 1536: "dinov2_giant"}
    name = names.get(settings["embed_dim"])
    if name is None:
        raise ValueError(f"authors' config: embed_dim={settings['embed_dim']} is none of DINOv2's: {sorted(names)}")
    return {
        "vfm": {
            "name": name,
            "weights": vfm_weights,
            "patch_size": settings["patch_size"],
            "img_size": settings["img_size"],
        },
        "adapter": config["backbone"]["adapter"],
        "decode_head": config["decode_head"],
        "test_cfg": dict(model_config["test_cfg"]),
    }


def _our_name(name: str) -> str:
    if name.startswith("backbone.") and not name.startswith("backbone.reins."):
        return name.replace("backbone.", "backbone.vfm.", 1)
    return name


def _our_config(config: dict) -> dict:
    backbone = config["backbone"]
    if backbone["type"] != "ReinsDinoVisionTransformer":
        raise ValueError(f"the authors' backbone {backbone['type']} is not read yet: ReinsDinoVisionTransformer is")
    return {
        "type": "VFMSegmentor",
        "data_preprocessor": config["data_preprocessor"],
        "backbone": {
            "type": "VFMBackbone",
            "vfm": _vit(backbone),
            "adapter": _rein_settings(backbone),
            "query_dims": backbone["reins_config"]["query_dims"],
            "out_indices": backbone.get("out_indices"),
        },
        "decode_head": {"type": "ReinMask2FormerHead"} | head_from_authors(config["decode_head"]),
        "train_cfg": {},
        "test_cfg": config["test_cfg"],
    }


def _vit(settings: dict) -> nn.Module:
    vit = timm.models.VisionTransformer(
        img_size=settings["img_size"],
        patch_size=settings["patch_size"],
        embed_dim=settings["embed_dim"],
        depth=settings["depth"],
        num_heads=settings["num_heads"],
        mlp_ratio=settings["mlp_ratio"],
        init_values=settings["init_values"],
        num_classes=0,
        dynamic_img_size=True,
    )
    vit.norm = nn.Identity()
    return vit


def _rein_settings(settings: dict) -> dict:
    reins = settings["reins_config"]
    return {
        "type": "rein",
        "token_length": reins["token_length"],
        "rank": reins.get("lora_dim", 16) if reins["type"] == "LoRAReins" else None,
        "link_queries": reins.get("link_token_to_query", True),
        "use_softmax": reins.get("use_softmax", True),
        "zero_init": reins.get("zero_mlp_delta_f", False),
        "scale_init": reins.get("scale_init", 0.001),
    }
