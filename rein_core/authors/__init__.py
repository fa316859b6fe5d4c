"""The Rein authors' released models: their mmseg model config and parameter names → our segmentor."""

import torch
from torch import Tensor, nn

from rein_core.authors.clip import Clip
from rein_core.authors.dinov2 import DinoV2
from rein_core.authors.eva02 import Eva02
from rein_core.authors.reader import Reader
from rein_core.authors.sam import Sam
from rein_core.checkpoint import check_keys
from rein_core.mask2former import head_from_authors
from rein_core.segmentor import build

READERS: dict[str, Reader] = {
    "ReinsDinoVisionTransformer": DinoV2(),
    "ReinsEVA2": Eva02(),
    "ReinsCLIPVisionTransformer": Clip(),
    "ReinsSAMViT": Sam(),
}
"""`type` of the authors' backbone → what reads it."""

_VFM, _REINS = "backbone.vfm.", "backbone.reins."


def load_authors(model_config: dict, state_dict: dict[str, Tensor]) -> nn.Module:
    """The segmentor in eval mode with all of the authors' weights.

    Args:
        model_config: `model` of the authors' mmseg config, with one of the backbones in `READERS`.
        state_dict: parameters under the authors' names.

    Raises:
        ValueError: a config of another backbone, or keys that are missing, left over or of another shape, all listed.
    """
    segmentor = build(_our_config(model_config))
    given = our_names(model_config, state_dict)
    _reader(model_config).fit(segmentor.backbone.vfm, _of_vfm(given))
    wanted = segmentor.state_dict()
    check_keys("the authors' checkpoint", given, wanted)
    for name, value in given.items():
        wanted[name].copy_(value)
    return segmentor.eval()


def our_names(model_config: dict, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' parameter names → ours, without what is not needed. Raises ValueError as `load_authors`."""
    reader = _reader(model_config)
    ours, vfm = {}, {}
    for name, value in state_dict.items():
        bare = name.removeprefix("backbone.")
        if bare == name or name.startswith(_REINS):
            ours[name] = value
        elif not bare.startswith(reader.not_needed):
            vfm[bare] = value
    named = reader.timm_names(vfm) if vfm else {}
    ours |= {f"{_VFM}{name}": value for name, value in named.items()}
    return _of_reins(ours, model_config["backbone"]["reins_config"])


def _of_reins(ours: dict[str, Tensor], reins: dict) -> dict[str, Tensor]:
    """With the scale that theirs fix where the last MLP starts from zero, without the link that they keep unused."""
    unused = () if reins.get("link_token_to_query", True) else (f"{_REINS}transform.", f"{_REINS}merge.")
    if reins.get("zero_mlp_delta_f", False) and any(name.startswith(_REINS) for name in ours):
        ours = {f"{_REINS}scale": torch.tensor(1.0)} | ours
    return {name: value for name, value in ours.items() if not name.startswith(("data_preprocessor.", *unused))}


def _of_vfm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(_VFM): value for name, value in state.items() if name.startswith(_VFM)}


def vfm_from_release(model_config: dict, source: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """A VFM's original weights as the authors' model holds them, under timm's names.

    None where `load_vfm` makes the same of the original file.

    Raises:
        ValueError: a config of another backbone, or the weights of another VFM.
    """
    return _reader(model_config).from_release(source, _backbone(model_config))


def section_from_authors(model_config: dict, vfm_weights: str) -> dict:
    """A recipe's `model` section for the authors' config, with a VFM of ours by name.

    Args:
        vfm_weights: file of the VFM's weights.

    Raises:
        ValueError: a backbone that is not read, or of a width that was never released.
    """
    config, reader, settings = _our_config(model_config), _reader(model_config), _backbone(model_config)
    width = settings[reader.width_key]
    if width not in reader.vfms:
        released = ", ".join(f"{width} ({name})" for width, name in reader.vfms.items())
        raise ValueError(f"authors' config: {settings['type']} {reader.width_key}={width}: known are {released}")
    return {
        "vfm": {
            "name": reader.vfms[width],
            "weights": vfm_weights,
            "patch_size": settings["patch_size"],
            "img_size": reader.img_size(settings),
        },
        "mean": list(config["data_preprocessor"]["mean"]),
        "std": list(config["data_preprocessor"]["std"]),
        "adapter": config["backbone"]["adapter"],
        "decode_head": config["decode_head"],
        "test_cfg": dict(model_config["test_cfg"]),
    }


def _reader(model_config: dict) -> Reader:
    kind = model_config.get("backbone", {}).get("type")
    if kind is None:
        raise ValueError(f"authors' config: no backbone.type: give one of {', '.join(READERS)}")
    if kind not in READERS:
        raise ValueError(f"the authors' backbone {kind} is not read: {', '.join(READERS)} are")
    return READERS[kind]


def _backbone(model_config: dict) -> dict:
    return _reader(model_config).defaults | model_config["backbone"]


def _our_config(config: dict) -> dict:
    reader = _reader(config)
    try:
        return _translate(config, reader)
    except KeyError as error:
        raise ValueError(f"authors' config: {config['backbone']['type']} needs {error}, which is not there") from error


def _translate(config: dict, reader: Reader) -> dict:
    backbone = _backbone(config)
    return {
        "type": "VFMSegmentor",
        "data_preprocessor": config["data_preprocessor"],
        "backbone": {
            "type": "VFMBackbone",
            "vfm": reader.build(backbone),
            "adapter": _rein_settings(backbone["reins_config"], reader.layers(backbone)),
            "query_dims": backbone["reins_config"].get("query_dims", 256),
            "out_indices": backbone.get("out_indices"),
        },
        "decode_head": {"type": "ReinMask2FormerHead"} | head_from_authors(config["decode_head"]),
        "train_cfg": {},
        "test_cfg": config["test_cfg"],
    }


def _rein_settings(reins: dict, layers: list[int] | None) -> dict:
    return {
        "type": "rein",
        "token_length": reins.get("token_length", 100),
        "rank": reins.get("lora_dim", 16) if reins["type"] == "LoRAReins" else None,
        "link_queries": reins.get("link_token_to_query", True),
        "use_softmax": reins.get("use_softmax", True),
        "layers": layers,
        "zero_init": reins.get("zero_mlp_delta_f", False),
        "scale_init": reins.get("scale_init", 0.001),
    }
