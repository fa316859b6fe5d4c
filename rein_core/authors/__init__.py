"""The Rein authors' released models: their mmseg model config and parameter names → our segmentor."""

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
        if bare == name or bare.startswith("reins."):
            ours[name] = value
        elif not bare.startswith(reader.not_needed):
            vfm[bare] = value
    named = reader.timm_names(vfm) if vfm else {}
    ours |= {f"backbone.vfm.{name}": value for name, value in named.items()}
    return {name: value for name, value in ours.items() if not name.startswith("data_preprocessor.")}


def vfm_from_release(model_config: dict, source: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """A VFM's original weights as the authors' model holds them, under timm's names.

    None where `load_vfm` makes the same of the original file.

    Raises:
        ValueError: a config of another backbone, or the weights of another VFM.
    """
    return _reader(model_config).from_release(source, model_config["backbone"])


def section_from_authors(model_config: dict, vfm_weights: str) -> dict:
    """A recipe's `model` section for the authors' config, with a VFM of ours by name.

    Args:
        vfm_weights: file of the VFM's weights.

    Raises:
        ValueError: a backbone that is not read, or of a width that was never released.
    """
    config, reader, settings = _our_config(model_config), _reader(model_config), model_config["backbone"]
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


def _our_config(config: dict) -> dict:
    reader = _reader(config)
    try:
        return _translate(config, reader)
    except KeyError as error:
        raise ValueError(f"authors' config: {config['backbone']['type']} needs {error}, which is not there") from error


def _translate(config: dict, reader: Reader) -> dict:
    backbone = config["backbone"]
    return {
        "type": "VFMSegmentor",
        "data_preprocessor": config["data_preprocessor"],
        "backbone": {
            "type": "VFMBackbone",
            "vfm": reader.build(backbone),
            "adapter": _rein_settings(backbone["reins_config"], reader.layers(backbone)),
            "query_dims": backbone["reins_config"]["query_dims"],
            "out_indices": backbone.get("out_indices"),
        },
        "decode_head": {"type": "ReinMask2FormerHead"} | head_from_authors(config["decode_head"]),
        "train_cfg": {},
        "test_cfg": config["test_cfg"],
    }


def _rein_settings(reins: dict, layers: list[int] | None) -> dict:
    return {
        "type": "rein",
        "token_length": reins["token_length"],
        "rank": reins.get("lora_dim", 16) if reins["type"] == "LoRAReins" else None,
        "link_queries": reins.get("link_token_to_query", True),
        "use_softmax": reins.get("use_softmax", True),
        "layers": layers,
        "zero_init": reins.get("zero_mlp_delta_f", False),
        "scale_init": reins.get("scale_init", 0.001),
    }
