"""Light heads of mmseg's own, with what a recipe need not say: a linear one, and Semantic FPN."""

_NUM_CLASSES = 19


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
    """One linear layer on the third level, which is after 9 of 12 blocks or 16 of 24.

    Not DINOv2's linear segmentation (Oquab et al., 2023, 7.4), which has a batch norm first and reads the last block.
    """
    return {
        "type": "FCNHead",
        "in_channels": level_channels[2],
        "in_index": 2,
        "channels": level_channels[2],
        "num_convs": 0,
        "concat_input": False,
        "dropout_ratio": 0.0,
        "num_classes": _NUM_CLASSES,
    }


def _semantic_fpn(level_channels: list[int]) -> dict:
    """All four levels, brought to one size by convolutions and summed (Kirillov et al., Panoptic FPN, CVPR 2019)."""
    return {
        "type": "FPNHead",
        "in_channels": level_channels,
        "in_index": [0, 1, 2, 3],
        "feature_strides": [4, 8, 16, 32],
        "channels": 128,
        "dropout_ratio": 0.1,
        "norm_cfg": {"type": "GN", "num_groups": 32},
        "num_classes": _NUM_CLASSES,
    }
