"""The Rein authors' released models: their mmseg model config and parameter names → our segmentor."""

import timm
from torch import Tensor, nn

from rein_core.checkpoint import check_keys
from rein_core.segmentor import build

# only DINOv2's own training uses the mask token; the config says mean and std too
_NOT_NEEDED = {"backbone.mask_token", "data_preprocessor.mean", "data_preprocessor.std"}
_NOT_NEEDED |= {"backbone.norm.weight", "backbone.norm.bias"}  # levels are block outputs


def load_authors(model_config: dict, state_dict: dict[str, Tensor]) -> nn.Module:
    """The segmentor in eval mode with all of the authors' weights.

    Args:
        model_config: `model` of the authors' mmseg config, with a `ReinsDinoVisionTransformer` backbone.
        state_dict: parameters under the authors' names.

    Raises:
        ValueError: a config of another backbone, or keys that are missing, left over or of another shape, all listed.
    """
    segmentor = build(_our_config(model_config))
    given = {_our_name(name): value for name, value in state_dict.items() if name not in _NOT_NEEDED}
    wanted = segmentor.state_dict()
    check_keys("the authors' checkpoint", given, wanted)
    for name, value in given.items():
        wanted[name].copy_(value)
    return segmentor.eval()


def _our_name(name: str) -> str:
    if name.startswith("backbone.") and not name.startswith("backbone.reins."):
        return name.replace("backbone.", "backbone.vfm.", 1)
    return name


def _our_config(config: dict) -> dict:
    from rein_core.mask2former import head_from_authors

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
            "out_indices": backbone["out_indices"],
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
        "rank": reins.get("lora_dim") if reins["type"] == "LoRAReins" else None,
        "link_queries": reins["link_token_to_query"],
        "use_softmax": reins["use_softmax"],
        "zero_init": reins["zero_mlp_delta_f"],
    }
