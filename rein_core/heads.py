"""Light heads, with what a recipe need not say: a linear one, and mmseg's Semantic FPN."""

from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS

_NUM_CLASSES = 19


@MODELS.register_module()
class LinearHead(FCNHead):
    """mmseg's FCNHead on levels of a plain ViT in their own size, as halving the last one would only lose places."""

    takes_own_sizes = True


def complete_head(head: dict, level_channels: list[int]) -> dict:
    """A head's config with defaults filled in; `linear` and `semantic_fpn` are short names, others pass unchanged.

    Args:
        head: `type` and any of the head's own settings, which win.
        level_channels: of the backbone's four levels, fine to coarse.

    Raises:
        ValueError: no `type`.
    """
    if "type" not in head:
        raise ValueError(
            "model.decode_head has no type: give ReinMask2FormerHead, linear, semantic_fpn or any in mmseg's registry"
        )
    settings = dict(head)
    kind = settings.pop("type")
    defaults = {"linear": _linear, "semantic_fpn": _semantic_fpn}.get(kind)
    return defaults(level_channels) | settings if defaults else head


def _linear(level_channels: list[int]) -> dict:
    """One linear layer on the last level, so that all that is trained in the blocks before gets a gradient.

    DINOv2's linear segmentation (Oquab et al., 2023, 7.4) has a batch norm first.
    """
    return {
        "type": "LinearHead",
        "in_channels": level_channels[3],
        "in_index": 3,
        "channels": level_channels[3],
        "num_convs": 0,
        "concat_input": False,
        "dropout_ratio": 0.0,
        "num_classes": _NUM_CLASSES,
    }


def _semantic_fpn(level_channels: list[int]) -> dict:
    """All four levels, brought to one size by convolutions and summed (Kirillov et al., Panoptic FPN, CVPR 2019).

    mmseg's has a dropout of 0.1: each rank draws its own, so that more workers would train another model.
    """
    return {
        "type": "FPNHead",
        "in_channels": level_channels,
        "in_index": [0, 1, 2, 3],
        "feature_strides": [4, 8, 16, 32],
        "channels": 128,
        "dropout_ratio": 0.0,
        "norm_cfg": {"type": "GN", "num_groups": 32},
        "num_classes": _NUM_CLASSES,
    }
