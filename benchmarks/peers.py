"""The peer of the speed measurements: mmseg's segmentor with mmdet's Mask2Former head, and Rein as it is written.

Needs `pip install --no-deps mmdet==3.3.0 pycocotools shapely terminaltables`, for measurements only.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rein_core import Rein
from rein_core.adapter import Adapter
from rein_core.segmentor import build

NUM_CLASSES = 19


class UnfusedRein(Rein):
    """Equation by equation, one operation after the other."""

    folded = Adapter.folded

    def refine(self, feat_bnc: Tensor, layer: int) -> Tensor:
        """As `Rein.refine`."""
        tokens_mc = self.tokens(slice(layer, layer + 1))[0]
        similarity_bnm = torch.einsum("bnc,mc->bnm", feat_bnc, tokens_mc)
        if self.use_softmax:
            similarity_bnm = F.softmax(similarity_bnm * feat_bnc.shape[-1] ** -0.5, dim=-1)
        delta_bnc = torch.einsum("bnm,mc->bnc", similarity_bnm[:, :, 1:], self.mlp_token2feat(tokens_mc[1:]))
        return feat_bnc + self.mlp_delta_f(delta_bnc + feat_bnc) * self.scale


def peer_head(ours: dict) -> nn.Module:
    """mmseg's Mask2Former head (mmdet's code) with the sizes of a `ReinMask2FormerHead` config, queries linked."""
    import mmdet.models  # noqa: F401  (registers the parts)
    from mmcv.ops import multi_scale_deform_attn

    multi_scale_deform_attn.IS_CUDA_AVAILABLE = False  # the compiled kernel is not there
    head = build(_mmdet_config(ours))
    head.querys2feat = nn.Linear(ours["feat_channels"], ours["feat_channels"])
    del head.query_feat, head.query_embed
    head.query_feat, head.query_embed = Linked(), Linked()
    return head


class Linked:
    """Stands where mmdet's head has an embedding: its weight is what the tokens give in each step."""

    weight: Tensor


def link(head: nn.Module, queries: Tensor) -> None:
    """Hands the adapter's queries to a `peer_head`."""
    head.query_embed.weight, head.query_feat.weight = queries, head.querys2feat(queries)


def _mmdet_config(ours: dict) -> dict:
    dims, heads = ours["feat_channels"], ours.get("num_heads", 8)
    attention = {"embed_dims": dims, "num_heads": heads, "dropout": 0.0, "batch_first": True}
    positions = {"num_feats": dims // 2, "normalize": True}
    relu = {"type": "ReLU", "inplace": True}

    def ffn(channels: int) -> dict:
        return {"embed_dims": dims, "feedforward_channels": channels, "num_fcs": 2, "ffn_drop": 0.0, "act_cfg": relu}

    return {
        "type": "mmseg.Mask2FormerHead",
        "in_channels": ours["in_channels"],
        "strides": [4, 8, 16, 32],
        "feat_channels": dims,
        "out_channels": dims,
        "num_classes": NUM_CLASSES,
        "num_queries": ours["num_queries"],
        "num_transformer_feat_level": 3,
        "align_corners": False,
        "pixel_decoder": {
            "type": "mmdet.MSDeformAttnPixelDecoder",
            "num_outs": 3,
            "norm_cfg": {"type": "GN", "num_groups": 32},
            "act_cfg": {"type": "ReLU"},
            "encoder": {
                "num_layers": ours["num_encoder_layers"],
                "layer_cfg": {
                    "self_attn_cfg": attention | {"num_levels": 3, "num_points": 4},
                    "ffn_cfg": ffn(ours["encoder_ffn_channels"]),
                },
            },
            "positional_encoding": positions,
        },
        "enforce_decoder_input_project": False,
        "positional_encoding": positions,
        "transformer_decoder": {
            "return_intermediate": True,
            "num_layers": ours["num_decoder_layers"],
            "layer_cfg": {
                "self_attn_cfg": attention,
                "cross_attn_cfg": attention,
                "ffn_cfg": ffn(ours["decoder_ffn_channels"]),
            },
        },
        "loss_cls": {
            "type": "mmdet.CrossEntropyLoss",
            "use_sigmoid": False,
            "loss_weight": 2.0,
            "reduction": "mean",
            "class_weight": [1.0] * NUM_CLASSES + [0.1],
        },
        "loss_mask": {
            "type": "mmdet.CrossEntropyLoss",
            "use_sigmoid": True,
            "reduction": "mean",
            "loss_weight": 5.0,
        },
        "loss_dice": {
            "type": "mmdet.DiceLoss",
            "use_sigmoid": True,
            "activate": True,
            "reduction": "mean",
            "naive_dice": True,
            "eps": 1.0,
            "loss_weight": 5.0,
        },
        "train_cfg": {
            "num_points": 12_544,
            "oversample_ratio": 3.0,
            "importance_sample_ratio": 0.75,
            "assigner": {
                "type": "mmdet.HungarianAssigner",
                "match_costs": [
                    {"type": "mmdet.ClassificationCost", "weight": 2.0},
                    {"type": "mmdet.CrossEntropyLossCost", "weight": 5.0, "use_sigmoid": True},
                    {"type": "mmdet.DiceCost", "weight": 5.0, "pred_act": True, "eps": 1.0},
                ],
            },
            "sampler": {"type": "mmdet.MaskPseudoSampler"},
        },
    }
