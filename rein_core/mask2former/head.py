"""Mask2Former's head without compiled extensions, with Rein's link: learnable tokens become the queries.

Cheng et al., CVPR 2022, and Wei et al., CVPR 2024, section 3.4. Parameters have mmdet's names.
"""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from rein_core.mask2former.losses import MaskLosses
from rein_core.mask2former.pixel_decoder import PixelDecoder
from rein_core.mask2former.positional import sine_positions
from rein_core.mask2former.products import MaskProducts
from rein_core.mask2former.transformer_decoder import TransformerDecoder

_NUM_LEVELS = 3


@MODELS.register_module()
class ReinMask2FormerHead(BaseModule):
    """Four feature levels and queries → classes and masks.

    Args:
        in_channels: of the four levels, fine to coarse.
        num_classes: without "no object".
        feat_channels: of queries, memory and mask features.
        num_queries: of the head's own queries; linked ones are as many as the adapter's tokens.
        link_queries: whether queries come from the adapter or are the head's own.
        replace_query_feat: of linked queries: whether the adapter gives their content too (`querys2feat`, the paper's
            form) or only their positions, beside a content of the head's own. The tokens are tiny at first, so in the
            paper's form all queries start alike, and it takes some hundred steps until they differ.
        num_encoder_layers, encoder_ffn_channels: of the pixel decoder.
        num_decoder_layers, decoder_ffn_channels: of the transformer decoder.
        num_heads: of all attention.
        loss: settings of `MaskLosses`.
    """

    takes_queries = takes_own_sizes = scores_are_sums = True

    def __init__(
        self,
        in_channels: list[int],
        num_classes: int = 19,
        feat_channels: int = 256,
        num_queries: int = 100,
        link_queries: bool = True,
        replace_query_feat: bool = True,
        num_encoder_layers: int = 6,
        encoder_ffn_channels: int = 1024,
        num_decoder_layers: int = 9,
        decoder_ffn_channels: int = 2048,
        num_heads: int = 8,
        loss: dict | None = None,
    ):
        super().__init__()
        self.num_classes = self.out_channels = num_classes
        self.align_corners = False
        self.link_queries, self.replace_query_feat = link_queries, replace_query_feat
        self.losses = MaskLosses(**loss or {})
        self.pixel_decoder = PixelDecoder(
            in_channels, feat_channels, num_encoder_layers, num_heads, encoder_ffn_channels
        )
        self.transformer_decoder = TransformerDecoder(
            num_decoder_layers, feat_channels, num_heads, decoder_ffn_channels
        )
        self.level_embed = nn.Embedding(_NUM_LEVELS, feat_channels)
        if not link_queries:
            self.query_embed = nn.Embedding(num_queries, feat_channels)
        if link_queries and replace_query_feat:
            self.querys2feat = nn.Linear(feat_channels, feat_channels)
        else:
            self.query_feat = nn.Embedding(num_queries, feat_channels)
        self.cls_embed = nn.Linear(feat_channels, num_classes + 1)
        hidden = [layer for _ in range(2) for layer in (nn.Linear(feat_channels, feat_channels), nn.ReLU())]
        self.mask_embed = nn.Sequential(*hidden, nn.Linear(feat_channels, feat_channels))

    def forward(self, inputs: tuple | list, data_samples: list | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """Class logits [b, q, classes + 1] and mask logits [b, q, h, w] before the first layer and after each.

        Args:
            inputs: (four levels fine to coarse, queries [q, c] or None), or only the levels.
        """
        cls, masks = self._decode(inputs)
        return list(cls), [masks.full(layer) for layer in range(len(cls))]

    def _decode(self, inputs: tuple | list) -> tuple[Tensor, MaskProducts]:
        """Class logits [l, b, q, classes + 1] and masks before the first layer and after each."""
        features, queries = inputs if isinstance(inputs, tuple) else (inputs, None)
        fine, memory = self.pixel_decoder(features)
        query_pos, query = (part.expand(len(fine), -1, -1) for part in self._queries(queries))
        levels = [self._level(memory[i], i) for i in range(_NUM_LEVELS)]
        detached = fine.detach().contiguous(memory_format=torch.channels_last)  # as a CPU resizes them fast
        small = [_resize(detached, level.shape[2:]) for level in memory]
        predictions = [self._predict(query)]
        for i, layer in enumerate(self.transformer_decoder.layers):
            seen = _attention_mask(*predictions[-1][1:], small[i % _NUM_LEVELS])
            query = layer(query, query_pos, *levels[i % _NUM_LEVELS], seen)
            predictions.append(self._predict(query))
        cls, embeds, offsets = map(torch.stack, zip(*predictions, strict=True))
        return cls, MaskProducts(embeds, offsets, fine)

    def _queries(self, queries: Tensor | None) -> tuple[Tensor, Tensor]:
        """Positions and first content of the queries, [q, c] each."""
        if not self.link_queries:
            return self.query_embed.weight, self.query_feat.weight
        if queries is None:
            raise ValueError(
                "model.decode_head.link_queries=True, but the adapter gives no queries: set it to False, or take rein "
                "or fada with model.adapter.link_queries=True"
            )
        return queries, self.querys2feat(queries) if self.replace_query_feat else self.query_feat.weight

    def _level(self, memory: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """A level's memory [b, n, c] and its positions [n, c]."""
        positions = sine_positions(*memory.shape[2:], memory.shape[1], memory.device)
        content = memory.flatten(2).transpose(1, 2) + self.level_embed.weight[index]
        return content, positions.flatten(1).T.to(content.dtype)

    def _predict(self, query: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits [b, q, classes + 1], mask embeddings [b, q, c] and offsets [b, q].

        The mask features W x + d are never made: e·(W x + d) = (Wᵀ e)·x + e·d, and there are far fewer queries than
        pixels.
        """
        query = self.transformer_decoder.post_norm(query)
        embed, mask_feature = self.mask_embed(query), self.pixel_decoder.mask_feature
        return self.cls_embed(query), embed @ mask_feature.weight.flatten(1), embed @ mask_feature.bias

    def loss(self, inputs: tuple | list, data_samples: list, train_cfg: dict | None) -> dict[str, Tensor]:
        """`loss_cls`, `loss_mask`, `loss_dice` of the last layer, and with `d0.`, `d1.` … those of the ones before.

        Args:
            inputs: as in `forward`.
            data_samples: mmseg's, with `gt_sem_seg` [1, h, w], all of one size; `seed` in their metainfo is that of
                the image's random points, and `batch_ids` the class ids in each image of a batch taken in parts.
        """
        cls, masks = self._decode(inputs)
        labels = torch.stack([sample.gt_sem_seg.data[0] for sample in data_samples])
        seeds = [sample.metainfo.get("seed") for sample in data_samples]
        batch_ids = data_samples[0].metainfo.get("batch_ids")
        losses = self.losses(cls, masks, labels, None if None in seeds else seeds, batch_ids)
        named = {}
        for layer in range(len(cls)):
            prefix = "" if layer == len(cls) - 1 else f"d{layer}."
            named |= {f"{prefix}loss_{kind}": values[layer] for kind, values in losses.items()}
        return named

    def predict(self, inputs: tuple | list, img_metas: list[dict], test_cfg: dict) -> Tensor:
        """Class scores [b, classes, h, w] of the input's size, Σ over queries of P(class) · P(mask).

        Args:
            inputs: as in `forward`.
            img_metas: all alike, with `pad_shape` (h, w), the input's size with its padding; else `img_shape` is that.
        """
        cls, products = self._decode(inputs)
        classes_bqk = cls[-1].float().softmax(dim=-1)[..., :-1]
        masks = products.full(-1).float()
        size = tuple((img_metas[0].get("pad_shape") or img_metas[0]["img_shape"])[:2])
        images = [torch.einsum("qk,qhw->khw", classes, _resize(mask[None], size)[0].sigmoid_())
                  for classes, mask in zip(classes_bqk, masks, strict=True)]  # fmt: skip
        return torch.stack(images)


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


@torch.no_grad()
def _attention_mask(embed_bqc: Tensor, offset_bq: Tensor, features_bchw: Tensor) -> Tensor:
    """True where a query may look: inside of its last mask, or everywhere if that is empty. [b, 1, q, n].

    Resizing is linear, so the features are resized, once, and not every layer's masks.
    """
    seen = embed_bqc @ features_bchw.flatten(2) >= -offset_bq[..., None]
    seen |= ~seen.any(dim=-1, keepdim=True)
    return seen[:, None]


def head_from_authors(config: dict) -> dict:
    """The authors' mmdet-style `decode_head` config → arguments of `ReinMask2FormerHead`.

    Raises:
        ValueError: classes that don't weigh alike in the loss.
    """
    encoder, decoder = config["pixel_decoder"]["encoder"], config["transformer_decoder"]
    train = config["train_cfg"]
    *classes, no_object = config["loss_cls"]["class_weight"]
    for index, weight in enumerate(classes):
        if weight != 1:
            raise ValueError(
                f"authors' config: decode_head.loss_cls.class_weight[{index}]={weight}: only 1 is known for a class, "
                "and another weight for the last, which is no object"
            )
    return {
        "in_channels": list(config["in_channels"]),
        "num_classes": config["num_classes"],
        "feat_channels": config["feat_channels"],
        "num_queries": config["num_queries"],
        "link_queries": config["type"] == "ReinMask2FormerHead",
        "replace_query_feat": config.get("replace_query_feat", False),
        "num_encoder_layers": encoder["num_layers"],
        "encoder_ffn_channels": encoder["layer_cfg"]["ffn_cfg"]["feedforward_channels"],
        "num_decoder_layers": decoder["num_layers"],
        "decoder_ffn_channels": decoder["layer_cfg"]["ffn_cfg"]["feedforward_channels"],
        "num_heads": decoder["layer_cfg"]["self_attn_cfg"]["num_heads"],
        "loss": {
            "num_points": train["num_points"],
            "oversample_ratio": train["oversample_ratio"],
            "importance_sample_ratio": train["importance_sample_ratio"],
            "class_weight": config["loss_cls"]["loss_weight"],
            "mask_weight": config["loss_mask"]["loss_weight"],
            "dice_weight": config["loss_dice"]["loss_weight"],
            "no_object_weight": no_object,
        },
    }
