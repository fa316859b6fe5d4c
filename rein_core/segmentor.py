"""The segmentor: an mmseg EncoderDecoder built from a recipe's model section, with sliding windows in batches."""

from collections.abc import Iterator
from inspect import signature
from itertools import product

import torch
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor, nn

import rein_core.backbone
import rein_core.mask2former
import rein_core.preprocessor  # noqa: F401  (as the two above: registers what is built by name)
from rein_core.adapters import ADAPTERS, FEEDS_QUERIES
from rein_core.anatomy import patch_size_of, widths_of
from rein_core.building import check_settings, naming
from rein_core.heads import complete_head
from rein_core.normalisation import normalisation
from rein_core.vfms import DEFAULT, bare_vfm
from rein_core.windows import check_test_cfg


@MODELS.register_module()
class VFMSegmentor(EncoderDecoder):
    """An EncoderDecoder with one head, whose backbone also gives queries to heads that take them.

    Such heads have the trait `takes_queries`, and settings `in_channels`, `num_queries` and `link_queries` as
    `ReinMask2FormerHead`.

    Raises:
        ValueError: a `test_cfg` by which no image could be tested, as `check_test_cfg`.
    """

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        try:
            check_test_cfg(self.test_cfg or {"mode": "whole"}, self.backbone)
        except ValueError as error:
            raise ValueError(f"model.test_cfg: {error}") from None

    def init_weights(self) -> None:
        """Leaves weights as they were built and loaded, unless `init_cfg` asks for more. mmengine's Runner calls it."""
        if self.init_cfg:
            super().init_weights()

    def _init_decode_head(self, decode_head: dict) -> None:
        with naming("model.decode_head"):
            super()._init_decode_head(decode_head)

    def extract_feat(self, inputs: Tensor) -> tuple[list[Tensor], Tensor | None] | list[Tensor]:
        """Images [b, 3, h, w] → (four levels, queries), or only the levels for mmseg's other heads."""
        return self._extract(inputs, resize=True)

    def _extract(self, inputs: Tensor, resize: bool):
        features, queries = self.backbone(inputs, resize=resize)
        return (features, queries) if self._head_has("takes_queries") else features

    def _extract_for_head(self, inputs: Tensor):
        """As `extract_feat`, but a plain ViT's levels in their own size if the head takes them (`takes_own_sizes`)."""
        return self._extract(inputs, resize=not self._head_has("takes_own_sizes"))

    def _head_has(self, trait: str) -> bool:
        return getattr(self.decode_head, trait, False)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """The head's losses of normalised images [b, 3, h, w] and their `gt_sem_seg`."""
        return self._decode_head_forward_train(self._extract_for_head(inputs), data_samples)

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Class scores [b, classes, h, w] of normalised images."""
        return self.decode_head.predict(self._extract_for_head(inputs), batch_img_metas, self.test_cfg)

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Mean logits [b, classes, h, w] over all windows that see a pixel, as mmseg's, but several windows at a time.

        `test_cfg` has `crop_size`, `stride` and, if wanted, `windows_per_batch` (4, or 1 on a CPU, which has no idle
        cores to fill).
        """
        size = inputs.shape[2:]
        crop = tuple(min(sides) for sides in zip(self.test_cfg["crop_size"], size, strict=True))
        corners = list(product(*map(_window_starts, size, crop, self.test_cfg["stride"])))
        total = inputs.new_zeros(len(inputs), self.out_channels, *size, dtype=torch.float32)
        count = inputs.new_zeros(size)
        for some in batched(corners, self.test_cfg.get("windows_per_batch", 1 if inputs.device.type == "cpu" else 4)):
            places = [(..., slice(y, y + crop[0]), slice(x, x + crop[1])) for y, x in some]
            metas = [{"img_shape": crop, "ori_shape": crop, "pad_shape": crop}] * (len(inputs) * len(places))
            logits = self.encode_decode(torch.cat([inputs[place] for place in places]), metas)
            for place, part in zip(places, logits.split(len(inputs)), strict=True):
                total[place] += part
                count[place] += 1
        return total.div_(count)


def _window_starts(length: int, crop: int, stride: int) -> list[int]:
    """Where windows begin along one side; the last one ends with the image."""
    steps = -(-max(length - crop, 0) // stride) + 1
    return [min(i * stride, length - crop) for i in range(steps)]


def batched(items: list, size: int) -> Iterator[list]:
    """Runs of up to `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def build_segmentor(model: dict) -> nn.Module:
    """The segmentor of a recipe's `model` section.

    Args:
        model: with a `type` key, any mmseg segmentor's config, taken as it is; else `vfm`, `adapter`, `decode_head`,
            `test_cfg` and, where they are not those of the VFM's pretraining (`normalisation`), `mean` and `std`.

    Raises:
        ValueError: a part that the registry doesn't know, or settings or values that it doesn't take, named.
        FileNotFoundError: the VFM's weights are not there.
    """
    with naming("model"):
        return build(dict(model) if "type" in model else _mmseg_config(model))


def start_training(segmentor: nn.Module, model: dict) -> None:
    """Gives a segmentor the start that its `model` section asks for by mmseg's `init_cfg` or `pretrained`, once.

    Our own models are built with theirs; of them only a head with an `init_cfg` is changed.

    Raises:
        ValueError: weights that aren't there or can't be read, or settings that mmengine doesn't take.
    """
    part = segmentor if "type" in model else segmentor.decode_head if model["decode_head"].get("init_cfg") else None
    if part is None:
        return
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("WARNING")  # else a line a parameter
    try:
        part.init_weights()
    except Exception as error:
        raise ValueError(f"model: its init_cfg or pretrained: {' '.join(str(error).split())}") from error
    finally:
        logger.setLevel(level)


def build(config: dict) -> nn.Module:
    """Any module of mmseg's registry; names inside of `config` are mmseg's too."""
    with DefaultScope.overwrite_default_scope("mmseg"):
        return MODELS.build(ConfigDict(config))


def _mmseg_config(model: dict) -> dict:
    vfm, head = dict(model["vfm"]), dict(model["decode_head"])
    vfm.setdefault("name", DEFAULT)
    backbone = {
        "type": "VFMBackbone",
        "vfm": vfm,
        "adapter": model.get("adapter", {"type": "none"}),
        "query_dims": head.get("feat_channels", 256),
    }
    levels, divisor = _levels(bare_vfm(vfm["name"], vfm.get("heads")), vfm.get("patch_size", 16))
    backbone["adapter"], head = _linked(backbone["adapter"], complete_head(head, levels), levels)
    return {
        "type": "VFMSegmentor",
        "data_preprocessor": {
            "type": "VFMPreProcessor",
            **normalisation(model),
            "bgr_to_rgb": True,
            "size_divisor": divisor,
            "pad_val": 0,
            "seg_pad_val": 255,
        },
        "backbone": backbone,
        "decode_head": head,
        "train_cfg": {},
        "test_cfg": _test_config(model.get("test_cfg", {"mode": "whole"})),
    }


def _linked(adapter: dict, head: dict, levels: list[int]) -> tuple[dict, dict]:
    """Adapter and head that both link the adapter's tokens to the head's queries, or both don't."""
    takes, feeds = _takes_queries(head["type"]), adapter.get("type") in FEEDS_QUERIES
    if feeds:
        check_settings("model.adapter", adapter, signature(ADAPTERS[adapter["type"]]).parameters)
    if takes:
        check_settings("model.decode_head", head, signature(_class_of(head["type"])).parameters)
    linked = takes and feeds and adapter.get("link_queries", True) and head.get("link_queries", True)
    if feeds:
        adapter = adapter | {"link_queries": linked}  # else what makes the queries would get no gradient
    if takes:
        head = {"in_channels": levels, "link_queries": linked} | head
    return adapter, head | ({"num_queries": adapter.get("token_length", 100)} if linked else {})


def _class_of(kind: str | type) -> type | None:
    return MODELS.get(kind) if isinstance(kind, str) else kind


def _takes_queries(kind: str | type) -> bool:
    try:
        return getattr(_class_of(kind), "takes_queries", False)
    except RuntimeError:  # unknown, which building says
        return False


def _levels(vfm: nn.Module, patch_size: int) -> tuple[list[int], int]:
    """Channels of the four levels, and what an image's sides must divide by."""
    widths = list(dict.fromkeys(widths_of(vfm)))
    return (widths * 4, patch_size) if len(widths) == 1 else (widths, patch_size_of(vfm))


def _test_config(settings: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
